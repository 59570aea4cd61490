"""What tar says it did: its listing decides what is in an archive.

Listings are those of GNU tar under LC_ALL=C with the options `LISTING`.
"""

import re
from calendar import timegm
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from hiveden_backup.core.backup.index import is_directory, line_weight, path_of
from hiveden_backup.core.backup.moved import Moved
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


@dataclass(slots=True)
class FinishedIndex:
    """A draft held against tar's listing, which makes it a finished index.

    `names` are the draft's paths that were handed to tar, in order; `numbers` maps older archive numbers to new ones.
    Once `records` is exhausted, `struck` has the paths that are in no archive: a name that is no member, a member of
    another type, and a hard-link member whose record has one link only or whose target is struck, absent or another
    inode (with `-T`, tar links even single files when a rename shows it the same inode twice).

    `torn` are the names, as messages quote them, of files that changed under tar's hands. `unsure` are those, and paths
    that tar read as something else than the scan saw: another size or mtime. The file changed in between, or a
    directory above it changed places with another one for a moment, which leaves no trace in the file.
    The index says of them what the archive holds, with a ctime of 0, so that the next pass takes them again; so it does
    of paths with other owners or permissions, and of directories, whose entries are paths of their own. But all else
    that tar read in a directory that `moved`, or is struck, is struck as well: a link may have been in its place, and
    what lies behind that is nobody's to have under this name. `disturbed` are the topmost of these directories.
    """

    draft: Iterable[bytes]
    names: Iterable[bytes]
    listing: Iterable[bytes]
    numbers: Mapping[bytes, bytes]
    new_number: bytes
    torn: Collection[bytes] = ()
    moved: Collection[bytes] = ()
    entries: int = 0
    struck: list[bytes] = field(default_factory=list)
    struck_weight: int = 0
    unsure: list[bytes] = field(default_factory=list)
    disturbed: set[bytes] = field(default_factory=set)
    _moved: Moved = field(default_factory=Moved)
    _contents: Contents = field(default_factory=Contents)

    def records(self) -> Iterator[bytes]:
        """The finished index."""
        self._moved.directories.update(self.moved)
        shown = members(self.listing)
        member = next(shown, None)
        names = iter(self.names)
        name = next(names, None)
        moved = any(old != new for old, new in self.numbers.items())
        for line in self.draft:
            if name is None or not line.endswith(name) or path_of(line) != name:
                self.entries += 1
                if moved:
                    number, _, rest = line.partition(b"\t")
                    yield self.numbers[number] + b"\t" + rest
                else:
                    yield line
                continue
            record = None
            if member is not None and member.name == escape(name):
                record = self._held(member, line.partition(b"\t")[2])
                member = next(shown, None)
            if record is not None:
                self.entries += 1
                yield self.new_number + b"\t" + record
            else:
                self.struck.append(name)
                self.struck_weight += line_weight(line)
                if is_directory(line):
                    self._moved.directories.add(name)
            name = next(names, None)
        if name is not None:
            raise ValueError(f"{name!r} was archived and is not in the draft")

    def _held(self, member: Member, record: bytes) -> bytes | None:
        """The record of a path as the archive has it; None when it does not have it."""
        kind, mode, uid, gid, nlink, size, mtime, _, inode, path = record.split(b"\t", 9)
        above = self._moved.above(path)
        if above is not None:
            self.disturbed.add(above)
            if kind != b"d":
                return None  # nor are links to it
        expected = Metadata(mode, uid, gid, size, mtime)
        found = self._contents.held(member, expected, kind=kind, linked=nlink not in {b"0", b"1"}, inode=int(inode))
        if found is None:
            return None
        torn = bool(self.torn) and kind == b"f" and quoted(path) in self.torn
        if found == expected and not torn and above is None:
            return record
        if kind != b"d" and (torn or (found.size, found.mtime) != (size, mtime)):
            self.unsure.append(path)
        return b"\t".join((kind, *found[:3], nlink, *found[3:], b"0", inode, path))
