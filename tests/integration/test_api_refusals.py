"""What the API refuses, and whom: each time with a document that says why, and nothing is changed."""

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import Client, serving
from tests.support.job import Site

CHUNK = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
UNKNOWN_ID = "20200101T000000Z"


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
        ("POST", "/backups/restore", {"type": "application", "target": "/root/x", "backup_file": "LATEST"}, 400),
        ("POST", "/backups/restore", {"type": "application", "target": "/etc/cron.d", "backup_file": "LATEST"}, 400),
        ("POST", "/backups/restore", {"type": "application", "target": "/proc/1/cwd/x", "backup_file": "LATEST"}, 400),
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
    head = b"POST /backups HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
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
        b"GET /backups HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"POST /backups HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /backups HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nshort",
        b"GET /backups HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: nothing\r\n\r\n",
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
            connection.sendall(b"POST /backups HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        api.get("/backups").ok()
    finally:
        for connection in silent:
            connection.close()


def test_the_socket_may_be_left_at_any_moment(api: Client) -> None:
    for _ in range(20):
        connection = api.connected()
        connection.sendall(b"GET /backups HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        connection.close()
    api.get("/healthz").ok()


# ---- what a browser sends for a page from elsewhere ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        # a simple request, which is sent without a preflight: by fetch, by a form, and from a sandboxed frame
        ("POST", {"Host": "localhost:8421", "Origin": "http://evil.example", "Content-Type": "text/plain"}),
        ("POST", {"Host": "localhost:8421", "Origin": "http://evil.example", "Content-Type": "application/json"}),
        ("POST", {"Host": "localhost:8421", "Origin": "null", "Content-Type": "application/json"}),
        ("POST", {"Host": "localhost:8421", "Origin": "http://localhost:3000"}),
        ("POST", {"Host": "localhost:8421", "Sec-Fetch-Site": "cross-site"}),
        ("POST", {"Host": "localhost:8421", "Sec-Fetch-Site": "same-site"}),
        ("POST", {"Host": "localhost:8421", "Sec-Fetch-Site": "none"}),
        ("POST", {"Host": "localhost:8421", "Content-Type": "text/plain"}),
        ("GET", {"Host": "localhost:8421", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        # a name of theirs that was rebound to our address: same origin, for the browser
        ("POST", {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}),
        ("GET", {"Host": "[::1].evil.com", "Sec-Fetch-Site": "same-origin"}),
        ("OPTIONS", {"Host": "localhost", "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}),
    ],
)
@pytest.mark.parametrize("path", ["/backups", "/jobs/files/run", "/backups/restore"])
def test_a_page_from_elsewhere(place: Site, api: Client, *, path: str, method: str, headers: dict[str, str]) -> None:
    bodies: dict[str, Any] = {
        "/backups": {"type": "application", "target": str(place.data)},
        "/jobs/files/run": None,
        "/backups/restore": {"type": "application", "target": str(place.path / "out"), "backup_file": "files/latest"},
    }
    before = place.config.read_bytes(), sorted(place.config.parent.rglob("*")), place.ids("files")
    answer = api.call(method, path, bodies[path], headers)
    answer.problem(403)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (place.config.read_bytes(), sorted(place.config.parent.rglob("*")), place.ids("files")) == before
    assert not (place.path / "out").exists()


def test_a_preflight_never_succeeds(api: Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-hiveden-backup"}
    answer = api.call("OPTIONS", "/backups", None, {"Origin": "http://localhost", **asked})
    answer.problem(405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /backups HTTP/1.0\r\n\r\n",
        b"GET /backups HTTP/1.1\r\n\r\n",
        b"GET /backups HTTP/1.1\r\nHost: \r\n\r\n",
        b"GET /backups HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /backups HTTP/1.1\r\nHost: localhost:80@evil\r\n\r\n",
        b"GET http://evil.example/backups HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost/backups HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_odd_heads(api: Client, head: bytes) -> None:
    assert api.raw(head, more=True).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))


def test_a_program_needs_no_body(api: Client) -> None:
    for headers in ({"X-Hiveden-Backup": "1", "Content-Type": "text/plain"}, {}):
        api.call("POST", "/jobs/nobody/run", None, headers).problem(404)
        api.call("DELETE", "/backups/schedules/nobody", None, headers).problem(404)


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
                own = f"[{tcp.address[0]}]" if ":" in tcp.address[0] else tcp.address[0]
                tcp.get("/backups", {"Authorization": "Bearer s3cret", "Host": own}).ok()
                tcp.get("/backups", {"Authorization": "Bearer s3cret", "Host": socket.gethostname()}).ok()
                for strange in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Content-Type": "x/y"}):
                    tcp.call("POST", "/jobs/files/run", {}, {"Authorization": "Bearer s3cret", **strange}).problem(403)
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
                tcp.get("/backups", {"Host": "localhost:3000", "Origin": "http://localhost:3000"}).ok()
                tcp.get("/backups", {"Origin": "http://localhost:3000"}).problem(403)
                tcp.get("/backups", {"Host": "evil.example"}).problem(403)
                tcp.get("/backups", {"Origin": "http://evil.example"}).problem(403)
            for tcp in service.tcp[2:]:  # they listen everywhere, wherever the client is
                tcp.get("/backups").problem(401)
    finally:
        drop_in.unlink()
