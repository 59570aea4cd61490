"""Disks that run full at any step: the run fails with the right code, old backups stay whole, the next run works."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import fill, small_disk
from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants
from tests.support.job import SLOW, App, Site, counting, held, site
from tests.support.postgres import Server

MIB = 1 << 20
LARGE_LAST_WORDS = """
trap 'head -c 3000000 /dev/urandom >/data/last; exit 0' TERM
echo 1 >/data/counter
while :; do sleep 0.02; echo $(($(cat /data/counter) + 1)) >/data/new && mv /data/new /data/counter; done
"""
"""Counts, and writes a file that does not compress when it is asked to end: too late for the hot pass."""


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """An installation whose backup directory is on a disk of its own, 2 MiB large."""
    with site(tmp_path) as made:
        made.backups.mkdir()
        with small_disk(made.backups, "2m"):
            yield made


def test_a_disk_that_does_not_say_what_is_free(tmp_path: Path) -> None:
    """It says that it has 0 bytes in all, as some FUSE file systems do: that is not full."""
    with site(tmp_path) as made:
        made.backups.mkdir()
        with small_disk(made.backups, "0"):
            assert os.statvfs(made.backups).f_blocks == 0
            prepared(made)
            assert "How much is free cannot be seen" in made.run("check", "app").succeeded().out
            check_invariants(made)


def incompressible(path: Path, size: int) -> None:
    path.write_bytes(os.urandom(size))


def leave(directory: Path, size: int) -> Path:
    """Fill the disk of `directory` but for `size` bytes; the file to remove to undo it."""
    found = os.statvfs(directory)
    filler = directory / "filler"
    filler.touch(0o600)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - size)
    return filler


def prepared(bed: Site, **job: object) -> list[str]:
    """A job that ran once; the ids of its backups."""
    (bed.data / "file").write_text("content")
    bed.configure({"app": {"paths": [str(bed.data)], **job}})
    bed.init().run("run", "app").succeeded()
    return bed.ids()


def works_again(bed: Site, kept: list[str], up: tuple[App, ...] = (), postgres: Server | None = None) -> None:
    bed.run("run", "app").succeeded()
    assert len(bed.ids()) == len(kept) + 1
    check_invariants(bed, kept=kept, up=up, postgres=postgres)


def test_hot_pass(bed: Site) -> None:
    """Somebody else fills the disk while the run goes on."""
    kept = prepared(bed, **SLOW)
    incompressible(bed.data / "large", MIB)
    process = bed.start("run", "app")
    with held(bed, process, "*.hot-*.tar.zst"):
        fill(bed.backups)
    bed.finish(process).failed(73, "No space left on device", "prune")
    assert bed.record()["exit_code"] == 73
    (bed.backups / "filler").unlink()
    check_invariants(bed, kept=kept)
    works_again(bed, kept)


def test_index(bed: Site) -> None:
    """The archive fits, the list of what is in it does not: neither is left to fill the disk."""
    kept = prepared(bed)
    filler = leave(bed.backups, 64 << 10)
    for number in range(2000):
        (bed.data / f"{number:04}-{os.urandom(20).hex()}").symlink_to("nowhere")
    bed.run("run", "app").failed(73, "No space left on device")
    check_invariants(bed, kept=kept)
    filler.unlink()
    works_again(bed, kept)


@pytest.mark.parametrize("spool", [False, True])
def test_cold_pass(bed: Site, engine: Engine, *, spool: bool) -> None:
    """With `spool` the archive lands on the state directory's disk first."""
    bed.docker = engine.url
    app = counting(engine, bed.data / "app", command=("sh", "-c", LARGE_LAST_WORDS))
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name], "spool": spool}})
    bed.init()
    (bed.state / "spool").mkdir(parents=True)
    for full, size, code in (("spool", "1m", 74), ("backups", "9m", 73)) if spool else (("backups", "9m", 73),):
        with small_disk(bed.state / "spool", size):
            bed.run("run", "app").failed(code, "No space left on device", "spool" if full == "spool" else "cold")
            check_invariants(bed, up=[app])
        assert ".checkpoint" in bed.names()
        engine.api.kill(app.name)  # without last words
        (bed.data / "app/last").unlink()
        engine.api.start(app.name)
    engine.api.stop(app.name)
    (bed.data / "app/last").unlink()
    bed.run("run", "app").succeeded()
    check_invariants(bed, down=[app])


@pytest.mark.parametrize("room", [64 << 10, 100 << 10, 240 << 10])
def test_spool(bed: Site, room: int) -> None:
    """The draft does not fit, the names do not, or tar's listing, of which tar itself would say nothing."""
    kept = prepared(bed)
    for number in range(500):
        (bed.data / f"{number:04}-{'x' * 100}").touch()
    with small_disk(bed.state / "spool", f"{room >> 10}k"):
        bed.run("run", "app").failed(74, "No space left on device", "spool")
        check_invariants(bed, kept=kept)
    works_again(bed, kept)
    assert bed.manifest()["artifacts"][0]["entries"] == 502


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    with postgres.database("full", "CREATE TABLE item (t text)") as name:
        yield name


def test_dump(bed: Site, postgres: Server, database: str) -> None:
    kept = prepared(bed, postgres=[{"dsn": postgres.dsn(), "databases": [database]}])
    postgres.sql(
        "INSERT INTO item SELECT string_agg(sha512((n * 1000 + m)::text::bytea)::text, '')"
        " FROM generate_series(1, 40) AS n, generate_series(1, 1000) AS m GROUP BY n",
        dbname=database,
    )
    bed.run("run", "app").failed(73, "No space left on device")
    check_invariants(bed, kept=kept, postgres=postgres)
    postgres.sql("TRUNCATE item", dbname=database)
    works_again(bed, kept, postgres=postgres)


def test_manifest(bed: Site, postgres: Server, database: str) -> None:
    """All the rest fits, and the list of tables in the manifest does not."""
    kept = prepared(bed, postgres=[{"dsn": postgres.dsn(), "databases": [database]}])
    tables = "; ".join(f'CREATE TABLE "{number:03}-{"x" * 55}" ()' for number in range(600))
    postgres.sql(tables, dbname=database)
    filler = leave(bed.backups, 72 << 10)
    done = bed.run("run", "app").failed(73, "No space left on device")
    assert "Finishing the backup" in done.errors[0]
    check_invariants(bed, kept=kept, postgres=postgres)
    filler.unlink()
    works_again(bed, kept, postgres=postgres)


def test_state_directory(bed: Site, engine: Engine) -> None:
    """Nothing is stopped that could not be written down before."""
    bed.docker = engine.url
    app = counting(engine, bed.data / "app")
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name], "stop_timeout": "1s"}})
    bed.init().run("run", "app").succeeded()
    kept, started = bed.ids(), app.started_at()
    ledger = bed.state / "ledger"
    with small_disk(ledger, "4k"):
        (ledger / "app").mkdir()
        (ledger / "filler").write_bytes(bytes(4096))
        bed.run("run", "app").failed(74, "No space left on device", "ledger")
        assert app.started_at() == started
        check_invariants(bed, kept=kept, up=[app])
    works_again(bed, kept, up=(app,))


def test_a_run_that_cannot_fit_is_refused(bed: Site) -> None:
    kept = prepared(bed)
    with (bed.data / "large").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 200 * MIB)
    bed.run("run", "app").failed(73, "did not pass validation", "free", "needs about")
    check_invariants(bed, kept=kept)


def test_what_does_not_compress_and_cannot_fit_is_refused(bed: Site, engine: Engine) -> None:
    """At once, with nothing stopped or written; the same amount of what compresses is tried, and fits."""
    bed.docker = engine.url
    app = counting(engine, bed.data / "app")
    kept = prepared(bed, containers=[app.name])
    started = app.started_at()
    incompressible(bed.data / "large", 3 * MIB)
    bed.run("run", "app").failed(73, "did not pass validation", "free", "needs about 3.0 MiB")
    assert app.started_at() == started
    assert bed.names() == {"archives", ".owner.json"}
    check_invariants(bed, kept=kept, up=[app])
    (bed.data / "large").write_bytes(b"so much text " * (3 * MIB // 13))
    works_again(bed, kept, (app,))


def test_what_is_large_is_measured_by_samples(tmp_path: Path) -> None:
    """Refused is only what fits nowhere: where half of it compresses well, the run is tried."""
    with site(tmp_path) as bed:
        bed.backups.mkdir()
        with small_disk(bed.backups, "64m"):
            (bed.data / "a").write_bytes(bytes(45 * MIB))
            for number in range(45):
                incompressible(bed.data / f"b{number}", MIB)
            bed.configure({"app": {"paths": [str(bed.data)]}})
            bed.init()
            (warning,) = [each for each in bed.run("check", "--json").json if each["name"] == "space"]
            assert warning["status"] == "OK" or "may need" in warning["message"]
            bed.run("run", "app").succeeded()
            for path in bed.data.iterdir():
                incompressible(path, 2 * MIB)
            bed.run("run", "app").failed(73, "did not pass validation", "needs about 92.0 MiB")


def test_lists_that_do_not_fit_stop_nothing(bed: Site, engine: Engine) -> None:
    """The cold pass needs as large a list of all paths as the hot one, on the state directory's disk."""
    bed.docker = engine.url
    app = counting(engine, bed.data / "app")
    kept = prepared(bed, containers=[app.name])
    started = app.started_at()
    for number in range(500):
        (bed.data / f"{number:04}-{'x' * 100}").touch()
    with small_disk(bed.state / "spool", "310k"):
        bed.run("run", "app").failed(74, "state directory", "KiB free", "for its lists")
        assert app.started_at() == started
        check_invariants(bed, kept=kept, up=[app])
    works_again(bed, kept, (app,))


def test_a_run_that_may_fit_is_tried(bed: Site) -> None:
    """What compresses well, what is sparse, and what is small on a disk that is nearly full."""
    kept = prepared(bed)
    (bed.data / "text").write_bytes(b"so much text " * MIB)
    with (bed.data / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.write(b"begin")
    works_again(bed, kept)
    (bed.data / "text").unlink()
    kept = bed.ids()
    filler = leave(bed.backups, 64 << 10)
    works_again(bed, kept)
    filler.unlink()
