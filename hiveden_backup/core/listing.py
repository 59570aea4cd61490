"""What tar says it did: its listing decides what is in an archive, its diagnostics what went wrong.

Messages are those of GNU tar under LC_ALL=C.
"""

import calendar
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hiveden_backup.core.index import Selection, line_weight

_LISTED = re.compile(rb"(\S)\S+ +\S+ +(\S+) +(\S+ \S+) +(.*)", re.DOTALL)
_TIME = re.compile(rb"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_TYPES = {b"-": b"f", b"d": b"d", b"l": b"l", b"p": b"p", b"c": b"c", b"b": b"b"}
_HARD_LINK = b"h"
_LINK_TO = b" link to "
_ONE_NAME = frozenset({b"0", b"1"})


class Member(NamedTuple):
    """A line of tar's verbose listing.

    `shown` is tar's letter for the type; `size` and `time` are as printed; `text` is the escaped path and what a link
    points to. (The columns are padded, so spaces that a path begins with are lost: compare names without them.)
    """

    shown: bytes
    size: bytes
    time: bytes
    text: bytes


_PLAIN = re.compile(rb"[ !-\[\]-~]*")
_ESCAPES = {
    **{byte: b"\\%03o" % byte for byte in (*range(32), *range(127, 256))},
    **{ord(char): code for char, code in zip("\a\b\t\n\v\f\r\\", rb"\a,\b,\t,\n,\v,\f,\r,\\".split(b","), strict=True)},
}

_CHANGED = (
    "file changed as we read it",
    "File removed before we read it",
    "No such file or directory",
    "Not a directory",
    "Too many levels of symbolic links",
    "socket ignored",
)
_SHRANK = re.compile(r"File shrank by \d+ bytes; padding with zeros")
_PROGRAM = re.compile(r"^(?:/\S*/)?tar: ")  # as it was called
_CLOSING = "Exiting with failure status due to previous errors"


def escape(path: bytes) -> bytes:
    """`path` as tar's default quoting style prints it in the C locale."""
    if _PLAIN.fullmatch(path):
        return path
    return b"".join(_ESCAPES.get(byte) or bytes((byte,)) for byte in path)


@dataclass(slots=True)
class Settlement:
    """A draft held against tar's listing (`-vv --full-time --index-file`, UTC), which makes it a finished index.

    `numbers` maps older archive numbers to new ones. Once `records` is exhausted, `struck` has the paths that are in
    no archive: a name that is no member, a member of another type, and a hard-link member whose record has one link
    only or whose target is struck, absent or another inode (with `-T`, tar links even single files when a rename shows
    it the same inode twice).

    `unsure` are paths that tar read as something else than the scan saw: another size or mtime. The file changed in
    between, or a directory above it changed places with another one for a moment, which leaves no trace in the file.
    The index says of them what the archive holds, with a ctime of 0, so that the next pass takes them again.
    """

    draft: Iterable[bytes]
    selection: Selection
    listing: Iterable[bytes]
    numbers: Mapping[bytes, bytes]
    new_number: bytes
    entries: int = 0
    struck: list[bytes] = field(default_factory=list)
    struck_weight: int = 0
    unsure: list[bytes] = field(default_factory=list)

    def records(self) -> Iterator[bytes]:
        """The finished index."""
        shown_members = members(self.listing)
        member = next(shown_members, None)
        linked: dict[bytes, _Linked] = {}
        for line in self.draft:
            number, _, rest = line.partition(b"\t")
            if not self.selection.takes(line):
                self.entries += 1
                yield self.numbers[number] + b"\t" + rest
                continue
            path = rest.split(b"\t", 9)[9]
            settled = None
            if member is not None and is_named(member, escape(path)):
                settled = self._settled(rest, member, linked)
                member = next(shown_members, None)
            if settled is None:
                self.struck.append(path)
                self.struck_weight += line_weight(line)
                continue
            self.entries += 1
            if settled is not rest and member_has_content(rest):
                self.unsure.append(path)
            yield self.new_number + b"\t" + settled

    def _settled(self, rest: bytes, member: Member, linked: "dict[bytes, _Linked]") -> bytes | None:
        """What the index says of a member: `rest` itself where they agree, None where it is struck."""
        kind, mode, uid, gid, nlink, size, mtime, _, inode, path = rest.split(b"\t", 9)
        name = escape(path).lstrip(b" ")
        if member.shown == _HARD_LINK:
            target = linked.get(member.text[len(name) + len(_LINK_TO) :])
            if nlink in _ONE_NAME or target is None or target.inode != inode:
                return None
            stored = target
        else:
            if _TYPES.get(member.shown) != kind:
                return None
            stored = _Linked(inode, member.size if kind == b"f" else size, _nanoseconds(member.time, mtime))
        if nlink not in _ONE_NAME:
            linked[name] = stored
        if (stored.size, stored.mtime) == (size, mtime):
            return rest
        return b"\t".join((kind, mode, uid, gid, nlink, stored.size, stored.mtime, b"0", inode, path))


class _Linked(NamedTuple):
    """What an archive holds of an inode with several names: its number, and the size and mtime that tar stored."""

    inode: bytes
    size: bytes
    mtime: bytes


def member_has_content(rest: bytes) -> bool:
    """Whether it matters that a path changed while it was read: a directory's entries are paths of their own."""
    return not rest.startswith(b"d")


def _nanoseconds(shown: bytes, recorded: bytes) -> bytes:
    """A printed time as the index writes it; the recorded one where tar does not print it plainly (before 1970)."""
    match = _TIME.fullmatch(shown)
    if match is None or recorded.startswith(b"-"):
        return recorded
    *parts, fraction = match.groups()
    seconds = calendar.timegm(tuple(map(int, parts)))
    return b"%d" % (seconds * 10**9 + int((fraction or b"0").ljust(9, b"0")))


def members(listing: Iterable[bytes]) -> Iterator[Member]:
    """What the lines of tar's verbose listing show."""
    for line in listing:
        match = _LISTED.fullmatch(line.rstrip(b"\n"))
        if match is not None:
            yield Member(*match.groups())


def is_named(member: Member, name: bytes) -> bool:
    """Whether a listed member is the path that `escape` writes as `name`."""
    shown, text, name = member.shown, member.text, name.lstrip(b" ")
    match shown:
        case b"d":
            return text in (name + b"/", name)
        case b"l":
            return text.startswith(name + b" -> ")
        case b"h":
            return text.startswith(name + _LINK_TO)
        case _:
            return text == name


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """tar's messages, told apart: `changed` happen to a tree in use, `fatal` must fail the job."""

    changed: tuple[str, ...]
    fatal: tuple[str, ...]


def classify(stderr: str, roots: Collection[bytes]) -> Diagnostics:
    """Read what tar said. A top path (`roots`, relative to `/`) that vanished is fatal."""
    changed: list[str] = []
    fatal: list[str] = []
    tops = {escape(root).decode("ascii") for root in roots}
    for raw in stderr.splitlines():
        line = _PROGRAM.sub("", raw)
        if not line or line == _CLOSING:
            continue
        name, _, message = line.rpartition(": ")
        expected = message.endswith(_CHANGED) or _SHRANK.fullmatch(message) is not None
        top_gone = message != _CHANGED[0] and name.partition(": Cannot ")[0] in tops
        if expected and not top_gone:
            changed.append(line)
        else:
            fatal.append(line)
    return Diagnostics(tuple(changed), tuple(fatal))
