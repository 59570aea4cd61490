"""Directories that move while tar reads: what lies in them is never kept under another one's name.

Their files have equal names, sizes and times, as `cp -p` and releases by rsync leave them.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hiveden_backup.core.progress import Silence, Step
from tests.integration.test_storm import Chain
from tests.support.job import site
from tests.support.storm import Blowing, change_places, exchange

MIB = 1 << 20
SIZE = 48 * MIB
"""More than the pipes and the compressor hold: what stands between two such files is read after the first bytes of the
one have arrived, and before those of the other one."""


class Meddling(Silence):
    """Does things to the tree when so many bytes of the first archive of one kind are written."""

    def __init__(self, step: Step, changes: Mapping[int, Callable[[], None]]) -> None:
        self._step, self._changes = step, dict(changes)
        self._armed, self._written = False, 0

    def begin(self, step: Step, total: int = 0) -> None:  # noqa: ARG002 - it matters to people
        self._armed = step is self._step

    def advance(self, count: int) -> None:
        self._written += count if self._armed else 0
        for at in [at for at in self._changes if at < self._written]:
            self._changes.pop(at)()


class Still:
    """Stands in for a container that is down during the cold pass: touches what that shall read, and no more."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def hold(self) -> None:
        for path in self._paths:
            os.utime(path, (10**9, 10**9))

    def go_on(self) -> None:
        pass


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Two directories with two generations of twins below them, and much to read before and behind them."""
    chain = Chain(tmp_path)
    for name in ("0", "z"):
        (chain.tree / name).write_bytes(os.urandom(SIZE))
    for folder in ("m/a/x", "m/b/x", "n/a/x", "n/b/x"):
        (chain.tree / folder).mkdir(parents=True)
        (chain.tree / folder / "version").write_text(f"{folder}\n")
        os.utime(chain.tree / folder / "version", (10**9, 10**9))
    time.sleep(2.5)  # older than the margin: only what was seen to move is taken again
    return chain


def versions(chain: Chain) -> dict[str, str]:
    """What the newest backup has in the twins."""
    backup = chain.finished.manifest.id
    chain.restored(backup)
    tree = chain.place / f"restored-{backup}" / str(chain.tree).lstrip("/")
    return {str(path.parent.relative_to(tree)): path.read_text().strip() for path in sorted(tree.rglob("version"))}


def right(chain: Chain) -> bool:
    found = versions(chain)
    return len(found) == 4 and all(name == content for name, content in found.items())


def meddle(chain: Chain, step: Step, there: Callable[[], None], back: Callable[[], None]) -> None:
    """Do something when tar reads what stands before the twins, and again when it is behind them."""
    progress = Meddling(step, {0: there, int(1.5 * SIZE): back})
    chain.installation = replace(chain.installation, progress=progress)


PAIRS = [("m/a", "m/b"), ("m", "n"), ("m/a/x", "n/b/x")]


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=["siblings", "grandparents", "cousins"])
def test_directories_that_change_places_and_back_while_they_are_read(chain: Chain, one: str, two: str) -> None:
    def swap() -> None:
        change_places(chain.tree / one, chain.tree / two, chain.tree / "aside")

    meddle(chain, Step.HOT, swap, swap)
    chain.run(None)
    assert chain.finished.manifest.warnings == ()
    assert right(chain)
    chain.run(None)
    assert right(chain)


@pytest.mark.parametrize("above", ["tree", "site"], ids=["root", "above the root"])
def test_the_root_and_what_is_above_it_are_watched_too(chain: Chain, above: str) -> None:
    """The place of the job itself changes for one that looks the same."""
    place = chain.tree if above == "tree" else chain.tree.parent / "site"
    chain_root = chain.tree
    if above == "site":
        place.mkdir()
        chain_root = chain.tree.rename(place / "tree")
    twin = place.with_name("twin")
    subprocess.run(["cp", "-a", place, twin], check=True)
    for path in twin.rglob("version"):
        path.write_text(path.read_text().upper())
        os.utime(path, (10**9, 10**9))
    config = chain.installation.config
    job = replace(config.jobs["storm"], paths=(str(chain_root),))
    chain.job = job
    chain.tree = chain_root

    def swap() -> None:
        exchange(place, twin)

    meddle(chain, Step.HOT, swap, swap)
    chain.run(None)
    assert chain.finished.manifest.warnings == ()
    assert right(chain)


def test_a_swap_that_lasts_is_what_the_backup_has(chain: Chain) -> None:
    meddle(chain, Step.HOT, lambda: exchange(chain.tree / "m", chain.tree / "n"), lambda: None)
    chain.run(None)
    assert versions(chain) == {"m/a/x": "n/a/x", "m/b/x": "n/b/x", "n/a/x": "m/a/x", "n/b/x": "m/b/x"}


def cold_change(chain: Chain, there: Callable[[], None], back: Callable[[], None]) -> None:
    """A run in whose cold pass something is done to the twins below `m` before tar reads them, and after that."""
    chain.run(None)
    files = [chain.tree / "m/a/x/version", chain.tree / "m/b/x/version", chain.tree / "0", chain.tree / "z"]
    meddle(chain, Step.COLD, there, back)
    chain.run(cast("Blowing", Still(*files)))


def test_in_the_cold_pass_it_is_a_warning_and_the_next_run_takes_it(chain: Chain) -> None:
    """What was read is not kept: nobody knows whose it is."""

    def swap() -> None:
        exchange(chain.tree / "m/a", chain.tree / "m/b")

    cold_change(chain, swap, swap)
    assert [line.partition(" moved while")[0] for line in chain.finished.manifest.warnings[-2:]] == [
        str(chain.tree / "m/a"),
        str(chain.tree / "m/b"),
    ]
    assert versions(chain) == {"n/a/x": "n/a/x", "n/b/x": "n/b/x"}
    chain.run(None)
    assert right(chain)
    assert chain.finished.manifest.warnings == ()


def test_a_link_to_a_sibling_gives_nothing_another_name(chain: Chain) -> None:
    """Where tar may read: only the witness knows that there was a link."""
    place, away = chain.tree / "m/a", chain.tree / "m/.a"

    def link() -> None:
        place.rename(away)
        place.symlink_to("b")

    def back() -> None:
        place.unlink()
        away.rename(place)

    cold_change(chain, link, back)
    assert "m/a/x" not in versions(chain)
    chain.run(None)
    assert right(chain)


def test_an_overlay_that_numbers_directories_anew_is_not_taken_for_one_that_moved(tmp_path: Path) -> None:
    """As it does when its layers are on several disks, and memory was short meanwhile."""
    layers = tmp_path / "layers"
    with ExitStack() as stack:
        for disk in ("one", "two"):
            (layers / disk).mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", layers / disk], check=True)
            stack.callback(subprocess.run, ["umount", str(layers / disk)], check=True)
        for folder in ("one/lower/a/b", "two/upper", "two/work"):
            (layers / folder).mkdir(parents=True)
        (layers / "one/lower/a/b/file").write_text("content")
        chain = Chain(tmp_path)
        options = f"lowerdir={layers}/one/lower,upperdir={layers}/two/upper,workdir={layers}/two/work,xino=off"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", chain.tree], check=True)
        stack.callback(subprocess.run, ["umount", str(chain.tree)], check=True)
        number = (chain.tree / "a/b").stat().st_ino
        changes = []

        class Forgetting(Silence):
            def begin(self, step: Step, total: int = 0) -> None:  # noqa: ARG002 - it matters to people
                if step is Step.HOT:
                    Path("/proc/sys/vm/drop_caches").write_text("2")
                    changes.append((chain.tree / "a/b").stat().st_ino != number)

        chain.installation = replace(chain.installation, progress=Forgetting())
        chain.run(None)
        assert changes == [True]
        assert chain.finished.manifest.warnings == ()
        assert "a/b/file" in chain.restored(chain.finished.manifest.id)


# ---- what must not be archived again ---------------------------------------------------------------------------------


def test_a_busy_tree_is_not_archived_again(chain: Chain) -> None:
    """Mail that comes and is read, a cache, a month that begins: renames of files, and of what is not read."""
    for folder in ("mail/new", "mail/cur", "cache", "2026-10"):
        (chain.tree / folder).mkdir(parents=True)
        for number in range(500):
            (chain.tree / folder / f"{number}").write_bytes(os.urandom(2_000))
    time.sleep(2.5)

    def busy() -> None:
        for number in range(10):
            (chain.tree / f"mail/new/{number}").rename(chain.tree / f"mail/cur/{number}.seen")
            (chain.tree / f"cache/{number}.new").write_bytes(os.urandom(2_000))
            (chain.tree / f"cache/{number}.new").rename(chain.tree / f"cache/{number}")
        (chain.tree / "coming").mkdir()
        (chain.tree / "coming/file").write_bytes(os.urandom(2_000))
        (chain.tree / "coming").rename(chain.tree / "2026-11")

    meddle(chain, Step.HOT, busy, lambda: None)
    chain.run(None)
    assert chain.finished.manifest.warnings == ()
    again = [archive.content_bytes for archive in chain.finished.manifest.archives[1:]]
    assert sum(again) < 60 * 3_000  # the ten that moved, the ten that were replaced, and what is new


# ---- what cannot be seen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("2 >/proc/sys/user/max_inotify_watches", "fs.inotify.max_user_watches"),
        ("0 >/proc/sys/user/max_inotify_instances", "Too many open files"),
    ],
    ids=["watches", "instances"],
)
def test_too_little_inotify_is_one_warning(tmp_path: Path, limit: str, told: str) -> None:
    with site(tmp_path) as bed:
        for number in range(5):
            (bed.data / f"{number}").mkdir()
            (bed.data / f"{number}/file").write_text("content")
        bed.configure({"app": {"paths": [str(bed.data)]}})
        bed.init()
        within = ("unshare", "--user", "--map-root-user", "sh", "-c", f'echo {limit} && exec "$@"', "sh")
        bed.finish(bed.start("run", "app", within=within)).succeeded()
        (warning,) = bed.manifest()["warnings"]
        assert told in warning
        assert bed.manifest()["artifacts"][0]["entries"] == 11
        bed.run("run", "app").succeeded()


def test_renames_behind_fuse_are_one_warning(tmp_path: Path) -> None:
    with site(tmp_path) as bed:
        behind, pool = bed.path / "behind", bed.data / "pool"
        for folder in (behind / "a", behind / "b"):
            folder.mkdir(parents=True)
            (folder / "file").write_text("content")
        pool.mkdir()
        bed.configure({"app": {"paths": [str(pool)]}})
        bed.init()
        subprocess.run(["bindfs", str(behind), str(pool)], check=True)
        try:
            bed.run("run", "app").succeeded()
        finally:
            subprocess.run(["umount", str(pool)], check=True)
        (warning,) = bed.manifest()["warnings"]
        assert f"Renames on {pool}, a network or FUSE file system, cannot be seen" in warning
