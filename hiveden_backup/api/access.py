"""Who may come in on TCP: by a token, or by the loopback rule where it is allowed. A unix socket has its mode."""

import hmac
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from hiveden_backup.core.config.values import Api
from hiveden_backup.core.errors import DeniedError
from hiveden_backup.host.disk.durable import translated

_LOOPBACK_ADDRESSES = frozenset({"127.0.0.1", "::1"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request on TCP shows. Each header as often as it was sent; `listener` is the address it came in by."""

    listener: str
    authorization: Sequence[str]
    hosts: Sequence[str]
    origins: Sequence[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: HTTPStatus
    detail: str


def judge(visitor: Visitor, api: Api, token: bytes | None) -> Refusal | None:
    """None when a request on TCP may come in: by the token, or from loopback to loopback where that is allowed."""
    if visitor.authorization:
        given = visitor.authorization[0].encode("latin-1", "replace")
        scheme, _, credentials = given.partition(b" ")
        fits = hmac.compare_digest(credentials.strip(), token or b"\0")
        if token is not None and scheme.lower() == b"bearer" and len(visitor.authorization) == 1 and fits:
            return None
        return Refusal(HTTPStatus.UNAUTHORIZED, "The bearer token is not the one in `token_file`.")
    if not api.allow_loopback or visitor.listener not in _LOOPBACK_ADDRESSES:
        return Refusal(HTTPStatus.UNAUTHORIZED, "On TCP a bearer token is needed: the content of `token_file`.")
    if len(visitor.hosts) != 1 or _name(f"//{visitor.hosts[0]}") not in _LOOPBACK_NAMES:
        return Refusal(HTTPStatus.FORBIDDEN, "Without a token, Host must be a loopback name.")
    if any(
        not origin.startswith(("http://", "https://")) or _name(origin) not in _LOOPBACK_NAMES
        for origin in visitor.origins
    ):
        return Refusal(HTTPStatus.FORBIDDEN, "Without a token, Origin must be a loopback name, if there is any.")
    return None


def read_token(path: str | None) -> bytes | None:
    """The token in the configured file, None without one. DeniedError when the file is open to others, or empty."""
    if path is None:
        return None
    with translated(f"reading the token file {path}"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_mode & stat.S_IRWXO:
                raise DeniedError(f"The token file {path} is open to others", "", f"Close it: chmod 600 {path}")
            token = file.read(_LONGEST_TOKEN).strip()
    if not token:
        raise DeniedError(f"The token file {path} is empty", "", f"Make one: openssl rand -hex 32 >{path}")
    return token


def _name(url: str) -> str | None:
    """The host in a URL without credentials, lower case; None when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if "@" in parts.netloc else parts.hostname
