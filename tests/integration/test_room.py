"""A run whose archives leave this machine needs room for a few of them, not for all (`keep_local = "newest"`)."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hiveden_backup.jobs.run import room
from tests.integration.test_keep_local import here, stubs, where
from tests.support.disks import small_disk
from tests.support.job import site, stands_still, until
from tests.support.offsite_home import Home, configured, new_key
from tests.support.postgres import Server

MIB = 1 << 20
FILES, EACH = 40, MIB
DISK = 36 * MIB


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """40 MiB to archive in pieces of 4, 36 MiB to do that in, of which 16 stay free, and an offsite."""
    with site(tmp_path / "site") as made:
        made.archive_bytes = 4 * MIB
        for number in range(FILES):
            (made.data / f"file-{number:03}").write_bytes(os.urandom(EACH - 512))
        time.sleep(2.1)  # what is younger is archived again in any case
        found = configured(made, tmp_path / "there", new_key(tmp_path / "key"), keep_local="newest")
        made.backups.mkdir()
        with small_disk(made.backups, f"{DISK}"):
            made.init()
            yield found


def check_all_is_there(home: Home) -> None:
    """The newest backup is whole at the offsite, and is what there is."""
    pushed = home.pushed()
    assert home.check() == home.listed() == home.site.ids(), pushed
    assert (here(home), where(home)[0]) == ([], "there")
    target = home.site.path / "target"
    ways = ("--from", "usb", "--identity", str(home.key.path))
    home.site.run("restore", "app/latest", "--to", str(target), *ways).succeeded()
    compared = ["rsync", "-aHnic", "--delete", f"{home.site.data}/", f"{target}{home.site.data}/"]
    assert subprocess.run(compared, capture_output=True, check=True).stdout == b""


@contextmanager
def fullest(path: Path) -> Iterator[list[int]]:
    """How much of a disk was used at most."""
    most, ends = [0], threading.Event()

    def look() -> None:
        while not ends.wait(0.01):
            found = os.statvfs(path)
            most[0] = max(most[0], (found.f_blocks - found.f_bfree) * found.f_frsize)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        ends.set()
        looking.join()


def test_a_first_run_needs_room_for_a_few_archives(home: Home) -> None:
    (space,) = (row for row in home.site.run("check", "app", "--json").succeeded().json if row["name"] == "space")
    assert space["status"] == "OK", space
    with fullest(home.site.backups) as most:
        done = home.site.run("run", "app").succeeded()
    assert "what is archived goes to usb first" in done.err
    assert most[0] < DISK - 8 * MIB
    manifest = home.site.manifest()
    assert sum(each["bytes"] for each in manifest["archives"]) > FILES * EACH - MIB
    assert len(stubs(home)) > len(manifest["archives"]) / 2
    check_all_is_there(home)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["archive@6:kill", "evict@3:kill", "evict@3:error"])
def test_one_that_was_broken_off_goes_on_where_it_was(home: Home, point: str) -> None:
    assert home.site.run("run", "app", failpoint=point).code in {-9, 1}
    before = set(stubs(home)) | set(here(home))
    assert len(before) >= 3
    home.pushed()
    home.site.run("offsite", "prune").succeeded()
    second = home.site.run("run", "app").succeeded()
    assert "archived again" not in second.err
    assert before <= {Path(each["path"]).name for each in home.site.manifest()["archives"]}
    check_all_is_there(home)


@pytest.mark.slow
def test_it_waits_for_a_place_that_is_away(home: Home) -> None:
    away = home.there.with_name("unplugged")
    home.there.rename(away)
    process = home.site.start("run", "app")
    until(lambda: len(here(home)) >= 4, "some are complete")
    time.sleep(2)
    assert process.poll() is None
    away.rename(home.there)
    done = home.site.finish(process).succeeded()
    assert "is not there" in done.err
    check_all_is_there(home)


@pytest.mark.slow
def test_one_that_waits_ends_when_it_is_told_to(home: Home) -> None:
    away = home.there.with_name("unplugged")
    home.there.rename(away)
    process = home.site.start("run", "app")
    until(lambda: len(here(home)) >= 4, "some are complete")
    began = time.monotonic()
    assert home.site.finish(process, signal.SIGTERM).code == 143
    assert time.monotonic() - began < 10
    before = here(home)
    away.rename(home.there)
    assert "archived again" not in home.site.run("run", "app").succeeded().err
    assert set(before) <= {Path(each["path"]).name for each in home.site.manifest()["archives"]}
    check_all_is_there(home)


def test_when_nothing_leaves_it_says_why(home: Home) -> None:
    home.there.rmdir()

    def impatient() -> None:
        room._PATIENCE = 1.0

    done = home.site.run("run", "app", before=impatient)
    done.failed(73, "No space left")
    assert "nothing has come to usb" in done.err
    before = here(home)
    assert len(before) >= 4
    home.there.mkdir()
    home.site.run("run", "app").succeeded()
    assert set(before) <= {Path(each["path"]).name for each in home.site.manifest()["archives"]}
    check_all_is_there(home)


@pytest.mark.slow
def test_what_is_lost_there_before_the_end_of_the_run_ends_it(home: Home) -> None:
    process = home.site.start("run", "app", failpoint="hot:hold")
    stands_still(process)
    gone = next(iter(sorted(stubs(home))))
    (home.host / "app/archives" / f"{gone}.0000.age").unlink()
    assert home.site.run("offsite", "reconcile").code == 65
    process.send_signal(signal.SIGCONT)
    home.site.finish(process).failed(74, f"{gone} of app is neither here nor at an offsite any more")
    assert home.site.ids() == []
    home.site.run("run", "app").succeeded()
    check_all_is_there(home)


@pytest.mark.slow
def test_a_place_is_not_moved_while_it_alone_has_what_a_run_has_begun(home: Home) -> None:
    assert home.site.run("run", "app", failpoint="archive@6:kill").code == -9
    assert stubs(home)
    other = home.there.with_name("other")
    other.mkdir()
    moved = configured(home.site, other, home.key, keep_local="newest")
    moved.push().failed(78, "may be there alone")


@pytest.mark.slow
def test_there_is_room_for_the_dumps_behind_it(home: Home, postgres: Server) -> None:
    """A dump of more than 20 MiB, which comes when all files are archived."""
    rows = "SELECT sha256(i::text::bytea)::text FROM generate_series(1, 800000) AS i"
    with postgres.database("large", f"CREATE TABLE t AS {rows}") as name:
        home.site.change(postgres=[{"dsn": postgres.dsn(), "databases": [name]}])
        home.site.run("run", "app").succeeded()
    sizes = [file["bytes"] for each in home.site.manifest()["artifacts"] for file in each["files"]]
    assert max(sizes) > 18 * MIB
    assert len(here(home)) < 3
