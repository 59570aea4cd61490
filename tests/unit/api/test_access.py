"""Who may come in on TCP."""

from http import HTTPStatus
from pathlib import Path

import pytest

from hiveden_backup.api.access import Visitor, judge, read_token
from hiveden_backup.core.config.values import Api
from hiveden_backup.core.errors import BackupError, DeniedError

TOKEN = b"s3cret"
OPEN = Api(allow_loopback=True)
CLOSED = Api()


def visitor(*authorization: str, listener: str = "127.0.0.1", host: str = "localhost:8080") -> Visitor:
    return Visitor(listener, authorization, (host,) if host else ())


@pytest.mark.parametrize("api", [OPEN, CLOSED])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens(api: Api, scheme: str) -> None:
    assert judge(visitor(f"{scheme} s3cret", listener="", host="192.0.2.7:8421"), api, TOKEN) is None


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer s3cre",
        "Bearer s3cretx",
        "Bearer S3cret",
        "Basic s3cret",
        "s3cret",
        "Bearer \0",
        "Bearer é",
    ],
)
@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_wrong_token_never_opens(authorization: str, token: bytes | None) -> None:
    """Not from loopback either: who sends one means it."""
    refused = judge(visitor(authorization), OPEN, token)
    assert refused is not None
    assert refused.status == HTTPStatus.UNAUTHORIZED


def test_two_tokens_are_none() -> None:
    assert judge(visitor("Bearer s3cret", "Bearer other"), CLOSED, TOKEN) is not None


@pytest.mark.parametrize("token", [TOKEN, None])
def test_without_a_token_nobody_comes_in(token: bytes | None) -> None:
    refused = judge(visitor(), CLOSED, token)
    assert refused is not None
    assert refused.status == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("listener", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:80", "[::1]", "[::1]:80"])
def test_loopback_comes_in_where_it_is_allowed(listener: str, host: str) -> None:
    assert judge(visitor(listener=listener, host=host), OPEN, None) is None


@pytest.mark.parametrize("listener", ["", "0.0.0.0", "127.0.0.2", "192.0.2.7", "::", "::ffff:127.0.0.1"])
def test_other_listeners_want_a_token(listener: str) -> None:
    refused = judge(visitor(listener=listener), OPEN, None)
    assert refused is not None
    assert refused.status == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "localhost@evil.example",
        "evil@localhost",
        "localhost:x",
        "[::1",
        "127.0.0.1.nip.io",
        "[::1].evil.com",
        "0.0.0.0",
        "192.0.2.7",
    ],
)
def test_a_host_that_was_rebound(host: str) -> None:
    refused = judge(visitor(host=host), OPEN, None)
    assert refused is not None
    assert refused.status == HTTPStatus.FORBIDDEN


def test_two_hosts() -> None:
    assert judge(Visitor("127.0.0.1", (), ("localhost", "localhost")), OPEN, None) is not None


def test_token_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert read_token(None) is None
    with pytest.raises(BackupError, match="failed"):
        read_token(str(file))
    file.write_text("s3cret\n")
    file.chmod(0o600)
    assert read_token(str(file)) == TOKEN
    file.chmod(0o644)
    with pytest.raises(DeniedError, match="open to others"):
        read_token(str(file))
    file.chmod(0o600)
    file.write_text(" \n")
    with pytest.raises(DeniedError, match="empty"):
        read_token(str(file))
