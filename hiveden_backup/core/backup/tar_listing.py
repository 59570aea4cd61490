"""What tar says it did: its listing decides what is in an archive.

Listings are those of GNU tar under LC_ALL=C with the options `LISTING`.
"""

import re
from calendar import timegm
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.lines import split_lines

LISTING = ("-vv", "--numeric-owner", "--full-time", "--utc", "--quote-chars= ")
"""With spaces quoted, ` -> ` and ` link to ` in a listing are tar's own."""

_LISTED = re.compile(rb"(.)([-a-zA-Z]{9})\S* +(\d+)/(\d+) +(\d+(?:,\d+)?) (\S+ \S+) +([^\n]*)\n")
_TYPES = {b"-": b"f", b"d": b"d", b"l": b"l", b"p": b"p", b"c": b"c", b"b": b"b"}
_HARD_LINK = b"h"
_LINK_TO = b" link to "
_POINTS_TO = b" -> "

_PLAIN = re.compile(rb"[!-\[\]-~]*")
_ODD = re.compile(rb"[^!-\[\]-~]")
_PROGRAM = re.compile(r"^(?:/\S*/)?tar: ")  # as it was called
_CLOSING = "Exiting with failure status due to previous errors"
_ESCAPES = {
    **{bytes((byte,)): b"\\%03o" % byte for byte in (*range(32), *range(127, 256))},
    **{bytes((byte,)): b"\\" + bytes((char,)) for byte, char in zip(b"\a\b\t\n\v\f\r\\ ", rb"abtnvfr\ ", strict=True)},
}
_SECOND = 10**9
_DAY = 86400
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def escape(path: bytes) -> bytes:
    """`path` as tar prints it, in its `escape` quoting style in the C locale with spaces quoted too."""
    if _PLAIN.fullmatch(path):
        return path
    return _ODD.sub(lambda match: _ESCAPES[match[0]], path)


def messages(stderr: str) -> Iterator[str]:
    """What tar said, line by line, without its own name and its last word."""
    for raw in split_lines(stderr):
        line = _PROGRAM.sub("", raw)
        if line and line != _CLOSING:
            yield line


def quoted(path: bytes) -> bytes:
    """`path` as tar's messages have it: they quote colons too."""
    return escape(path).replace(b":", rb"\:")


class Member(NamedTuple):
    """One line of a listing. `name` is escaped; `target` is what a symbolic or hard link points to, else nothing."""

    letter: bytes
    mode: bytes
    uid: bytes
    gid: bytes
    size: bytes
    time: bytes
    name: bytes
    target: bytes


def members(listing: Iterable[bytes]) -> Iterator[Member]:
    """What the lines of a listing show. One that is not understood shows nothing, so that its path is struck."""
    for line in listing:
        match = _LISTED.fullmatch(line)
        if match is None:
            continue
        letter, mode, uid, gid, size, time, name = match.groups()
        target = b""
        if letter == b"d":
            name = name.removesuffix(b"/")
        elif letter == b"l":
            name, _, target = name.partition(_POINTS_TO)
        elif letter == _HARD_LINK:
            name, _, target = name.partition(_LINK_TO)
        yield Member(letter, mode, uid, gid, size, time, name, target)


class Metadata(NamedTuple):
    """What a listing and a record both tell of a path, as a record has it."""

    mode: bytes
    uid: bytes
    gid: bytes
    size: bytes
    mtime: bytes


@dataclass(slots=True)
class Contents:
    """What an archive holds, seen member by member in its order."""

    _linked: dict[bytes, tuple[int, Metadata]] = field(default_factory=dict)

    def held(self, member: Member, expected: Metadata, *, kind: bytes, linked: bool, inode: int) -> Metadata | None:
        """What is held of a path for which there is `member` and whose record says `expected`.

        None when it is something else: another type, or a hard link to another inode or from a path that has one link.
        """
        if member.letter == _HARD_LINK:
            of, found = self._linked.get(member.target, (0, None))
            return found if linked and of == inode else None
        if _TYPES.get(member.letter) != kind:
            return None
        found = _metadata(member, expected)
        if found is not None and linked:  # links point to the first name of an inode, so the others need no place here
            self._linked[member.name] = inode, found
        return found


def _metadata(member: Member, expected: Metadata) -> Metadata | None:
    """`expected` when the member shows it; else what it shows, or None when that is not understood."""
    size = member.size if member.letter == b"-" else expected.size
    time = expected.mtime if _shows(member.time, int(expected.mtime)) else _time(member.time)
    if time is None:
        return None
    mode = expected.mode if _mode_text(expected.mode) == member.mode else _mode(member.mode)
    return Metadata(mode, member.uid, member.gid, size, time)


def _shows(text: bytes, mtime_ns: int) -> bool:
    """Whether tar shows this time so. It misprints fractions before 1970: of those, all are taken for the same."""
    seconds, fraction = divmod(mtime_ns, _SECOND)
    if mtime_ns < 0 and fraction:
        return True
    day, second = divmod(seconds, _DAY)
    day_text = _day_text(day)
    if not day_text:
        return True
    clock = f"{day_text} {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    if fraction:
        clock += f".{fraction:09d}".rstrip("0")
    return text == clock.encode()


@lru_cache(1024)
def _day_text(day: int) -> str:
    """The date of a day since 1970; nothing for years that no calendar here has."""
    try:
        return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()
    except (OverflowError, ValueError):
        return ""


def _time(text: bytes) -> bytes | None:
    """A time that tar shows, in nanoseconds; None when it is not understood."""
    match = re.fullmatch(rb"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?", text)
    if match is None:
        return None
    seconds = timegm(tuple(int(part) for part in match.groups()[:6]))
    return b"%d" % (seconds * _SECOND + int((match[7] or b"0").ljust(9, b"0")))


@lru_cache(1024)
def _mode_text(mode: bytes) -> bytes:
    """Octal permissions as listings show them."""
    bits = int(mode, 8)
    text = [letter if bits >> (8 - at) & 1 else "-" for at, letter in enumerate("rwxrwxrwx")]
    for at, bit, letter in _SPECIAL:
        if bits & bit:
            text[at] = letter if text[at] == "x" else letter.upper()
    return "".join(text).encode()


_SPECIAL = ((2, 0o4000, "s"), (5, 0o2000, "s"), (8, 0o1000, "t"))


def _mode(text: bytes) -> bytes:
    """The inverse of `_mode_text`."""
    shown = text.decode("ascii")
    bits = sum(1 << (8 - at) for at, letter in enumerate(shown) if letter not in "-ST")
    bits += sum(bit for at, bit, letter in _SPECIAL if shown[at].lower() == letter)
    return b"%o" % bits
