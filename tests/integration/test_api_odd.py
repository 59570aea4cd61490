"""Whatever is asked, of whatever kind: it is no defect of ours, and leaves no trace."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.http import Client
from tests.support.job import Site

TEXTS = [
    *("", "\0", "\n", "\x85", "\u2028", "\u202e", "\ud800", "\udcff", "\U0001f600" * 900, "a" * 4096, "a" * 5000),
    *(
        "..",
        "/..",
        "%00",
        "%2e%2e",
        "/" * 3000,
        "/" + "a/" * 2000,
        f"/{'x' * 300}",
        "/proc/self/fd/1",
        "/proc/1/root/x",
    ),
    *("/dev/zero", "~", "$HOME", "-rf", "--help", "files", "files/latest", "\u017f", "\u0130"),
]
VALUES: list[Any] = [*TEXTS, True, None, -1, 1e300, 10**400, [], {}, [None], ["\ud800"], {"a": 1}]
RAW = [
    b'{"type": "application", "type": "database", "target": "x", "target": "/proc"}',
    *(
        b"\xff",
        b'"\\ud800"',
        b"NaN",
        b'{"target": NaN}',
        b"\xef\xbb\xbf{}",
        b"[" * 30000,
        b'{"a":' * 10000,
        b"1" * 60000,
    ),
]


def bodies(backup: str) -> Iterator[tuple[str, str, Any]]:
    for value in VALUES:
        for kind in ("application", "database", value):
            yield "POST", "/backups?wait=false", {"type": kind, "target": "x", "source_dirs": [value]}
            yield "POST", "/backups", {"type": "application", "target": "x", "container_name": value}
            yield "POST", "/backups/restore", {"type": kind, "target": "relative", "backup_file": value}
            yield "POST", "/backups/schedules", {"type": kind, "target": value, "cron": value}
        yield "POST", "/backups/restore", {"type": "database", "target": value, "backup_file": backup}
        yield "PUT", "/config/backups", {"retention_count": value if not isinstance(value, bool) else None}
    for raw in RAW:
        for path in ("/backups", "/backups/restore", "/backups/schedules"):
            yield "POST", path, raw
        yield "PUT", "/config/backups", raw


def paths() -> Iterator[tuple[str, str, Any]]:
    for text in TEXTS:
        odd = quote(text.encode("utf-8", "surrogatepass"), safe="")
        for path in ("/runs/{}", "/runs?job={}", "/runs?limit={}", "/backups?target={}", "/backups?type={}", "/{}"):
            yield "GET", path.format(odd), None
        yield "DELETE", f"/backups/{odd}", None
        yield "DELETE", f"/backups/schedules/{odd}", None
        yield "POST", f"/jobs/{odd or '-'}/run", None
        yield "POST", f"/backups/{odd}/{odd}/verify", None
        yield "POST", f"/backups/files/{odd}/verify", None


@pytest.mark.parametrize("kind", ["bodies", "paths"])
def test_no_defect(place: Site, api: Client, kind: str) -> None:
    """Without a systemd to ask, whatever would begin something is a 503."""
    before = place.config.read_bytes(), sorted(place.config.parent.rglob("*")), place.ids("files")
    for method, path, body in paths() if kind == "paths" else bodies(place.ids("files")[0]):
        if path == "/jobs/files/run":
            continue
        answer = api.call(method, path, body)
        assert answer.status in {200, 400, 404, 405, 409, 422, 503}, (method, path, body, answer)
        assert method == "GET" or answer.status != 200, (method, path, body, answer)
    assert (place.config.read_bytes(), sorted(place.config.parent.rglob("*")), place.ids("files")) == before
