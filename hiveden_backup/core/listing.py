"""What tar says it did: its listing decides what is in an archive, its diagnostics what went wrong.

Messages are those of GNU tar under LC_ALL=C.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hiveden_backup.core.index import Selection, line_weight

_LISTED = re.compile(rb"(\S)\S+ +\S+ +\S+ +\S+ +\S+ (.*)", re.DOTALL)
_TYPES = {b"-": b"f", b"d": b"d", b"l": b"l", b"p": b"p", b"c": b"c", b"b": b"b"}
_HARD_LINK = b"h"
_LINK_TO = b" link to "

Member = tuple[bytes, bytes]
"""tar's letter for the type, and the rest of its line: the escaped path and what a link points to."""
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
_CLOSING = "Exiting with failure status due to previous errors"


def escape(path: bytes) -> bytes:
    """`path` as tar's default quoting style prints it in the C locale."""
    if _PLAIN.fullmatch(path):
        return path
    return b"".join(_ESCAPES.get(byte) or bytes((byte,)) for byte in path)


@dataclass(slots=True)
class Settlement:
    """A draft held against tar's listing (`-vv --index-file`), which makes it a finished index.

    `numbers` maps older archive numbers to new ones. Once `records` is exhausted, `struck` has the paths that are in
    no archive: a name that is no member, a member of another type, and a hard-link member whose record has one link
    only or whose target is struck, absent or another inode (with `-T`, tar links even single files when a rename shows
    it the same inode twice).
    """

    draft: Iterable[bytes]
    selection: Selection
    listing: Iterable[bytes]
    numbers: Mapping[bytes, bytes]
    new_number: bytes
    entries: int = 0
    struck: list[bytes] = field(default_factory=list)
    struck_weight: int = 0

    def records(self) -> Iterator[bytes]:
        """The finished index."""
        shown_members = members(self.listing)
        member = next(shown_members, None)
        inodes: dict[bytes, bytes] = {}
        for line in self.draft:
            number, _, rest = line.partition(b"\t")
            if not self.selection.takes(line):
                self.entries += 1
                yield self.numbers[number] + b"\t" + rest
                continue
            kind, _, _, _, nlink, _, _, _, inode, path = rest.split(b"\t", 9)
            name = escape(path)
            present = False
            if member is not None and is_named(member, name):
                shown, text = member
                linked = nlink not in {b"0", b"1"}
                if shown == _HARD_LINK:
                    present = linked and inodes.get(text[len(name) + len(_LINK_TO) :]) == inode
                else:
                    present = _TYPES.get(shown) == kind
                if present and linked:
                    inodes[name] = inode
                member = next(shown_members, None)
            if present:
                self.entries += 1
                yield self.new_number + b"\t" + rest
            else:
                self.struck.append(path)
                self.struck_weight += line_weight(line)


def members(listing: Iterable[bytes]) -> Iterator[Member]:
    """What the lines of tar's verbose listing show."""
    for line in listing:
        match = _LISTED.fullmatch(line.rstrip(b"\n"))
        if match is not None:
            yield match[1], match[2]


def is_named(member: Member, name: bytes) -> bool:
    """Whether a listed member is the path that `escape` writes as `name`."""
    shown, text = member
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
        line = raw.removeprefix("tar: ")
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
