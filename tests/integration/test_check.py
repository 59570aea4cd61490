"""Validation: every problem is found before anything is touched, all of them are told at once, and no run begins."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.sizes import text
from tests.support.disks import small_disk
from tests.support.dockerd import Engine, unique_name
from tests.support.job import App, Site, counting, site
from tests.support.postgres import Server
from tests.support.sockets import listening
from tests.support.validation import check, ours, refused, said


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """An installation with a job over one file."""
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        yield made.init()


@pytest.fixture
def docked(bed: Site, engine: Engine) -> Site:
    """The same, with Docker."""
    bed.docker = engine.url
    bed.configure({"app": {"paths": [str(bed.data)]}})
    return bed


# ---- all is well -----------------------------------------------------------------------------------------------------


def test_all_is_well(docked: Site, engine: Engine, postgres: Server) -> None:
    app = counting(engine, docked.data / "app")
    volume = unique_name("vol")
    engine.api.create_volume(volume)
    with postgres.database("shop") as name:
        databases = [{"dsn": postgres.dsn(), "databases": [name]}]
        docked.configure(
            {
                "app": {
                    "paths": [str(docked.data)],
                    "volumes": [volume],
                    "containers": [app.name],
                    "postgres": databases,
                    "schedule": "daily",
                }
            }
        )
        rows = check(docked)
        assert [row["message"] for row in rows if row["status"] != "OK"] == []
        text = docked.run("check").succeeded().out
        assert all(line.startswith("OK    app: ") for line in text.splitlines())
    assert {"tools", "directory", "docker", "container", "files", "postgres", "space"} <= {row["name"] for row in rows}


def test_sockets_are_counted(bed: Site) -> None:
    with listening(bed.data / "s"):
        assert "1 socket" in " ".join(said(bed, "OK"))
        bed.run("run", "app").succeeded()
        assert bed.manifest()["artifacts"][0]["entries"] == 2


# ---- the backup directory --------------------------------------------------------------------------------------------


def test_marker_is_missing(bed: Site) -> None:
    (bed.backups / ".hiveden-backup.json").unlink()
    refused(bed, 73, "is not a backup directory", "perhaps its disk is not mounted")
    assert os.listdir(bed.backups) == ["HOW-TO-RESTORE.txt"]


def test_directory_is_missing(bed: Site) -> None:
    bed.backups.rename(bed.path / "elsewhere")
    refused(bed, 73, "perhaps its disk is not mounted")
    assert not bed.backups.exists()


def test_directory_is_read_only(bed: Site) -> None:
    bed.backups.rename(bed.path / "elsewhere")
    bed.backups.mkdir()
    with small_disk(bed.backups, "1m"):
        bed.init()
        subprocess.run(["mount", "-o", "remount,ro", str(bed.backups)], check=True)
        refused(bed, 73, f"{bed.backups} cannot be written")


# ---- files -----------------------------------------------------------------------------------------------------------


def test_path_is_missing(bed: Site) -> None:
    bed.configure({"app": {"paths": [str(bed.data), str(bed.path / "gone")]}})
    refused(bed, 66, f"{bed.path / 'gone'} does not exist")


def test_too_little_space(bed: Site) -> None:
    bed.backups.rename(bed.path / "elsewhere")
    bed.backups.mkdir()
    with small_disk(bed.backups, "1m"):
        bed.init()
        with (bed.data / "large").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 30 << 20)
        refused(bed, 73, "KiB free", "needs about 30.0 MiB")


def test_room_for_the_dumps_is_what_the_last_ones_took(bed: Site, postgres: Server) -> None:
    rows = "CREATE TABLE item AS SELECT sha512(n::text::bytea) FROM generate_series(1, 30000) AS n"
    with postgres.database("shop", rows) as name:
        bed.configure({"app": {"postgres": [{"dsn": postgres.dsn(), "databases": [name]}]}})
        bed.run("run", "app").succeeded()
        (dump,) = (bed.job() / bed.ids()[0]).glob("database.*")
        needed = text(sum(file.stat().st_size for file in dump.parent.iterdir() if file.name.startswith("database.")))
        assert dump.stat().st_size > 1 << 20
        (row,) = [row for row in check(bed) if row["name"] == "space"]
        assert (row["status"], row["message"].partition(", ")[2]) == ("OK", f"about {needed} needed")


def test_schedule_that_never_elapses(bed: Site) -> None:
    """`check` says it; a run by hand has no need of a schedule."""
    bed.change(schedule="2001-01-01 00:00")
    (message,) = said(bed, "FAIL")
    assert "never elapses" in message
    bed.run("run", "app").succeeded()


def test_schedule_is_told_though_something_else_is_wrong(bed: Site) -> None:
    """Also of an expression that only systemd can read."""
    bed.change(schedule=["2001-01-01 00:00", "Moonday 02:30"], keep=3)
    told = bed.run("check").failed(78).err
    assert "jobs.app.keep" in told
    assert 'The schedule "2001-01-01 00:00" never elapses' in told
    assert "'Moonday 02:30' is not a systemd calendar" in told


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_server_is_out_of_reach(bed: Site) -> None:
    bed.change(postgres=[{"dsn": "host=127.0.0.1 port=1 user=nobody"}])
    refused(bed, 69, "cannot be reached")


def test_database_is_missing(bed: Site, postgres: Server) -> None:
    bed.change(postgres=[{"dsn": postgres.dsn(), "databases": ["nothing"]}])
    refused(bed, 66, "nothing")


def test_privileges_are_missing(bed: Site, postgres: Server) -> None:
    with postgres.database("secret", "CREATE TABLE item AS SELECT 1 AS id"):
        postgres.sql("CREATE ROLE weak LOGIN PASSWORD 'weak'")
        try:
            passfile = bed.path / "passfile"
            passfile.write_text("*:*:*:*:weak")
            passfile.chmod(0o600)
            source = {"dsn": postgres.dsn(user="weak", tcp=True), "passfile": str(passfile), "databases": ["secret"]}
            bed.change(postgres=[source])
            refused(bed, 77, "weak cannot dump all of secret")
        finally:
            postgres.sql("DROP ROLE weak")


def test_nothing_to_dump(bed: Site, postgres: Server) -> None:
    """A run without a single artifact leaves no backup that could push a good one out."""
    with postgres.database("shop") as name:
        bed.configure({"app": {"postgres": [{"dsn": postgres.dsn(), "databases": [name]}]}})
        bed.run("run", "app").succeeded()
        kept = bed.ids()
    source = {"dsn": postgres.dsn(dbname="template1")}
    bed.configure({"app": {"postgres": [source]}})
    hidden = [name for name in postgres.databases() if name not in {"template0", "template1"}]
    for name in hidden:
        postgres.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', dbname="template1")
    try:
        done = bed.run("run", "app")
    finally:
        for name in hidden:
            postgres.sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', dbname="template1")
    done.failed(66, "nothing to back up")
    assert bed.ids() == kept


# ---- all at once -----------------------------------------------------------------------------------------------------


def everything_wrong(bed: Site, engine: Engine, app: App) -> dict[str, Any]:
    (app.data / "ibdata1").write_text("in use")
    (bed.backups / ".hiveden-backup.json").unlink()
    return {
        "paths": [str(bed.data), "/nowhere/at/all"],
        "volumes": ["missing-volume"],
        "containers": ["missing-container", engine.run(auto_remove=True)],
        "postgres": [{"dsn": "host=127.0.0.1 port=1"}, {"container": "missing-postgres"}],
    }


def test_all_problems_at_once(docked: Site, engine: Engine) -> None:
    """Nobody likes to mend one after the other. Different kinds end with 1, one kind with its own code."""
    app = counting(engine, docked.data / "app")
    docked.configure({"app": everything_wrong(docked, engine, app)})
    names = [row["name"] for row in check(docked) if row["status"] == "FAIL"]
    assert sorted(names) == [
        *("container", "container", "directory", "live database", "path"),
        *("postgres", "postgres", "volume"),
    ]
    done = docked.run("run", "app").failed(1, "/nowhere/at/all", "missing-volume", "missing-container", "--rm")
    assert done.err.count("\n  ") == len(names)
    assert app.running


def test_several_problems_of_one_kind(docked: Site) -> None:
    docked.change(paths=["/nowhere/at/all"], volumes=["missing"], containers=["missing"])
    docked.run("run", "app").failed(66, "There is no container", "There is no volume", "does not exist")
    docked.run("run", "app", "--dry-run").failed(66, "There is no container", "There is no volume", "does not exist")


def test_unknown_job(bed: Site) -> None:
    bed.run("check", "nothing").failed(66, "There is no job nothing", "app")
    bed.run("run", "nothing").failed(66, "There is no job nothing", "app")
    bed.run("run").failed(2, "Say which jobs to run")


def test_dry_run_tells_the_plan_and_changes_nothing(docked: Site, engine: Engine, postgres: Server) -> None:
    app = counting(engine, docked.data / "app")
    with postgres.database("shop") as name:
        docked.change(containers=[app.name], postgres=[{"dsn": postgres.dsn(), "databases": [name]}])
        started = app.started_at()
        before = ours(docked)
        out = docked.run("run", "app", "--dry-run").succeeded().out
        assert ours(docked) == before
    assert app.started_at() == started
    steps = [line.strip().split(" ", 2)[1] for line in out.splitlines()[1:]]
    assert steps == ["archive", "stop", "archive", "hold", "start", "dump", "publish"]


# ---- databases that programs of the machine use ----------------------------------------------------------------------


def test_sqlite_in_use_by_a_program_of_this_machine(bed: Site) -> None:
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = wal');"
        "c.execute('CREATE TABLE t (x)'); c.commit(); print('open', flush=True); sys.stdin.read()"
    )
    database = bed.data / "vault/db.sqlite3"
    database.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        (row,) = [each for each in check(bed) if each["name"] == "live database"]
        assert row["status"] == "WARN"
        assert row["message"].startswith(f"{database} is an SQLite database that a program of this machine uses: ")
        assert f"(process {program.pid})" in row["message"]
        bed.run("run", "app").succeeded()
        assert any(str(database) in warning for warning in bed.manifest()["warnings"])
        program.kill()  # as a crash does, it leaves the log, which is nobody's then
    assert Path(f"{database}-wal").stat().st_size > 0
    assert [each for each in check(bed) if each["name"] == "live database"] == []
