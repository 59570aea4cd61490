"""Listings: their JSON to the letter, and tables."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.names import backup_id, encode, from_iso
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule.status import statuses
from tests.support.dockerd import Engine
from tests.support.history import dated
from tests.support.job import SLOW, Site, counting, held, large, site
from tests.support.postgres import Server

ROW = {
    *("id", "job", "type", "target", "server", "path", "size", "created"),
    *("downtime_seconds", "verified", "signature", "where"),
}
STATUS = {
    *("job", "state", "result", "last_run", "last_success", "age_seconds"),
    *("size", "downtime_seconds", "next_run", "verified", "attention", "signature", "offsite", "where"),
}


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """An installation with a configured job that never ran."""
    with site(tmp_path) as made:
        (made.data / "file").write_bytes(os.urandom(5000))
        made.configure({"app": {"paths": [str(made.data)]}})
        yield made.init()


def test_nothing_yet(bed: Site) -> None:
    assert bed.run("list", "--json").succeeded().json == []
    assert bed.run("list").succeeded().out == "There are no backups yet.\n"
    bed.run("list", "--job", "app").failed(66, "There are no backups of a job app")
    bed.run("show", "app/latest").failed(66, "There is no backup app/latest")


def test_list(bed: Site, engine: Engine, postgres: Server) -> None:
    bed.docker = engine.url
    app = counting(engine, bed.data / "app")
    with postgres.database("we ird", "CREATE TABLE item AS SELECT 1 AS id") as name:
        databases = [{"dsn": postgres.dsn(), "databases": [name]}]
        files = {"paths": [str(bed.data)], "containers": [app.name]}
        bed.configure({"app": {**files, "postgres": databases}, "db": {"postgres": databases}})
        bed.run("run", "db").succeeded()
        time.sleep(2.1)  # what is younger than the margin would be taken again, and added twice
        for _ in range(2):
            bed.run("run", "app").succeeded()
    rows = bed.run("list", "--json").succeeded().json
    assert all(set(row) == ROW for row in rows)
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    new, old = bed.ids()
    application, database = sorted((row for row in rows if row["id"] == new), key=lambda row: str(row["type"]))
    (server,) = {row["server"] for row in rows if row["type"] == "database"}
    assert (application["type"], application["target"], application["server"]) == ("application", "app", "")
    assert (database["type"], database["target"]) == ("database", "we ird")
    assert application["path"] == str(bed.job() / new)
    assert database["path"] == str(bed.job() / new / f"database.{encode(server)}.we%20ird.dump.zst")
    assert Path(database["path"]).stat().st_size == database["size"]
    assert application["downtime_seconds"] > 0
    assert [row["downtime_seconds"] for row in rows if row["job"] == "db"] == [0]
    assert abs(from_iso(database["created"]) - datetime.now(UTC)) < timedelta(minutes=5)
    first = next(row for row in rows if row["id"] == old and row["type"] == "application")
    assert first["size"] > 5000 > application["size"], "what it added, not what it holds"
    disk = sum(
        path.stat().st_size for path in bed.job().rglob("*") if path.name.startswith(("files.", "2")) and path.is_file()
    )
    assert sum(row["size"] for row in rows if row["job"] == "app" and row["type"] == "application") == disk
    assert {row["verified"] for row in rows} == {None}
    bed.run("verify", f"app/{new}").succeeded()
    verified = bed.run("list", "--json").succeeded().json[0]["verified"]
    assert set(verified) == {"at", "result", "archives_read"}
    assert verified["result"] == "ok"
    assert abs(from_iso(verified["at"]) - datetime.now(UTC)) < timedelta(minutes=5)

    def listed(*arguments: str) -> list[tuple[str, str]]:
        return [(row["job"], row["target"]) for row in bed.run("list", "--json", *arguments).succeeded().json]

    assert listed("--job", "db") == [("db", "we ird")]
    assert listed("--type", "application") == [("app", "app")] * 2
    assert listed("--type", "database", "--job", "app") == [("app", "we ird")] * 2
    assert listed("--target", "we ird") == [("app", "we ird")] * 2 + [("db", "we ird")]
    assert listed("--target", "nothing") == []
    table = bed.run("list").succeeded().out.splitlines()
    assert " ".join(table[0].split()) == "BACKUP CREATED JOB TYPE TARGET SERVER ADDED DOWNTIME VERIFIED SIGNED"
    assert len(table) == 6
    assert all(line.startswith("20") for line in table[1:])


def test_show(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    (backup,) = bed.ids()
    table = bed.run("show", "app/latest", "--json").succeeded().json
    assert set(table) == {"manifest", "size", "verified", "signature", "where"}
    assert table["manifest"] == bed.manifest()
    assert set(table["manifest"]) >= {
        *("format", "id", "job", "host", "version", "started", "finished", "archives"),
        *("roots", "containers", "job_config", "artifacts", "warnings"),
    }
    assert table["manifest"]["artifacts"][0]["sources"] == [
        {"kind": "path", "name": str(bed.data), "path": str(bed.data)}
    ]
    assert table["size"] == bed.run("list", "--json").json[0]["size"]
    assert table["verified"] is None
    for name in (backup, f"app/{backup}", backup[:8], "latest"):
        assert bed.run("show", name, "--json").succeeded().json == table
    text = bed.run("show", backup).succeeded().out
    assert f"app/{backup}" in text
    assert "application app: 2 paths" in text
    assert bed.run("show", backup, "--files").succeeded().out.split() == [str(bed.data), str(bed.data / "file")]
    assert bed.run("show", backup, "--files", "--json").succeeded().json == [str(bed.data), str(bed.data / "file")]
    dated(bed, backup, "20240101T000000Z", copy=True)
    bed.run("show", "2").failed(2, "means several backups", backup, "20240101T000000Z")


def test_a_damaged_manifest_does_not_hide_the_others(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    dated(bed, bed.ids()[0], "20240101T000000Z", copy=True)
    (bed.job() / "20240101T000000Z/manifest.json").write_text("{")
    done = bed.run("list", "--json")
    assert done.code == 65
    assert "20240101T000000Z/manifest.json is damaged" in done.errors[0]
    assert [row["id"] for row in done.json] == bed.ids()[:1]


# ---- status ----------------------------------------------------------------------------------------------------------


def status(bed: Site, code: int = 0) -> dict[str, object]:
    """The only job's row."""
    done = bed.run("status", "--json")
    assert done.code == code, done.err
    (row,) = done.json
    assert set(row) == STATUS
    return dict(row)


def test_never(bed: Site) -> None:
    row = status(bed)
    assert row == dict.fromkeys(STATUS) | {"job": "app", "state": "never", "attention": [], "offsite": []}


def test_ok(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    bed.run("verify", "app/latest").succeeded()
    row = status(bed)
    manifest = bed.manifest()
    assert (row["state"], row["result"]) == ("ok", "success")
    assert row["last_run"] == manifest["started"]
    assert row["last_success"] == manifest["finished"]
    assert 0 <= float(str(row["age_seconds"])) < 300
    assert row["size"] == bed.run("list", "--json").json[0]["size"]
    assert row["downtime_seconds"] == 0
    assert row["next_run"] is None
    assert isinstance(row["verified"], dict)
    assert row["verified"]["result"] == "ok"
    table = bed.run("status").succeeded().out.splitlines()
    assert table[0].startswith("JOB  STATE  LAST RUN")
    assert table[1].split()[:2] == ["app", "ok"]


def test_failed(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    bed.run("run", "app", failpoint="hot:error").failed(1)
    row = status(bed, 1)
    assert (row["state"], row["result"]) == ("failed", "failed")
    assert row["last_success"] == bed.manifest()["finished"]
    done = bed.run("status")
    assert "The fail point hot was hit" in done.out
    bed.run("run", "app").succeeded()
    assert status(bed)["state"] == "ok"


def test_partial(bed: Site) -> None:
    bed.run("run", "app", failpoint="prune:error").failed(1)
    row = status(bed, 1)
    assert (row["state"], row["result"]) == ("failed", "partial")
    assert row["last_success"] == bed.manifest()["finished"]


def test_running_and_killed(bed: Site) -> None:
    bed.change(**SLOW)
    large(bed.data / "large")
    process = bed.start("run", "app")
    with held(bed, process, "*.hot-*.tar.zst"):
        row = status(bed)
        assert (row["state"], row["result"], row["last_success"]) == ("running", "running", None)
    assert bed.finish(process, signal.SIGKILL).code == -9
    row = status(bed, 1)
    assert (row["state"], row["result"]) == ("failed", "killed")


RUNS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.job import run_job
installation = Installation(Path(sys.argv[1]), Path(sys.argv[2]), lambda: datetime.now(UTC))
installation.config
for _ in range(int(sys.argv[3])):
    assert run_job(installation, installation.config.jobs["app"]).exit_code == 0
"""


def test_good_runs_are_never_told_of_as_killed(bed: Site) -> None:
    """Whoever looks in the very moment in which a run begins or ends."""
    bed.run("run", "app").succeeded()
    looking = Installation(bed.config, bed.state, lambda: datetime.now(UTC))
    seen: Counter[tuple[str, str]] = Counter()
    arguments = (sys.executable, "-c", RUNS, str(bed.config), str(bed.state), "8")
    with subprocess.Popen(arguments, cwd=bed.path, env=bed.environment, stderr=subprocess.DEVNULL) as runs:
        while runs.poll() is None:
            (row,) = statuses(looking)
            seen[row.state, str(row.result)] += 1
    assert runs.returncode == 0
    assert set(seen) == {("ok", "success"), ("running", "running")}, seen


def test_one_that_was_turned_away_leaves_a_record(bed: Site) -> None:
    with job_lock(bed.state, "app"):
        bed.run("run", "app").failed(75, "busy")
    assert (bed.record()["result"], bed.record()["exit_code"]) == ("busy", 75)
    assert status(bed)["state"] == "never"


def test_damaged(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    (archive,) = (bed.job() / "archives").iterdir()
    archive.write_bytes(b"damaged")
    bed.run("verify", "--all").failed(65, archive.name)
    assert status(bed, 1)["state"] == "failed"


def test_overdue(bed: Site) -> None:
    """By `max_age`, else by twice the schedule's interval; also when the job never succeeded."""
    bed.run("run", "app").succeeded()
    old = backup_id(datetime.now(UTC) - timedelta(days=3))
    dated(bed, bed.ids()[0], old)
    assert status(bed)["state"] == "ok"
    bed.change(max_age="2d")
    assert status(bed, 1)["state"] == "overdue"
    bed.change(max_age="4d")
    assert status(bed)["state"] == "ok"
    bed.configure({"app": {"paths": [str(bed.data)], "schedule": "daily"}})
    row = status(bed, 1)
    assert row["state"] == "overdue"
    assert from_iso(str(row["next_run"])) > datetime.now(UTC)
    bed.change(schedule="weekly")
    assert status(bed)["state"] == "ok"
    for path in bed.state.glob("runs/app/*.json"):
        path.rename(path.with_name(f"{old}.json"))
    bed.run("delete", "app/latest", "--yes").succeeded()
    assert status(bed)["state"] == "never"
    bed.change(max_age="2d")
    assert status(bed, 1)["state"] == "overdue"


def test_the_disk_is_not_mounted(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    bed.backups.rename(bed.path / "elsewhere")
    row = status(bed, 1)
    assert (row["state"], row["last_success"]) == ("failed", None)
    assert "perhaps its disk is not mounted" in bed.run("status").out
    bed.run("list").failed(73, "perhaps its disk is not mounted")


def test_list_of_many_is_quick(bed: Site) -> None:
    """No SDK is imported for it, and a manifest is little to read."""
    bed.run("run", "app").succeeded()
    newest = bed.ids()[0]
    for number in range(200):
        dated(bed, newest, backup_id(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number)), copy=True)
    began = time.monotonic()
    assert len(bed.run("list", "--json").succeeded().json) == 201
    assert time.monotonic() - began < 10


def test_the_shown_configuration_can_be_pasted(bed: Site) -> None:
    odd = bed.data / 'soft\u00adhyphen "quoted" \u200b ünï\U0001f600'
    odd.mkdir()
    settings = {
        "paths": [str(bed.data)],
        "exclude": [f"{odd}/*.tmp"],
        "retention": {"keep_daily": 3},
        "undo_keep": "3d",
    }
    bed.configure({"app": settings}, retention={"keep_last": 9})
    wanted = bed.run("config", "get", "jobs.app", "--json").succeeded().json
    bed.run("run", "app").succeeded()
    shown = bed.run("show", "app/latest").succeeded().out.partition("The job's configuration:\n")[2]
    bed.config.write_text(f'directory = "{bed.backups}"\n{shown}')
    assert bed.run("config", "get", "jobs.app", "--json").succeeded().json == wanted
