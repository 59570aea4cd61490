"""In-place restores and what follows them, with somebody at work who owns the tree and all around it."""

import random
import shutil
from collections.abc import Iterator

import pytest

from tests.support.attacked import IN_PLACE, NOW, THEN, Bed, attacked_bed
from tests.support.attacker import ANNA, FORMS, put_back

COMMANDS = ("restore", "undo", "stage@1", "stage@2", "commit", "swap@1", "swap@2", "undo@1", "undo@2")
"""A restore, an undo; and `recover` after one that was killed at a fail point."""


@pytest.fixture(scope="module", params=[0, ANNA], ids=["disk of root", "disk of hers"])
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    with attacked_bed(request.param) as made:
        yield made


def scene(bed: Bed, command: str, *, made: bool) -> tuple[str, ...]:
    """Everything as it is before a command; its words. What is above the tree is made by the restore, if `made`."""
    bed.put(NOW)
    restore = ("restore", f"app/{bed.backup}", "--in-place", "--yes")
    undo = ("undo", "app", "--yes")
    if made:
        shutil.rmtree(bed.parent)
    if command == "restore":
        return restore
    if command.startswith("undo"):
        bed.site.run(*restore).succeeded()
        if command == "undo":
            return undo
    broken_off = undo if command.startswith("undo") else restore
    done = bed.site.run(*broken_off, failpoint=f"{command}:kill")
    assert done.code == -9, done.err
    return ("recover",)


def shown(command: str) -> str:
    """What is to be seen after a command that succeeded."""
    return THEN if command == "restore" or command.startswith("swap") else NOW


def states(bed: Bed) -> set[str]:
    """The state that the live tree shows; none where it is not there, or only what an attacker put in its place."""
    try:
        return {bed.shows()}
    except OSError:
        return set()


def attack(bed: Bed, command: str, chance: random.Random, count: int, *, made: bool) -> bool:
    """One attack at one moment, and then the end of what was broken off; whether anything could be done at all."""
    at, form, role = chance.randint(1, count), chance.choice([*FORMS]), chance.choice(IN_PLACE)
    back = chance.choice((0, 0, 1, 3))
    told = f"{command} at {at}: {form} {role}{f', back {back} later' if back else ''}{', made' if made else ''}"
    try:
        done = bed.attacked(*scene(bed, command, made=made), at=at, attack=bed.attack(form, role), back=back)
        if not bed.log.exists():
            return False
        first = done.code
        done = bed.site.run("recover")
        bed.check(done)
        if done.code:  # it cannot go on before she has put back what she took
            put_back(bed.log)
            done = bed.site.run("recover")
            bed.check(done)
            assert done.code == 0, done.err
        if first == 0 and not (made and shown(command) == NOW):
            whole = role in ("holder", "inside of the holder", "parent", "home")
            seen = states(bed) if whole else set()  # a parent that was put there early enough was restored into
            put_back(bed.log)
            if whole:
                assert shown(command) in seen | states(bed), done.err
    except (AssertionError, OSError) as error:
        bed.victim.repair()
        raise AssertionError(told) from error
    return True


def tries(bed: Bed, command: str, seed: int, number: int) -> None:
    """Some attacks at some moments of a command, as the seed has it; afterwards it is brought to its end."""
    chance = random.Random(f"{command} {seed}")
    made = seed % 3 == 2
    count = bed.count(*scene(bed, command, made=made))
    done = [attack(bed, command, chance, count, made=made) for _ in range(number)]
    assert any(done) or made or number < 5, "where nothing is hers yet, chance may have it that nothing could be done"


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_outside_is_touched(bed: Bed, command: str) -> None:
    tries(bed, command, 0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_outside_is_touched_ever(bed: Bed, command: str, seed: int) -> None:
    tries(bed, command, seed, 8)
