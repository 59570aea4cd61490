"""Which requests may have been made by somebody else's page."""

import pytest

from hiveden_backup.core.same_origin import LOOPBACK, Head, authority, refusal

OURS = LOOPBACK | {"192.0.2.7", "[2001:db8::7]", "nas"}
JSON = ("application/json",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("localhost", ("localhost", None)),
        ("LocalHost:8421", ("localhost", 8421)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:65535", ("[::1]", 65535)),
        ("evil.example:80", ("evil.example", 80)),
        ("[::1].evil.com", None),
        ("[::1]evil.com:80", None),
        ("[::1", None),
        ("::1", None),
        ("localhost:80@evil", None),
        ("evil@localhost", None),
        ("localhost:", None),
        ("localhost:0", None),
        ("localhost:080", None),
        ("localhost:65536", None),
        ("localhost:80:80", None),
        ("localhost:x", None),
        ("localhost:٨", None),
        ("localhost/", None),
        ("localhost, evil", None),
        ("http://localhost", None),
        (" localhost", None),
        ("localhost\n", None),
        ("localho\u017ft", None),  # a long s, which lower() of some makes an s
        ("", None),
    ],
)
def test_authority(text: str, named: tuple[str, int | None] | None) -> None:
    assert authority(text) == named


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:3000", "127.0.0.1:80", "[::1]", "[::1]:8421", "192.0.2.7:8421", "[2001:DB8::7]", "NAS:1"],
)
def test_our_hosts(host: str) -> None:
    assert refusal(Head("GET", "/backups", (host,)), OURS) == ""
    assert refusal(Head("DELETE", "/x?y", (host,), (f"http://{host.lower()}",), ("same-origin",), JSON), OURS) == ""


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("localhost", "localhost"),
        ("localhost", "evil.example"),
        ("evil.example",),
        ("evil.example:80",),
        ("[::1].evil.com",),
        ("localhost.evil",),
        ("localhost.",),
        ("localhost:80@evil",),
        ("127.0.0.1.nip.io",),
        ("127.1",),
        ("127.0.0.2",),
        ("0.0.0.0",),
        ("0x7f.1",),
        ("2130706433",),
        ("[::ffff:127.0.0.1]",),
        ("[0:0:0:0:0:0:0:1]",),
        ("localhost:",),
        ("nas.evil.example",),
    ],
)
def test_other_hosts(hosts: tuple[str, ...]) -> None:
    assert "Host must be" in refusal(Head("GET", "/backups", hosts), OURS)


@pytest.mark.parametrize("target", ["http://evil.example/backups", "http://localhost/backups", "localhost:80", "*", ""])
def test_what_is_asked_for_is_a_path(target: str) -> None:
    assert "must be a path" in refusal(Head("GET", target, ("localhost",)), OURS)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8421", "http://localhost:8421"),
        ("localhost", "http://localhost"),
        ("localhost", "http://localhost:80"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost"),
        ("localhost:443", "https://localhost"),
        ("[::1]:9", "http://[::1]:9"),
    ],
)
def test_pages_of_ours(host: str, origin: str) -> None:
    head = Head("POST", "/backups", (host,), (origin,), ("same-origin",), JSON)
    assert refusal(head, OURS) == ""


@pytest.mark.parametrize(
    "origins",
    [
        ("null",),
        ("",),
        ("http://evil.example",),
        ("http://localhost",),
        ("http://localhost:3000",),
        ("https://localhost",),
        ("http://127.0.0.1:8421",),
        ("http://localhost:8421/",),
        ("http://localhost:8421@evil.example",),
        ("http://evil@localhost:8421",),
        ("HTTP://localhost:8421",),
        ("file://localhost:8421",),
        ("localhost:8421",),
        ("http://",),
        ("http://[::1",),
        ("http://localhost:8421", "http://localhost:8421"),
        ("http://localhost:8421 http://evil.example",),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_from_elsewhere(method: str, origins: tuple[str, ...]) -> None:
    head = Head(method, "/backups", ("localhost:8421",), origins, (), JSON)
    assert "Origin must be" in refusal(head, OURS)


@pytest.mark.parametrize(
    ("sites", "reads", "writes"),
    [
        (("same-origin",), True, True),
        (("none",), True, False),
        (("same-site",), False, False),
        (("cross-site",), False, False),
        (("Same-Origin",), False, False),
        (("",), False, False),
        (("same-origin", "cross-site"), False, False),
    ],
)
def test_what_the_browser_says(sites: tuple[str, ...], *, reads: bool, writes: bool) -> None:
    for method in ("GET", "HEAD"):
        assert (refusal(Head(method, "/", ("localhost",), (), sites), OURS) == "") == reads
    for method in ("POST", "PUT", "PATCH", "DELETE", "MADE-UP"):
        assert (refusal(Head(method, "/", ("localhost",), (), sites, JSON), OURS) == "") == writes


@pytest.mark.parametrize(
    ("content_types", "fits"),
    [
        (JSON, True),
        (("Application/JSON; charset=utf-8",), True),
        ((), False),
        (("",), False),
        (("text/plain",), False),
        (("text/plain; application/json",), False),
        (("application/json, text/plain",), False),
        (("application/jsonp",), False),
        (("application/x-www-form-urlencoded",), False),
        (("multipart/form-data",), False),
        (("application/json", "application/json"), False),
        (("application/json", "text/plain"), False),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
def test_what_changes_something(method: str, content_types: tuple[str, ...], *, fits: bool) -> None:
    assert (refusal(Head(method, "/", ("localhost",), (), (), content_types), OURS) == "") == fits
    assert refusal(Head(method, "/", ("localhost",), (), (), content_types, marked=True), OURS) == ""
    assert refusal(Head("GET", "/", ("localhost",), (), (), content_types), OURS) == ""
