"""A run that ends before its end: what it had archived is not read again, and not stored again."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants, processes
from tests.support.job import Site, counting, held, site, stands_still, until
from tests.support.postgres import Server

MIB = 1 << 20
FILES, EACH = 24, MIB // 2
SIZE = 3 * MIB
WORKERS = max(2, min(4, len(os.sched_getaffinity(0))))


def scattered(made: Site, *, files: int = FILES, level: int = 3, **settings: object) -> Site:
    """A job of files of half a mebibyte that nothing compresses; six of them fill an archive."""
    made.archive_bytes = SIZE
    for number in range(files):
        folder = made.data / f"{number % 5}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{number:03}").write_bytes(os.urandom(EACH - 512))
    os.link(made.data / "0/file-000", made.data / "4/zz-another-name")
    time.sleep(2.1)  # what is younger is archived again in any case
    made.configure({"app": {"paths": [str(made.data)], "compression_level": level, **settings}})
    return made.init()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield scattered(made)


def check_newest(bed: Site) -> None:
    """The newest backup is the tree, also for those who have stock tools alone."""
    check_invariants(bed)
    target = bed.path / "restored"
    bed.run("restore", "app/latest", "--to", str(target)).succeeded()
    compared = ["rsync", "-aHAXnic", "--delete", f"{bed.data}/", f"{target}{bed.data}/"]
    assert subprocess.run(compared, capture_output=True, check=True).stdout == b""
    shutil.rmtree(target)


def archives(bed: Site) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir(bed.job() / "archives"))
    return set()


def done(bed: Site) -> set[str]:
    """The names of the archives that a run has settled."""
    with contextlib.suppress(FileNotFoundError):  # a run that ended has swept it
        return {name for name in os.listdir(bed.state / "spool/app") if name.startswith("done-")}
    return set()


# ---- at a fail point

WAYS = ("kill", "error", "enospc", "eio")


@pytest.mark.parametrize("way", WAYS)
def test_what_was_complete_is_in_the_next_backup(bed: Site, way: str) -> None:
    first = bed.run("run", "app", failpoint=f"archive@3:{way}")
    assert first.code == {"kill": -9, "error": 1, "enospc": 73, "eio": 74}[way], first.err
    assert bed.ids() == []
    assert len(archives(bed)) >= 3
    before = archives(bed)
    second = bed.run("run", "app").succeeded()
    assert ("broken off" in second.err) == (way == "kill"), second.err
    named = {Path(each["path"]).name for each in bed.manifest()["archives"]}
    assert before <= named
    assert len(named) <= -(-FILES * EACH // SIZE) + WORKERS + 1
    check_newest(bed)


def test_one_that_is_told_to_end_keeps_it_as_well(bed: Site) -> None:
    process = bed.start("run", "app", failpoint="archive@3:hold")
    stands_still(process)
    assert len(done(bed)) >= 3
    process.send_signal(signal.SIGTERM)
    ended = bed.finish(process, signal.SIGCONT)
    assert ended.code == 143, ended.err
    before = archives(bed)
    assert len(before) >= 3
    assert (bed.job() / ".checkpoint").is_dir()
    assert not (bed.state / "spool/app").exists() or not any((bed.state / "spool/app").iterdir())
    bed.run("run", "app").succeeded()
    assert before <= {Path(each["path"]).name for each in bed.manifest()["archives"]}
    check_newest(bed)


@pytest.mark.parametrize("again", ["archive:kill", "settle-pass:kill", "heal:kill", "validate:kill", "hot:kill"])
def test_killed_once_more(bed: Site, again: str) -> None:
    """While what was broken off is settled, and right after that."""
    bed.run("run", "app", failpoint="archive@3:kill")
    before = archives(bed)
    assert bed.run("run", "app", failpoint=again).code == -9
    assert before <= archives(bed)
    bed.run("run", "app").succeeded()
    assert before <= {Path(each["path"]).name for each in bed.manifest()["archives"]}
    check_newest(bed)


def test_the_tree_may_have_changed_meanwhile(bed: Site) -> None:
    """What was archived and is there no more, or is something else by now, is not in the next backup."""
    bed.run("run", "app", failpoint="archive@3:kill")
    (bed.data / "0/file-000").unlink()
    (bed.data / "0/file-005").write_bytes(os.urandom(EACH))
    (bed.data / "0/file-010").rename(bed.data / "0/file-011")
    shutil.rmtree(bed.data / "1")
    (bed.data / "1").write_text("no directory any more")
    (bed.data / "0").chmod(0o750)
    bed.run("run", "app").succeeded()
    check_newest(bed)


def test_prune_by_hand_leaves_it_alone(bed: Site) -> None:
    bed.run("run", "app", failpoint="archive@3:kill")
    before = archives(bed)
    bed.run("prune", "app").succeeded()
    assert archives(bed) == before
    bed.run("run", "app").succeeded()
    assert before <= {Path(each["path"]).name for each in bed.manifest()["archives"]}


def test_it_waits_for_the_disk_of_the_backups(bed: Site) -> None:
    bed.run("run", "app", failpoint="archive@3:kill")
    settled = done(bed)
    bed.backups.rename(bed.path / "away")
    bed.run("run", "app").failed(73)
    assert done(bed) == settled
    (bed.path / "away").rename(bed.backups)
    before = archives(bed)
    bed.run("run", "app").succeeded()
    assert before <= {Path(each["path"]).name for each in bed.manifest()["archives"]}
    check_newest(bed)


def test_a_broken_off_full_run_takes_the_place_of_nothing(bed: Site) -> None:
    """What it had archived again is less than what the last backup has."""
    bed.run("run", "app").succeeded()
    time.sleep(1.1)
    assert bed.run("run", "app", "--full", failpoint="archive@3:error").code in {0, 1}  # it has no such fail point then
    bed.run("run", "app", "--full", failpoint="hot:kill")
    assert not (bed.job() / ".checkpoint").exists()
    before = archives(bed)
    done = bed.run("run", "app").succeeded()
    assert "Archived 0 of" in done.err
    assert archives(bed) <= before
    check_newest(bed)


def test_what_it_left_goes_with_a_full_run(bed: Site) -> None:
    """On a disk that is too small for it there is no other way but to remove it by hand."""
    bed.run("run", "app", failpoint="archive@3:error")
    before = archives(bed)
    assert (bed.job() / ".checkpoint").is_dir()
    time.sleep(1.1)  # for another id
    bed.run("run", "app", "--full").succeeded()
    assert not before & archives(bed)
    check_newest(bed)


def test_a_checkpoint_is_there_until_the_next_one_is(bed: Site) -> None:
    bed.run("run", "app", failpoint="manifest:error")
    before = archives(bed)
    (bed.data / "new").write_text("new")
    assert bed.run("run", "app", failpoint="removing:kill").code == -9
    done = bed.run("run", "app").succeeded()
    assert before <= {Path(each["path"]).name for each in bed.manifest()["archives"]}, done.err
    check_newest(bed)


def test_hundreds_of_archives_need_no_file_open_for_each(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        for number in range(150):
            (made.data / f"{number}").write_bytes(os.urandom(600))
        made.archive_bytes = 1024
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init()
        limited = ("prlimit", "--nofile=80:80")
        process = made.start("run", "app", failpoint="archive@120:error", within=limited)
        assert made.finish(process).code == 1
        ended = made.finish(made.start("run", "app", within=limited))
        assert ended.code == 0, ended.err
        assert made.finish(made.start("verify", "app/latest", within=limited)).code == 0
        made.archive_bytes = 0
        check_newest(made)


@pytest.mark.parametrize(
    "what", ["broken-off", "done-0001", "hot.draft", "hot.order", "hot.names-0004", "hot.listing-0000", "archive"]
)
@pytest.mark.parametrize("how", ["cut short", "gone"])
def test_what_is_damaged_is_archived_again(bed: Site, what: str, how: str) -> None:
    """By a disk: somebody else cannot write there."""
    bed.run("run", "app", failpoint="archive@3:kill")
    path = bed.state / "spool/app" / what
    if what == "archive":
        path = bed.job() / "archives" / min(archives(bed))
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    second = bed.run("run", "app")
    assert second.code == 0, second.err
    check_newest(bed)


def test_a_second_pass_of_a_busy_tree_is_settled_too(tmp_path: Path) -> None:
    """Twenty files that change all the time: without a stop there are three passes."""
    with site(tmp_path) as made:
        scattered(made, unusual=False)
        stop = threading.Event()
        busy = [made.data / f"busy-{number:02}" for number in range(20)]  # behind all others

        def write() -> None:
            while not stop.is_set():
                for path in busy:
                    path.write_bytes(os.urandom(EACH))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            kept = set[str]()
            for at in (2, 5, 9):
                ended = made.run("run", "app", failpoint=f"archive@{at}:kill")
                assert ended.code in {0, -9}, ended.err
                kept = kept or archives(made)
                assert kept <= archives(made)
            made.run("run", "app").succeeded()
        finally:
            stop.set()
            thread.join()
        made.run("run", "app").succeeded()
        made.run("run", "app").succeeded()
        check_newest(made)


@pytest.mark.parametrize("spool", [False, True])
def test_a_cold_pass_joins_the_checkpoint_before_the_dumps(
    dockerd: Engine, postgres: Server, tmp_path: Path, *, spool: bool
) -> None:
    """A dump may take hours, and fail: what was archived while containers were down is not archived again."""
    with (
        postgres.database("shop", "CREATE TABLE item AS SELECT generate_series(1, 1000) AS id") as database,
        site(tmp_path, dockerd.url) as made,
    ):
        app = counting(dockerd, made.data / "app")
        try:
            source = {"dsn": postgres.dsn(), "databases": [database]}
            scattered(made, containers=[app.name], postgres=[source], spool=spool)
            process = made.start("run", "app", failpoint="dump:kill")
            with held(made, process, "*.hot-*.tar.zst"):
                for number in range(8):
                    (made.data / f"meanwhile-{number}").write_bytes(os.urandom(EACH))
                time.sleep(2.1)
            assert made.finish(process).code == -9
            cold = {each for each in archives(made) if ".cold-" in each}
            assert len(cold) >= 2
            made.run("recover").succeeded()
            second = made.run("run", "app").succeeded()
            assert "broken off" in second.err
            assert cold <= {Path(each["path"]).name for each in made.manifest()["archives"]}
            check_invariants(made, up=[app], postgres=postgres)
        finally:
            dockerd.api.remove_container(app.name, force=True)


# ---- at random moments


class Reading:
    """Adds up what tar reads for a site, as the kernel counts it, while it lasts."""

    def __init__(self, bed: Site) -> None:
        self._mark = b"TMPDIR=" + os.fsencode(bed.temporary)
        self._seen: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, ValueError):
                    if (folder / "comm").read_text() == "tar\n" and self._mark in (folder / "environ").read_bytes():
                        read = int((folder / "io").read_text().split()[1])
                        self._seen[folder.name] = max(read, self._seen.get(folder.name, 0))

    def end(self) -> int:
        self._over.set()
        self._thread.join()
        return sum(self._seen.values())


def killed_again_and_again(made: Site, seed: int, kills: int, content: int) -> None:
    """A first run, killed at random moments and begun again: it reads its data once, and a little."""
    chance, said = random.Random(seed), list[str]()
    reading = Reading(made)
    for _ in range(kills):
        process = made.start("run", "app")
        before, more = done(made), chance.choice((0, 1, 1, 2))
        with contextlib.suppress(AssertionError):
            until(lambda: process.poll() is not None or len(done(made) - before) >= more, "it goes on", 20)  # noqa: B023
        time.sleep(chance.random() * 0.4)
        said.append(made.finish(process, signal.SIGKILL).err)
        until(lambda: not list(processes(made)), "its children end")
    said.append(made.run("run", "app").succeeded().err)
    assert reading.end() <= content + (kills * WORKERS + 1) * (made.archive_bytes + MIB), "\n".join(said)
    check_newest(made)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_first_run_that_is_killed_ten_times_reads_its_data_once(tmp_path: Path, seed: int) -> None:
    with site(tmp_path) as made:
        scattered(made, files=100, level=14)
        killed_again_and_again(made, seed, 10, 100 * EACH)
