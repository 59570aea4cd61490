"""Who may come in on TCP: by a token, or by the loopback rule where it is allowed. A unix socket has its mode."""

import hmac
import os
import stat
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from hiveden_backup.core.config.values import Api
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DeniedError
from hiveden_backup.core.same_origin import LOOPBACK, authority
from hiveden_backup.host.disk.durable import opened, read_bounded, translated

_LOOPBACK_ADDRESSES = frozenset({"127.0.0.1", "::1"})
_LONGEST_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Visitor:
    """A request on TCP that no page from elsewhere sent: the listener's address that it came in by, its headers."""

    listener: str
    authorization: Sequence[str]
    hosts: Sequence[str]


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
    named = authority(visitor.hosts[0]) if len(visitor.hosts) == 1 else None
    if named is None or named[0] not in LOOPBACK:
        return Refusal(HTTPStatus.FORBIDDEN, "Without a token, Host must be a loopback name.")
    return None


def read_token(path: str | None) -> bytes | None:
    """The token in the configured file, None without one. DeniedError when the file is open to others, or empty."""
    if path is None:
        return None
    with translated(f"reading the token file {path}"), opened(Path(path), follow=True) as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
            raise DeniedError(f"The token file {path} is open to others", "", f"Close it: chmod 600 {path}")
        token = read_bounded(file, _LONGEST_TOKEN, path).strip()
    if not token:
        raise DeniedError(f"The token file {path} is empty", "", f"Make one: openssl rand -hex 32 >{path}")
    return token
