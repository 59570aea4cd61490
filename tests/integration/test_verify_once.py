"""verify reads each archive once for all backups, several at a time; with --changed, only what no verify has read."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.verify import Verifier
from hiveden_backup.jobs.installation import Installation
from tests.support.invariants import processes
from tests.support.job import Site, site, stands_still
from tests.support.watched import Watch

ARCHIVES = 4
READ_ONCE = 2
"""What a watch sees of one reading: that it is opened and read, which is told once while nothing else happens."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    """Four backups: the first has one archive, each later one those before and one more."""
    with site(tmp_path) as made:
        for number in range(ARCHIVES):
            (made.data / f"{number}").mkdir()
            (made.data / f"{number}/file").write_bytes(os.urandom(300_000))
        made.configure({"app": {"paths": [str(made.data / "0")]}})
        made.init()
        time.sleep(2.1)
        for number in range(ARCHIVES):
            made.configure({"app": {"paths": [str(made.data / f"{each}") for each in range(number + 1)]}})
            made.run("run", "app").succeeded()
        yield made


def archives(made: Site) -> list[Path]:
    """Those of the newest backup; the newest archive is last."""
    found = sorted(made.job() / each["path"] for each in made.manifest()["archives"])
    assert len(found) == ARCHIVES
    return found


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))


def looks_untouched(made: Site, path: Path) -> None:
    """As if a disk had lost what is in it, of which no time tells."""
    memory = made.state / "verified/app/archives.json"
    table = json.loads(memory.read_text())
    found = path.stat()
    table["archives"][str(path.relative_to(made.job()))].update(mtime_ns=found.st_mtime_ns, ctime_ns=found.st_ctime_ns)
    memory.write_text(json.dumps(table))


def seen(made: Site) -> set[str]:
    return set(json.loads((made.state / "verified/app/archives.json").read_text())["archives"])


def test_each_archive_is_read_once_for_all_backups(made: Site) -> None:
    watches = [Watch(path) for path in archives(made)]
    size = sum(path.stat().st_size for path in archives(made))
    said = made.run("verify", "--all").succeeded().out.splitlines()
    assert said[:-1] == [f"app/{each}: proven, signed here" for each in made.ids()]
    assert said[-1] == f"4 of 4 backups proven; 4 archives ({size / 1024:.1f} KiB) read." or "MiB" in said[-1]
    assert [watch.events() for watch in watches] == [READ_ONCE] * ARCHIVES
    assert list(made.temporary.iterdir()) == []


def test_two_archives_are_in_hand_at_a_time(made: Site) -> None:
    """Each reading begins with a look at the clock: here, that waits for another one."""
    workers = min(2, len(os.sched_getaffinity(0)))
    together = threading.Barrier(workers)

    def now() -> datetime:
        if threading.current_thread() is not threading.main_thread():
            together.wait(60)
        return datetime.now(UTC)

    installation = Installation(made.config, made.state, now)
    backups = [Backup("app", each) for each in BackupDirectory.open(made.backups).backups("app")]
    with Verifier(installation) as verifier:
        assert all(not found.errors for found in verifier.verify(backups))
        assert list(Path(verifier.reader.spool).iterdir()) == [], "no list is kept that nobody needs"


def test_only_what_no_verify_has_read_is_read(made: Site) -> None:
    made.run("verify", "app/latest").succeeded()
    before = json.loads(made.run("list", "--json").succeeded().out)[0]["verified"]
    assert before["archives_read"] == before["at"]
    (made.data / "0/new").write_text("new")
    time.sleep(1.1)
    made.run("run", "app").succeeded()
    *old, new = sorted((made.job() / "archives").iterdir())
    watches, fresh = [Watch(path) for path in old], Watch(new)
    said = made.run("verify", "--changed", "app/latest").succeeded().out.splitlines()
    assert "unchanged since its archives were read" in said[0]
    assert said[-1].endswith("read, 4 read by an earlier verify.")
    assert [watch.events() for watch in watches] == [0] * ARCHIVES
    assert fresh.events() == READ_ONCE
    after = json.loads(made.run("list", "--json").succeeded().out)[0]["verified"]
    assert after["result"] == "ok"
    assert after["archives_read"] <= before["at"] < after["at"]
    assert f"archives read since {after['archives_read']}" in made.run("show", "app/latest").succeeded().out
    done = made.run("verify", "--changed", "--json").succeeded().json
    assert [each["result"] for each in done] == ["ok"] * 5, "all of them, where none is named"
    assert [watch.events() for watch in watches] == [0] * ARCHIVES


def test_all_or_one_has_to_be_meant(made: Site) -> None:
    made.run("verify").failed(2, "--all")
    made.run("verify", "--all", "app/latest").failed(2, "--all")
    made.run("verify", "--all", "--changed", "app/latest").failed(2, "--all")


def test_damage_of_a_new_archive_is_found(made: Site) -> None:
    *_, new = archives(made)
    made.run("verify", f"app/{made.ids()[1]}").succeeded()
    flip(new)
    made.run("verify", "--changed", "app/latest").failed(65, str(new))
    assert str(new.relative_to(made.job())) not in seen(made)
    made.run("verify", "--changed", f"app/{made.ids()[1]}").succeeded()


def test_a_changed_archive_is_read_again_whoever_has_read_it(made: Site) -> None:
    made.run("verify", "--all").succeeded()
    first, *_ = archives(made)
    flip(first)
    made.run("verify", "--changed").failed(65, str(first))


def test_what_the_disk_has_lost_is_found_by_reading_all_and_remembered(made: Site) -> None:
    made.run("verify", "--all").succeeded()
    first, *others = archives(made)
    flip(first)
    looks_untouched(made, first)
    made.run("verify", "--changed").succeeded()
    made.run("verify", "app/latest").failed(65, str(first))
    assert seen(made) == {str(path.relative_to(made.job())) for path in others}
    made.run("verify", "--changed").failed(65, str(first))


def test_what_is_missing_or_of_another_size_is_found(made: Site) -> None:
    made.run("verify", "--all").succeeded()
    first, second, *_ = archives(made)
    os.truncate(first, 1000)
    second.unlink()
    done = made.run("verify", "--changed", "app/latest")
    assert (done.code, len(done.errors)) == (65, 2)
    assert f"{first} is damaged; {second} is missing" in done.out


def test_a_damaged_archive_is_named_once_with_all_who_need_it(made: Site) -> None:
    first, second, *_ = archives(made)
    flip(first)
    flip(second)
    done = made.run("verify", f"app/{made.ids()[-1]}", "app/latest")
    assert done.code == 65
    assert done.err.count(str(first)) == done.err.count(str(second)) == 1
    line = next(line for line in done.err.splitlines() if str(first) in line)
    assert all(f"app/{each}" in line for each in made.ids()), "also those that nobody has asked for"
    assert "0 of 2 backups proven" in done.out
    assert str(first) in done.out.splitlines()[0]


def test_a_killed_verify_goes_on_where_it_was(made: Site) -> None:
    assert made.run("verify", "app/latest", failpoint="verify@2:kill").code == -signal.SIGKILL
    assert len(seen(made)) >= 1
    read = ARCHIVES - len(seen(made))
    watches = [Watch(path) for path in archives(made)]
    made.run("verify", "--changed", "app/latest").succeeded()
    assert sum(watch.events() for watch in watches) == READ_ONCE * read
    assert len(seen(made)) == ARCHIVES


def test_a_signal_ends_all_that_reads_at_once(made: Site) -> None:
    process = made.start("verify", "--all", failpoint="verify@1:hold")
    stands_still(process)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    done = made.finish(process, signal.SIGCONT)
    assert done.code == 128 + signal.SIGTERM
    assert time.monotonic() - began < 4, "a program that is deaf to SIGTERM is given five seconds"
    assert list(processes(made)) == []
    assert list(made.temporary.iterdir()) == []


def test_damage_that_somebody_else_found_counts(made: Site) -> None:
    """A verify beside that one may have written down last what it had read before."""
    made.run("verify", "--all").succeeded()
    first, *_ = archives(made)
    memory = made.state / "verified/app/archives.json"
    content = memory.read_bytes()
    flip(first)
    made.run("verify", "app/latest").failed(65, str(first))
    memory.write_bytes(content)
    looks_untouched(made, first)
    made.run("verify", "--changed", "app/latest").failed(65, str(first))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"archives": {"archives/x": 1}}'])
def test_what_is_remembered_may_be_lost(made: Site, content: bytes) -> None:
    made.run("verify", "app/latest").succeeded()
    (made.state / "verified/app/archives.json").write_bytes(content)
    made.run("verify", "--changed", "app/latest").succeeded()
    assert len(seen(made)) == ARCHIVES
