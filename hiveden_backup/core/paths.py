"""Paths as texts: how they lie to each other, and how long ones are shown."""

import posixpath
from collections.abc import Iterable, Iterator

_END = 150


def is_plain(path: str) -> bool:
    """Whether it is absolute, normalized, and one that a disk can have, spelt as what a disk has is always spelt."""
    try:
        same = path.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == path
    except UnicodeEncodeError:  # half a surrogate pair that stands for no byte
        return False
    return same and "\0" not in path and path == "/" + posixpath.normpath(path).lstrip("/")


def inside(inner: str, outer: str) -> bool:
    """Whether the normalized absolute path `inner` is `outer` or lies below it, by its letters alone."""
    return inner == outer or inner.startswith(f"{outer.rstrip('/')}/")


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of them that lie in none of the others, sorted."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(inside(path, root) for root in kept):
            kept.append(path)
    return tuple(kept)


def above(path: bytes) -> Iterator[bytes]:
    """The directories above a path that is relative to `/`, from below."""
    while (slash := path.rfind(b"/")) > 0:
        path = path[:slash]
        yield path


def shortened(text: str) -> str:
    """A path, or a message that has one, with its middle left out where it would fill a page."""
    return text if len(text) <= 2 * _END else f"{text[:_END]}[...]{text[-_END:]}"
