"""Which requests may have been made by a web page of somebody else: pure rules on a request's head, to the letter.

A browser sends what any page tells it to, to any address that the person's machine reaches: a listener on loopback, or
a unix socket that `ssh -L` forwards to one. It does not let the page choose these headers, which tell where it is from.
"""

import re
from collections.abc import Collection, Sequence

from hiveden_backup.core.dataclass import dataclass

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
OUR_HEADER = "X-Hiveden-Backup"
"""No form and no plain link can send it, and a script from elsewhere only after a preflight, which is refused."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON = "application/json"
_AUTHORITY = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", re.ASCII | re.IGNORECASE)
_ORIGIN = re.compile(r"(https?)://([^/?#@]+)", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Head:
    """What a request shows of where it comes from. Each header as often as it was sent; `target` is as it was sent."""

    method: str
    target: str
    hosts: Sequence[str]
    origins: Sequence[str] = ()
    sites: Sequence[str] = ()
    content_types: Sequence[str] = ()
    marked: bool = False


def refusal(head: Head, ours: Collection[str]) -> str:
    """Why a request is not served, "" when it is none of another's page.

    `ours` are the names by which the listener is reached, lower case, IPv6 in brackets; the port may be any, for what
    forwards to us has one of its own.
    """
    if not head.target.startswith("/") and (head.method, head.target) != ("OPTIONS", "*"):
        return "What is asked for must be a path, and not another server's."
    named = authority(head.hosts[0]) if len(head.hosts) == 1 else None
    if named is None or named[0] not in ours:
        return f"Host must be one name of this listener ({', '.join(sorted(ours))}), with or without a port."
    if head.origins and (len(head.origins) != 1 or not _is_same(head.origins[0], named)):
        return "Origin must be the very server that Host names, if there is any: pages from elsewhere are not served."
    safe = head.method in SAFE_METHODS
    if head.sites and tuple(head.sites) not in {("same-origin",), *([("none",)] if safe else [])}:
        return "Sec-Fetch-Site must say same-origin (or none, of what changes nothing), if it is there."
    if not safe and not head.marked and not _is_json(head.content_types):
        return f"What changes something wants `Content-Type: {_JSON}`, or the header `{OUR_HEADER}: 1`."
    return ""


def authority(text: str) -> tuple[str, int | None] | None:
    """The name, lower case, and the port of a Host header; None when it is anything but these two."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    port = int(found[2]) if found[2] else None
    return None if port is not None and port > _LARGEST_PORT else (found[1].lower(), port)


def _is_same(origin: str, named: tuple[str, int | None]) -> bool:
    """Whether a page of `origin` is one of the server that Host names. Host does not tell http from https."""
    found = _ORIGIN.fullmatch(origin)
    theirs = authority(found[2]) if found is not None else None
    if found is None or theirs is None:
        return False
    usual = _DEFAULT_PORTS[found[1]]
    return (theirs[0], theirs[1] or usual) == (named[0], named[1] or usual)


def _is_json(content_types: Sequence[str]) -> bool:
    return len(content_types) == 1 and content_types[0].partition(";")[0].strip().lower() == _JSON
