"""Backup directories that somebody has changed at random: whatever is asked of them has an answer, soon."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from tests.support import forked
from tests.support.history import seal
from tests.support.job import Site, site
from tests.support.mutation import Mutation
from tests.support.storm import describe

FEW, ALL = 12, 100
SECONDS = 60.0
"""Much more than any of it takes where nothing else runs; a FIFO is waited for without an end."""
MEMORY = 2 << 30
CODES = {0, 1, 2, 65, 66, 69, 73, 74, 75, 77, 78}


def commands(bed: Site, backup: str) -> list[tuple[str, ...]]:
    """What a person may ask for; the last ones change something."""
    return [
        ("list",),
        ("list", "--json"),
        ("status",),
        ("show", "app/latest"),
        ("show", backup, "--files"),
        ("verify", "app/latest"),
        ("verify", "--all"),
        ("diff", backup, "app/latest"),
        ("prune", "--dry-run"),
        ("check",),
        ("restore", "app/latest", "--to", str(bed.path / "restored")),
        ("restore", backup, "--in-place"),
        ("init", "--directory", str(bed.backups)),
        ("accept", "app"),
        ("prune",),
        ("run", "app"),
        ("delete", backup, "--yes"),
        ("list",),
    ]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two backups, a checkpoint of a third one, and beside them what is nobody's business."""
    with site(tmp_path_factory.mktemp("mutated")) as made:
        (made.data / "folder").mkdir()
        for name in ("one", "two", "folder/three"):
            (made.data / name).write_text(name)
        made.configure({"app": {"paths": [str(made.data)], "retention": {"keep_last": 2}}})
        made.init()
        made.run("run", "app").succeeded()
        (made.data / "one").write_text("changed")
        made.run("run", "app").succeeded()
        (made.data / "two").write_text("changed")
        made.run("run", "app", failpoint="manifest:error")
        assert (made.job() / ".checkpoint").is_dir()
        outside = made.path / "outside"
        for folder in (outside, outside / "archives", outside / ".incoming-20261123T023000Z"):
            folder.mkdir()
        for name in ("secret", "archives/20261123T023000Z.hot.tar.zst", "manifest.json"):
            (outside / name).write_text("canary")
        shutil.copytree(made.backups, made.path / "good", symlinks=True)
        shutil.copytree(made.state, made.path / "good-state")
        yield made


def little_memory() -> None:
    """For the program, not for the tests that start it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def restored(good: Site) -> None:
    """Let the backup directory and the state be as they were."""
    for place, source in ((good.backups, "good"), (good.state, "good-state")):
        shutil.rmtree(place)
        shutil.copytree(good.path / source, place, symlinks=True)


def ask(good: Site, what: object, asked: Sequence[tuple[str, ...]]) -> None:
    """See that there is an answer to all of it, one that a person can read, and that nothing changes elsewhere."""
    places = good.path / "outside", good.data, good.config.parent
    before = [describe(place) for place in places]
    for arguments in asked:
        shutil.rmtree(good.path / "restored", ignore_errors=True)
        told = f"{what}, {arguments}"
        try:
            words = "--config", str(good.config), *arguments
            done = forked.call(words, good.environment, good.path, SECONDS, before=little_memory)
        except subprocess.TimeoutExpired:
            pytest.fail(f"It hangs: {told}")
        said = done.stdout + done.stderr
        assert done.returncode in CODES, f"{told}: {done.returncode}: {said[-2000:]}"
        assert not [word for word in ("Traceback", "defect", "canary", "\nerror: forged") if word in said], (
            f"{told}: {said[-2000:]}"
        )
        assert all(char.isprintable() or char == "\n" for char in said), f"{told}: {said!r}"
        assert [describe(place) for place in places] == before, told


@pytest.mark.parametrize(
    "seed", [seed if seed < FEW else pytest.param(seed, marks=pytest.mark.slow) for seed in range(ALL)]
)
def test_every_command_has_an_answer(good: Site, seed: int) -> None:
    restored(good)
    backup = f"app/{good.ids()[1]}"
    mutation = Mutation(good.backups, good.path / "outside", Random(seed), [])
    mutation.mutate()
    ask(good, (seed, mutation.done), commands(good, backup))


@pytest.mark.parametrize("name", ["app", "app/archives", "app/.checkpoint", "app/ID"])
def test_a_link_leads_root_nowhere(good: Site, name: str) -> None:
    """What a run would write elsewhere, prune remove there, and delete take away."""
    restored(good)
    backup = good.ids()[1]
    path = good.backups / name.replace("ID", good.ids()[0])
    shutil.rmtree(path)
    path.symlink_to(good.path / "outside")
    asked = [
        ("list",),
        ("status",),
        ("prune",),
        ("run", "app"),
        ("delete", f"app/{backup}", "--yes"),
        ("accept", "app"),
    ]
    ask(good, name, [*map(tuple, asked), ("init", "--directory", str(good.backups), "--take-over", "app")])


def test_odd_words_drive_no_terminal(good: Site) -> None:
    """In each text of a manifest that is no name with rules of its own."""
    restored(good)
    backup = good.ids()[0]
    home = good.job() / backup
    table = json.loads((home / "manifest.json").read_text())
    odd = "a\x1b]0;x\x07\x9b2J\x7f\u2028\u2029\x85\u202e\udcff\nerror: forged"
    table.update(host=odd, version=odd, warnings=[odd], unusual=[odd], job_config={odd: odd, "paths": [odd]})
    table["containers"] = [{"name": odd, "image": odd, "digest": odd, "downtime_seconds": 1}]
    table["volumes"] = [{"name": odd, "labels": {odd: odd}, "options": {odd: odd}}]
    table["roots"].append({"path": f"/{odd}", "device": 1, "filesystem": odd, "mounts": [f"/{odd}/m"], "mount": odd})
    table["artifacts"][0]["sources"].append({"kind": "volume", "name": odd, "path": f"/{odd}"})
    table["artifacts"][0]["target"] = odd
    (home / "manifest.json").write_text(json.dumps(table))
    seal(home)
    for _, name in [(0, os.fsencode(odd).replace(b"\n", b"")), (1, b"\xff\xfe")]:
        os.mkdir(os.path.join(os.fsencode(good.backups), name))
        os.mknod(os.path.join(os.fsencode(home), name))
    ask(good, "odd words", commands(good, f"app/{backup}"))
