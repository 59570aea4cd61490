"""The API as a socket-activated service: what it tells, how it refuses, and when it goes.

What it does needs a booted systemd.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import Client, Service, serving
from tests.support.job import SLOW, Site, held, large, site

CHUNK = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
UNKNOWN_ID = "20200101T000000Z"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation with two jobs of files, a backup of one of them, and a broken one beside it."""
    with site(tmp_path_factory.mktemp("api")) as made:
        (made.data / "tree").mkdir()
        (made.data / "tree/file").write_text("content")
        jobs: dict[str, dict[str, Any]] = {
            "files": {"paths": [str(made.data / "tree")], "schedule": "*-*-* 02:30", "max_age": "9000d"},
            "other": {"paths": [str(made.data)], "schedule": "Mon *-*-01..07 03:00"},
        }
        made.configure(jobs, retention={"keep_last": 7}, api={"idle": "600s"})
        made.init()
        made.run("run", "files").succeeded()
        yield made


@pytest.fixture(scope="module")
def api(place: Site) -> Iterator[Client]:
    with serving(place) as service:
        yield service.local


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


# ---- how it refuses --------------------------------------------------------------------------------------------------


TARGET = {"type": "application", "target": "files"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/api", None, 404),
        ("GET", "/api/api/backups", None, 404),
        ("GET", "/backups/", None, 405),
        ("PATCH", "/backups", None, 405),
        ("GET", "/backups?type=nothing", None, 422),
        ("GET", "/runs?limit=0", None, 422),
        ("GET", "/runs/nothing", None, 404),
        ("GET", f"/runs/files.{UNKNOWN_ID}", None, 404),
        ("GET", "/runs/..%2f..%2fetc", None, 404),
        ("GET", "/runs?job=..%2f..", None, 404),
        ("DELETE", f"/backups/files.{UNKNOWN_ID}.application", None, 404),
        ("DELETE", f"/backups/nobody.{UNKNOWN_ID}.application", None, 404),
        ("DELETE", "/backups/files", None, 400),
        ("DELETE", "/backups/..%2f..%2fetc%2fpasswd", None, 400),
        ("DELETE", "/backups/../../etc/passwd", None, 400),
        ("DELETE", "/backups/%00", None, 400),
        ("DELETE", "/backups/%ff%fe", None, 400),
        ("DELETE", "/backups/schedules/nobody", None, 404),
        ("DELETE", "/backups/schedules/..", None, 404),
        ("DELETE", "/backups/schedules/other%0a", None, 404),
        ("POST", "/jobs/nobody/run", None, 404),
        ("POST", "/jobs/..%2ffiles/run", None, 404),
        ("POST", f"/backups/files/{UNKNOWN_ID}/verify", None, 404),
        ("POST", "/backups/../files/verify", None, 404),
        ("POST", "/backups/files/latest/verify", None, 404),
        ("POST", "/backups", None, 422),
        ("POST", "/backups", b"{", 400),
        ("POST", "/backups", b"\xff\xfe", 400),
        ("POST", "/backups", b"[" * 60000, 400),
        ("POST", "/backups", [], 422),
        ("POST", "/backups", {"type": "application"}, 422),
        ("POST", "/backups", {"type": "folder", "target": "x"}, 422),
        ("POST", "/backups", {"type": "application", "target": ["x"]}, 422),
        ("POST", "/backups", {"type": "application", "target": "x" * 5000}, 422),
        ("POST", "/backups", {"type": "application", "target": "photos"}, 400),
        ("POST", "/backups", {"type": "application", "target": "../etc"}, 400),
        ("POST", "/backups", {"type": "application", "target": "/srv/../etc"}, 400),
        ("POST", "/backups", {"type": "application", "target": "a\u0000b"}, 400),
        ("POST", "/backups", {**TARGET, "source_dirs": ["relative"]}, 400),
        ("POST", "/backups", {**TARGET, "source_dirs": ["/srv/../etc"]}, 400),
        ("POST", "/backups", {**TARGET, "source_dirs": ["/etc"]}, 409),
        ("POST", "/backups", {**TARGET, "source_dirs": ["/x"] * 300}, 400),
        ("POST", "/backups", {**TARGET, "container_name": "nobody"}, 409),
        ("POST", "/backups?wait=perhaps", TARGET, 422),
        ("POST", "/backups/restore", {"type": "application", "target": "/srv/x"}, 422),
        ("POST", "/backups/restore", {"type": "application", "target": "/srv/x", "backup_file": "nothing"}, 404),
        ("POST", "/backups/restore", {"type": "application", "target": "/srv/x", "backup_file": "/etc/passwd"}, 404),
        ("POST", "/backups/restore", {"type": "application", "target": "/srv/x", "backup_file": "../x"}, 400),
        ("POST", "/backups/restore", {"type": "database", "target": "x", "backup_file": "LATEST"}, 404),
        ("POST", "/backups/restore", {"type": "application", "target": "relative", "backup_file": "LATEST"}, 400),
        ("POST", "/backups/restore", {"type": "application", "target": "/a/../b", "backup_file": "LATEST"}, 400),
        ("POST", "/backups/restore", {"type": "application", "target": "/a\nb", "backup_file": "LATEST"}, 400),
        ("PUT", "/config/backups", {}, 422),
        ("PUT", "/config/backups", {"retention_count": 0}, 422),
        ("PUT", "/config/backups", {"retention_count": "many"}, 422),
        ("PUT", "/config/backups", {"retention_count": 10**30}, 422),
        ("POST", "/backups/schedules", {**TARGET, "cron": "0 0 0 * * *"}, 422),
        ("POST", "/backups/schedules", {**TARGET, "cron": "@reboot"}, 422),
        ("POST", "/backups/schedules", {**TARGET, "cron": "0 0 31 2 *"}, 422),
        ("POST", "/backups/schedules", {**TARGET, "cron": "2020-01-01"}, 422),
        ("POST", "/backups/schedules", {**TARGET, "cron": "daily\n[Timer]"}, 422),
        ("POST", "/backups/schedules", {"cron": "0 0 * * *", "type": "application", "target": "photos"}, 400),
    ],
)
def test_refusals_are_documents(place: Site, api: Client, *, method: str, path: str, body: Any, status: int) -> None:
    if isinstance(body, dict) and body.get("backup_file") == "LATEST":
        body = {**body, "backup_file": place.ids("files")[0]}
    before = place.config.read_bytes(), sorted(place.config.parent.rglob("*")), place.ids("files")
    api.call(method, path, body).problem(status)
    assert (place.config.read_bytes(), sorted(place.config.parent.rglob("*")), place.ids("files")) == before


def test_a_schedule_that_cannot_be_said_comes_with_a_hint(api: Client) -> None:
    answer = api.post("/backups/schedules", {**TARGET, "cron": "0 0 L * *"})
    assert "`*-*~01 00:00:00`" in answer.problem(422)


def test_bodies_are_bounded(api: Client) -> None:
    head = b"POST /backups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for body in (
        b"Content-Length: 65537\r\n\r\n" + b" " * 65537,
        b"Content-Length: 9" + b"9" * 15 + b"\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 5 + b"0\r\n\r\n",
    ):
        assert api.raw(head + body, more=True).startswith(b"HTTP/1.1 413 ")
    api.call("POST", "/backups", b" " * 65536).problem(400)


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET /backups HTTP/9.9\r\n\r\n",
        b"GET /backups HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"POST /backups HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /backups HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort",
        b"GET /backups HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nothing\r\n\r\n",
    ],
)
def test_noise_on_the_socket(api: Client, data: bytes) -> None:
    answer = api.raw(data)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    api.get("/healthz").ok()


def test_clients_that_say_nothing_keep_nobody_out(api: Client) -> None:
    silent = [api.connected() for _ in range(60)]
    try:
        for connection in silent[:30]:
            connection.sendall(b"POST /backups HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        api.get("/backups").ok()
    finally:
        for connection in silent:
            connection.close()


# ---- who comes in on TCP ---------------------------------------------------------------------------------------------


def test_tcp_wants_the_token(place: Site, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    drop_in = place.config.parent / "config.d/10-api.toml"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(f'[api]\ntoken_file = "{token}"\n')
    try:
        with serving(place, ["127.0.0.1", "0.0.0.0", "::1"]) as service:
            for tcp in service.tcp:
                answer = tcp.get("/backups")
                answer.problem(401)
                assert answer.headers["www-authenticate"] == "Bearer"
                tcp.get("/backups", {"Authorization": "Bearer wrong"}).problem(401)
                tcp.get("/backups", {"Authorization": "Bearer s3cret"}).ok()
            service.local.get("/backups").ok()  # the mode of the socket is its guard
            token.chmod(0o644)
            assert "open to others" in service.tcp[0].get("/backups", {"Authorization": "Bearer s3cret"}).problem(503)
    finally:
        drop_in.unlink()


def test_tcp_from_loopback_where_it_is_allowed(place: Site) -> None:
    drop_in = place.config.parent / "config.d/10-api.toml"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[api]\nallow_loopback = true\n")
    try:
        with serving(place, ["127.0.0.1", "::1", "0.0.0.0", "::"]) as service:
            for tcp in service.tcp[:2]:
                tcp.get("/backups").ok()
                tcp.get("/backups", {"Origin": "http://localhost:3000"}).ok()
                tcp.get("/backups", {"Host": "evil.example"}).problem(403)
                tcp.get("/backups", {"Origin": "http://evil.example"}).problem(403)
            for tcp in service.tcp[2:]:  # they listen everywhere, wherever the client is
                tcp.get("/backups").problem(401)
    finally:
        drop_in.unlink()


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
    drop_in = with_idle(place, "1s")
    try:
        with serving(place) as service:
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                service.local.get("/healthz").ok()
                assert service.process.poll() is None
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
            with held(made, process, "*.hot.tar.zst"):
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


def test_the_socket_may_be_left_at_any_moment(api: Client) -> None:
    for _ in range(20):
        connection = api.connected()
        connection.sendall(b"GET /backups HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        connection.close()
    api.get("/healthz").ok()
