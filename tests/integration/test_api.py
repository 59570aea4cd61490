"""The API as a socket-activated service: what it tells, how it refuses, and when it goes.

What it does needs a booted systemd.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.http import Client, Service, serving
from tests.support.job import SLOW, Site, held, large, site

# ---- what it tells ---------------------------------------------------------------------------------------------------


def test_backups(place: Site, api: Client) -> None:
    (row,) = api.get("/backups").ok()
    (listed,) = place.run("list", "--json").json
    assert row.keys() == {"path", "filename", "type", "target", "timestamp", "size", "mtime", "id", "job", "verified"}
    assert {name: row[name] for name in ("path", "type", "target", "size", "id", "job", "verified")} == {
        name: listed[name] for name in ("path", "type", "target", "size", "id", "job", "verified")
    }
    assert row["filename"] == f"files.{row['id']}.application"
    assert row["timestamp"] == place.manifest(job="files")["started"]
    assert time.time() - 3600 < row["mtime"] <= time.time()
    assert api.get("/backups?type=application&target=files").ok() == [row]
    assert api.get("/backups?type=database").ok() == []
    assert api.get("/backups?target=immich").ok() == []
    place.run("verify", "files/latest").succeeded()
    (verified,) = api.get("/backups").ok()
    assert verified["verified"]["result"] == "ok"


@pytest.mark.parametrize(
    "path",
    ["/backups", "/status", "/jobs", "/runs", "/backups/schedules", "/config/backups", "/healthz", "/openapi.json"],
)
def test_every_path_has_a_second_name(api: Client, path: str) -> None:
    one, two = api.get(path).ok(), api.get(f"/api{path}").ok()
    if path == "/status":
        for row in (*one, *two):
            row.pop("age_seconds")
    assert one == two


def test_status_is_that_of_the_command_line(place: Site, api: Client) -> None:
    told, said = api.get("/status").ok(), place.run("status", "--json").json
    for rows in (told, said):
        for row in rows:
            row.pop("age_seconds")
    assert told == said


def test_jobs_and_schedules(place: Site, api: Client) -> None:
    files, other = api.get("/jobs").ok()
    assert (files["name"], files["cron"], files["schedule"]) == ("files", "30 2 * * *", ["*-*-* 02:30"])
    assert (other["cron"], other["schedule"]) == (None, ["Mon *-*-01..07 03:00"])  # cron would take either day
    assert files["retention"] == {"keep_last": 7}
    (row,) = api.get("/backups/schedules").ok()
    tree = str(place.data / "tree")
    assert row == {
        "id": "files",
        "cron": "30 2 * * *",
        "type": "application",
        "target": "files",
        "container_name": None,
        "source_dirs": [tree],
    }


def test_settings(place: Site, api: Client) -> None:
    wanted = {"directory": str(place.backups), "retention_count": 7}
    assert api.get("/config/backups").ok() == wanted
    assert api.get("/backups/config").ok() == wanted


def test_runs(place: Site, api: Client) -> None:
    (run,) = api.get("/runs?job=files").ok()
    assert (run["result"], run["backup"], run["exit_code"]) == ("success", place.ids("files")[0], 0)
    assert api.get(f"/runs/{run['id']}").ok() == run
    assert api.get("/runs?job=other").ok() == []
    api.get("/runs?job=nobody").problem(404)


def test_names_that_are_no_utf8(place: Site, api: Client) -> None:
    """A warning may name a file by bytes that JSON has no words for."""
    path = next(place.state.glob("runs/files/*.json"))
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), "warnings": ["odd \udcff"]}))
    try:
        (run,) = api.get("/runs").ok()
        assert run["warnings"] == ["odd \\udcff"]
    finally:
        path.write_text(text)


def test_document_has_every_path(api: Client) -> None:
    document = api.get("/openapi.json").ok()
    told = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert told == {
        ("/backups", "get"),
        ("/backups", "post"),
        ("/backups/restore", "post"),
        ("/backups/{filename}", "delete"),
        ("/config/backups", "get"),
        ("/config/backups", "put"),
        ("/backups/config", "get"),
        ("/backups/config", "put"),
        ("/backups/schedules", "get"),
        ("/backups/schedules", "post"),
        ("/backups/schedules/{job}", "delete"),
        ("/status", "get"),
        ("/jobs", "get"),
        ("/runs", "get"),
        ("/runs/{run}", "get"),
        ("/jobs/{job}/run", "post"),
        ("/backups/{job}/{timestamp}/verify", "post"),
        ("/healthz", "get"),
    }
    assert [server["url"] for server in document["servers"]] == ["/", "/api"]


# ---- when it goes ----------------------------------------------------------------------------------------------------


def with_idle(place: Site, seconds: str) -> Path:
    drop_in = place.config.parent / "config.d/20-idle.toml"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(f'[api]\nidle = "{seconds}"\n')
    return drop_in


def test_it_ends_when_it_is_idle(place: Site) -> None:
    drop_in = with_idle(place, "1s")
    try:
        with serving(place) as service, service.local.connected():  # a client that never says a word
            service.local.get("/healthz").ok()
            status, said = service.end()
    finally:
        drop_in.unlink()
    assert status == 0, said
    assert "Traceback" not in said


def test_it_does_not_end_while_it_is_asked(place: Site) -> None:
    drop_in = with_idle(place, "4s")  # longer than any pause of a busy machine between two questions
    try:
        with serving(place) as service:
            deadline = time.monotonic() + 6
            while time.monotonic() < deadline:
                service.local.get("/healthz").ok()
                assert service.process.poll() is None
                time.sleep(0.1)
    finally:
        drop_in.unlink()


def test_a_broken_configuration_is_told(place: Site) -> None:
    drop_in = place.config.parent / "config.d/30-broken.toml"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("keep = 1\n[jobs.files]\npath = 2\n")
    try:
        with serving(place) as service:
            service.local.get("/healthz").ok()
            answer = service.local.get("/backups")
            assert "2 problems" in answer.problem(500)
            assert {each["key"] for each in answer.json["errors"]} == {"keep", "jobs.files.path"}
    finally:
        drop_in.unlink()


def test_an_unmounted_backup_directory_is_told(place: Site) -> None:
    marker = place.backups / ".hiveden-backup.json"
    marker.rename(place.path / "marker")
    try:
        with serving(place) as service:
            assert "marker" in service.local.get("/backups").problem(503)
    finally:
        (place.path / "marker").rename(marker)


def test_by_hand_it_says_how_it_is_started(place: Site) -> None:
    place.run("serve").failed(2, "systemctl enable --now hiveden-backup-api.socket")


def test_without_its_libraries_it_names_them(place: Site, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('none', name='uvicorn')")
    environment = {**place.environment, "PYTHONPATH": f"{tmp_path}:{place.environment['PYTHONPATH']}"}
    command = [sys.executable, "-m", "hiveden_backup", "--config", str(place.config), "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "The API needs uvicorn" in done.stderr
    assert "apt-get install python3-fastapi python3-uvicorn" in done.stderr


# ---- many at once ----------------------------------------------------------------------------------------------------


def test_fifty_readers_during_a_run(tmp_path: Path) -> None:
    """Each of them gets whole answers, and none sees a backup before it is finished."""
    with site(tmp_path) as made:
        made.configure({"app": {**SLOW, "paths": [str(made.data)]}}, api={"idle": "600s"})
        made.init()
        made.run("run", "app").succeeded()
        large(made.data / "large")
        with serving(made) as service:
            process = made.start("run", "app")
            with held(made, process, "*.hot-*.tar.zst"):
                _read_all(service, made, "running")
            made.finish(process).succeeded()
            _read_all(service, made, "ok")


def _read_all(service: Service, made: Site, state: str) -> None:
    def read(number: int) -> None:
        client = service.local
        assert [row["id"] for row in client.get("/backups").ok()] == made.ids()
        assert client.get("/status").ok()[0]["state"] == state
        assert client.get("/runs").ok()[0]["result"] == ("running" if state == "running" else "success")
        assert len(client.get("/jobs").ok()) == 1
        assert number >= 0

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(read, range(50)))
