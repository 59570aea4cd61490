"""What is pulled away in the middle of a run: containers, Docker, PostgreSQL, a mounted disk."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import small_disk
from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants
from tests.support.job import (
    FAST,
    LARGE,
    LAST_WORDS,
    SLOW,
    App,
    Site,
    counting,
    held,
    large,
    last_words,
    site,
    stands_still,
)
from tests.support.postgres import Server, running_server

SLOW_APP = ("sh", "-c", LAST_WORDS)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def prepared(bed: Site, *apps: App, **job: Any) -> list[str]:
    """A job that stops these containers, ran once and is slow from then on; the ids of its backups."""
    bed.docker = apps[0].engine.url if apps else None
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name for app in apps], **job}})
    bed.init().run("run", "app").succeeded()
    bed.change(**SLOW)
    for app in apps:  # so that the hot pass has little to do
        (app.data / "last").unlink(missing_ok=True)
    return bed.ids()


def works_again(bed: Site, kept: list[str], *apps: App, postgres: Server | None = None) -> None:
    bed.change(**FAST)
    bed.run("run", "app").succeeded()
    assert len(bed.ids()) == len(kept) + 1
    check_invariants(bed, kept=kept, up=apps, postgres=postgres)


def test_docker_is_stopped(bed: Site, private_dockerd: Engine) -> None:
    """What it takes along is started when it is back."""
    app = counting(private_dockerd, bed.data / "app", command=SLOW_APP)
    kept = prepared(bed, app)
    process = bed.start("run", "app")
    with held(bed, process, "*.cold-*.tar.zst"):
        private_dockerd.stop()
    done = bed.finish(process)
    assert done.code == 69
    assert "Traceback" not in done.err
    assert all("Docker does not answer" in error for error in done.errors)
    assert bed.owed() == [f"app/{app.name}"]
    assert bed.ids() == kept
    bed.run("recover").failed(69, "Docker does not answer")
    bed.run("run", "app").failed(69, "Docker does not answer")
    private_dockerd.start()
    assert not app.running
    bed.run("recover").succeeded()
    check_invariants(bed, kept=kept, up=[app])
    works_again(bed, kept, app)


def test_docker_crashes_and_is_back(bed: Site, private_dockerd: Engine) -> None:
    """Containers live on meanwhile; this one is down as it should be, and the run does not notice."""
    app = counting(private_dockerd, bed.data / "app", command=SLOW_APP)
    kept = prepared(bed, app)
    process = bed.start("run", "app")
    with held(bed, process, "*.cold-*.tar.zst"):
        private_dockerd.kill()
        private_dockerd.start()
    done = bed.finish(process)
    assert "Traceback" not in done.err
    bed.run("recover").succeeded()
    assert len(bed.ids()) == len(kept) + (done.code == 0)
    check_invariants(bed, kept=kept, up=[app])


def test_a_spooled_archive_that_does_not_come_back_as_it_was_written(bed: Site, engine: Engine) -> None:
    """The disk of the state directory is not to be trusted more than any other."""
    app = counting(engine, bed.data / "app", command=SLOW_APP)
    kept = prepared(bed, app, spool=True)
    process = bed.start("run", "app", failpoint="start:hold")
    stands_still(process)
    (archive,) = bed.state.glob("spool/app/*.cold*.tar.zst")
    with archive.open("r+b") as file:
        file.seek(1000)
        file.write(b"x" * 16)
    bed.finish(process, signal.SIGCONT).failed(74, archive.name, "is not what was written to it")
    check_invariants(bed, kept=kept, up=[app])


def test_container_is_removed(bed: Site, engine: Engine) -> None:
    app, other = counting(engine, bed.data / "app", command=SLOW_APP), counting(engine, bed.data / "other")
    kept = prepared(bed, app, other)
    process = bed.start("run", "app")
    with held(bed, process, "*.cold-*.tar.zst"):
        engine.api.remove_container(app.name)
    done = bed.finish(process).failed(66, app.name, "was removed")
    assert f"warning: app: Container {app.name}: It was removed since" in done.err
    check_invariants(bed, kept=kept, up=[other])
    bed.run("run", "app").failed(66, "did not pass validation", f"There is no container {app.name}")


def test_container_is_made_anew_during_the_hot_pass(bed: Site, engine: Engine) -> None:
    """As an updater does: one of the same name is the one to stop."""
    app = counting(engine, bed.data / "app")
    kept = prepared(bed, app)
    large(bed.data / "large")
    process = bed.start("run", "app")
    with held(bed, process, "*.hot-*.tar.zst"):
        engine.api.remove_container(app.name, force=True)
        engine.run(SLOW_APP, name=app.name, binds=[f"{app.data}:/data"])
    bed.finish(process).succeeded()
    check_invariants(bed, kept=kept, up=[app])
    assert [each["name"] for each in bed.manifest()["containers"]] == [app.name]


@pytest.mark.parametrize("ran_before", [True, False])
def test_container_is_started_by_somebody_else(bed: Site, engine: Engine, *, ran_before: bool) -> None:
    """One that we stopped, or one that was down before: what is read then need not fit together."""
    app, other = counting(engine, bed.data / "app", command=SLOW_APP), counting(engine, bed.data / "other")
    if not ran_before:
        engine.api.stop(other.name)
    kept = prepared(bed, app, other)
    process = bed.start("run", "app")
    with held(bed, process, "*.cold-*.tar.zst"):
        engine.api.start(other.name)
    bed.finish(process).failed(1, other.name, "was started while it was to be down")
    check_invariants(bed, kept=kept, up=[app, other])
    works_again(bed, kept, app, other)


def test_container_that_refuses_to_start(bed: Site, engine: Engine) -> None:
    """The backup is good and is published; the debt stays until the container runs."""
    needed = bed.path / "needed"
    needed.mkdir()
    app, other = counting(engine, bed.data / "app", command=SLOW_APP), counting(engine, bed.data / "other")
    engine.api.remove_container(app.name, force=True)
    engine.run(SLOW_APP, name=app.name, binds=[f"{app.data}:/data", f"{needed}:/needed"])
    kept = prepared(bed, app, other)
    process = bed.start("run", "app")
    with held(bed, process, "*.cold-*.tar.zst"):
        needed.rmdir()
        needed.write_text("a file cannot be mounted where a directory was")
    done = bed.finish(process).failed(1, app.name)
    new = bed.ids()[0]
    assert done.out.split() == [new]
    assert new not in kept
    assert (bed.record()["result"], bed.record()["prune"], bed.record()["backup"]) == ("partial", "done", new)
    assert bed.owed() == [f"app/{app.name}"]
    assert other.running
    bed.change(**FAST)
    done = bed.run("run", "app")  # heals first, in vain; goes on all the same
    assert done.code == 1, done.err
    assert len(bed.ids()) == len(kept) + 2
    assert bed.run("recover").code == 1
    needed.unlink()
    needed.mkdir()
    bed.run("recover").succeeded()
    check_invariants(bed, kept=[*kept, new], up=[app, other])


def test_container_that_ends_again(bed: Site, engine: Engine) -> None:
    """It starts, and is gone a moment later: seen before the debt is settled."""
    command = f"[ ! -e /data/last ] || exit 7; {LAST_WORDS}"
    app = counting(engine, bed.data / "app", command=("sh", "-c", command))
    bed.docker = engine.url
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name]}})
    bed.init().run("run", "app").failed(1, app.name, "does not stay up", "exit code 7")
    assert bed.owed() == [f"app/{app.name}"]
    assert len(bed.ids()) == 1
    (app.data / "last").unlink()
    bed.run("recover").succeeded()
    check_invariants(bed, up=[app])


@pytest.mark.parametrize("below", [True, False])
def test_disk_of_the_files_is_unmounted(bed: Site, *, below: bool) -> None:
    """It is the root itself, or below it. Nothing is published that lacks its files."""
    disk = bed.data / "disk"
    disk.mkdir()
    bed.configure({"app": {"paths": [str(bed.data if below else disk)]}})
    with small_disk(disk, "8m"):
        (disk / "first").write_text("first")
        bed.init().run("run", "app").succeeded()
        kept = bed.ids()
        bed.change(**SLOW)
        large(disk / "large")
        process = bed.start("run", "app")
        with held(bed, process, "*.hot-*.tar.zst"):
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
        done = bed.finish(process)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=True)  # for the block to unmount
        done.failed(66, str(disk), "gone or changed")
        check_invariants(bed, kept=kept)
    bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}")
    check_invariants(bed, kept=kept)
    disk.rmdir()
    if below:
        bed.run("accept", "app").succeeded()
        works_again(bed, kept)
    else:
        bed.run("run", "app").failed(66, f"{disk} does not exist")


def test_what_comes_and_goes_goes_during_a_run(bed: Site) -> None:
    """The mount of a container that the run, or anybody, stops."""
    merged = bed.data / "overlay2" / "1f2e" / "merged"
    merged.mkdir(parents=True)
    bed.configure({"app": {"paths": [str(bed.data)], **SLOW}})
    large(bed.data / "large")
    bed.init()
    with small_disk(merged, "1m"):
        (merged / "file").write_text("a container's")
        process = bed.start("run", "app")
        with held(bed, process, "*.hot-*.tar.zst"):
            subprocess.run(["umount", "--lazy", str(merged)], check=True)
        done = bed.finish(process)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(merged)], check=True)  # for the block to unmount
    done.succeeded()
    bed.run("run", "app").succeeded()


def test_disk_of_the_backups_is_unmounted(bed: Site) -> None:
    bed.backups.mkdir()
    with small_disk(bed.backups, "16m"):
        prepared(bed)
        large(bed.data / "large")
        process = bed.start("run", "app")
        with held(bed, process, "*.hot-*.tar.zst"):
            subprocess.run(["umount", "--lazy", str(bed.backups)], check=True)
        done = bed.finish(process)
        assert done.code in (73, 74)
        assert len(done.errors) == 1
        assert "Traceback" not in done.err
        assert os.listdir(bed.backups) == [], "nothing is written into the bare mount point"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(bed.backups)], check=True)
    bed.run("run", "app").failed(73, "marker", "perhaps its disk is not mounted")
    assert os.listdir(bed.backups) == []
    assert bed.record()["exit_code"] == 73


def test_files_are_removed(bed: Site) -> None:
    """The job's own path is gone: that is no empty backup."""
    large(bed.data / "large")
    bed.configure({"app": {"paths": [str(bed.data)], **SLOW}})
    process = bed.init().start("run", "app")
    with held(bed, process, "*.hot-*.tar.zst"):
        shutil.rmtree(bed.data)
    bed.finish(process).failed(66, str(bed.data), "is gone")
    check_invariants(bed)


def test_postgres_is_stopped(bed: Site, engine: Engine) -> None:
    """Before its snapshot is taken, and while it is dumped."""
    app = counting(engine, bed.data / "app", command=SLOW_APP)
    rows = "INSERT INTO item SELECT sha512(n::text::bytea) FROM generate_series(1, 30000) AS n"
    with running_server() as postgres, postgres.database("shop", "CREATE TABLE item (t text)") as name:
        kept = prepared(bed, app, postgres=[{"dsn": postgres.dsn(), "databases": [name]}])
        postgres.sql(rows, dbname=name)
        for moment in ("*.cold-*.tar.zst", "database.*"):
            process = bed.start("run", "app")
            with held(bed, process, moment):
                log = ["-D", str(postgres.directory), "-l", str(postgres.directory / "log")]
                postgres.as_account("pg_ctl", "stop", "-w", "-m", "immediate", *log[:2])
            done = bed.finish(process)
            postgres.as_account("pg_ctl", "start", "-w", *log)
            done.failed(69)
            check_invariants(bed, kept=kept, up=[app], postgres=postgres)
        works_again(bed, kept, app, postgres=postgres)


def test_max_downtime(bed: Site, engine: Engine) -> None:
    app = counting(engine, bed.data / "app", command=("sh", "-c", last_words(8 * LARGE)))
    kept = prepared(bed, app)
    bed.change(max_downtime="500ms")
    bed.run("run", "app").failed(1, "down for longer than max_downtime", "0.5 seconds")
    check_invariants(bed, kept=kept, up=[app])
    bed.change(max_downtime="1min")
    works_again(bed, kept, app)
