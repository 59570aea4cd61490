"""`restore --to` into a directory of somebody's, who renames, links and exchanges what she can at each of its steps."""

import os
import random
import shutil
from collections.abc import Iterator

import pytest

from tests.support.attacked import NOW, TARGETS, THEN, Bed, attacked_bed
from tests.support.attacker import ANNA, FORMS, put_back


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with attacked_bed(ANNA) as made:
        yield made


def scene(bed: Bed, *, there: bool) -> tuple[str, ...]:
    """A target that is not there yet, nor what is above it; or one that is hers. The words of the command."""
    bed.put(NOW)
    shutil.rmtree(bed.target.parent)
    if there:
        bed.target.mkdir(parents=True)
        for path in (bed.target.parent, bed.target):
            os.chown(path, ANNA, ANNA)
    return "restore", f"app/{bed.backup}", "--to", str(bed.target)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 9))])
def test_nothing_outside_of_it_is_touched(bed: Bed, there: bool, seed: int) -> None:  # noqa: FBT001
    chance = random.Random(f"{there} {seed}")
    count = bed.count(*scene(bed, there=there))
    hits = 0
    for at in chance.sample(range(1, count + 1), min(count, 12)):
        attack = bed.attack(chance.choice([*FORMS]), chance.choice(TARGETS))
        done = bed.attacked(*scene(bed, there=there), at=at, attack=attack, back=chance.choice((0, 0, 1, 3)))
        hits += bed.log.exists()
        print(f"{attack} at {at}: {done.code}")  # noqa: T201 - for who looks at a failure
        tree = bed.target / str(bed.live).lstrip("/")
        if done.code == 0 and not tree.exists():  # after its last look, too, she can move all of it
            put_back(bed.log)
        if done.code == 0:
            assert bed.shows(tree) == THEN
    assert hits or seed, "with another seed, chance may have it that nothing could be done"
