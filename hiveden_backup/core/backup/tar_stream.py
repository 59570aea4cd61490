"""The members of an archive, as its bytes have them: all that tar keeps of a path, extended attributes among it.

The format is POSIX's (pax) as GNU tar writes it: its own words for sparse files, and SCHILY's for attributes. No
listing of tar's shows the values of attributes, and Python's tarfile takes several times as long.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

BLOCK = 512
CHUNK = 1 << 20
HARD_LINK = b"h"

_MAGIC = b"ustar\x0000"
_TYPES = {b"0": b"f", b"\0": b"f", b"1": HARD_LINK, b"2": b"l", b"3": b"c", b"4": b"b", b"5": b"d", b"6": b"p"}
_EXTENDED = b"x"
_LONGEST_EXTENDED = 64 << 20
_MOST_SEGMENTS = 1 << 24
_ATTRIBUTE, _ACL, _SPARSE = b"SCHILY.xattr.", b"SCHILY.acl.", b"GNU.sparse."
_END = bytes(BLOCK)
_SECOND = 10**9


class TruncatedError(ValueError):
    """The archive ends before its end."""


class Member(NamedTuple):
    """One member. `kind` is a type as records have it, or `HARD_LINK`; `size` is that of the file, holes and all.

    `target` is what a link points to. `attributes` is None where not all of them can be told. Of a `sparse` file,
    `content` begins with what `segments` reads.
    """

    kind: bytes
    name: bytes
    target: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    attributes: dict[bytes, bytes] | None
    sparse: bool


class TarStream:
    """An archive that is read from its beginning to its end. `read` is that of a buffered binary stream.

    ValueError for what this does not know, and TruncatedError.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = 0  # bytes of the member's content that were not read yet
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Each member, when its content is what comes next; what of it is not read is passed over."""
        while True:
            header, extension = self._exactly(BLOCK), b""
            if header[156:157] == _EXTENDED:
                extension = self._extension(header)
                header = self._exactly(BLOCK)
            if header == _END:
                return
            member, stored = _member(header, extension)
            self._left, self._padding = stored, -stored % BLOCK
            yield member
            while self.content(CHUNK):
                pass
            self._exactly(self._padding)

    def content(self, most: int) -> bytes:
        """So many bytes more of the member's content, fewer only where there are no more."""
        data = self._exactly(min(most, self._left))
        self._left -= len(data)
        return data

    def segments(self) -> list[tuple[int, int]]:
        """Offsets and lengths of the pieces of a sparse file; the content goes on with these, one after another."""
        numbers, text, wanted = list[int](), b"", 1
        while len(numbers) < wanted:
            *lines, text = (text + self.content(BLOCK)).split(b"\n")
            numbers.extend(_decimal(line) for line in lines[: wanted - len(numbers)])
            if numbers and wanted == 1:
                wanted += 2 * numbers[0]
                numbers.extend(_decimal(line) for line in lines[1:wanted])
            if wanted > _MOST_SEGMENTS or (not self._left and len(numbers) < wanted):
                raise ValueError("a sparse file's pieces are not to be read")
        found = list(zip(numbers[1::2], numbers[2::2], strict=True))
        if sum(length for _, length in found) != self._left:
            raise ValueError("a sparse file's pieces are not its content")
        return found

    def _extension(self, header: bytes) -> bytes:
        size = _octal(header[124:136])
        if size > _LONGEST_EXTENDED:
            raise ValueError("an extended header is too long")
        data = self._exactly(size)
        self._exactly(-size % BLOCK)
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._read(size) if size else b""
        if len(data) < size:
            raise TruncatedError("the archive ends before its end")
        return data


def _member(header: bytes, extension: bytes) -> tuple[Member, int]:
    """A member, and how many bytes of content follow."""
    extended = _extended(extension)
    kind = _TYPES.get(header[156:157])
    if kind is None or header[257:265] != _MAGIC:
        raise ValueError("a header of another kind")
    name = extended.get(b"GNU.sparse.name") or extended.get(b"path") or _name(header)
    size = stored = _number(extended, b"size", header[124:136])
    sparse = _SPARSE in extension and any(key.startswith(_SPARSE) for key in extended)
    if sparse:
        if (extended.get(b"GNU.sparse.major"), extended.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise ValueError("a sparse file of another form")
        size = _decimal(extended[b"GNU.sparse.realsize"])
    mtime = extended.get(b"mtime")
    member = Member(
        kind,
        name.removesuffix(b"/") if kind == b"d" else name,
        extended.get(b"linkpath") or _text(header[157:257]),
        _octal(header[100:108]),
        _number(extended, b"uid", header[108:116]),
        _number(extended, b"gid", header[116:124]),
        size,
        _nanoseconds(mtime) if mtime is not None else _octal(header[136:148]) * _SECOND,
        _attributes(extended) if b"SCHILY." in extension else {},
        sparse,
    )
    return member, stored


def _extended(data: bytes) -> dict[bytes, bytes]:
    """The records of an extended header: `length key=value` and a newline, whatever is in the value."""
    found, at = dict[bytes, bytes](), 0
    while at < len(data):
        space = data.index(b" ", at)
        end = at + _decimal(data[at:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or end <= space or data[end - 1 : end] != b"\n":
            raise ValueError("an extended header that cannot be read")
        found[key] = value
        at = end
    return found


def _attributes(extended: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """The extended attributes: ACLs are among them, beside their text. None where there is a text alone."""
    found = {
        key[len(_ATTRIBUTE) :].replace(b"%3D", b"=").replace(b"%25", b"%"): value
        for key, value in extended.items()
        if key.startswith(_ATTRIBUTE)
    }
    texts = {key[len(_ACL) :]: value for key, value in extended.items() if key.startswith(_ACL)}
    for which, text in texts.items():
        plain = which == b"access" and b"mask::" not in text  # what the mode says as well
        if not plain and b"system.posix_acl_" + which not in found:
            return None
    return found


def _name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ") or b"0"
    if not digits.isdigit():
        raise ValueError("a number of another form")
    return int(digits, 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit():
        raise ValueError("a number of another form")
    return int(text)


def _number(extended: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    return _decimal(extended[key]) if key in extended else _octal(field)


def _nanoseconds(text: bytes) -> int:
    """A time as extended headers have it: a decimal fraction of seconds, the sign before all of it."""
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    if len(fraction) > len(str(_SECOND)) - 1:
        raise ValueError("a time of another form")
    nanoseconds = _decimal(whole) * _SECOND + _decimal(fraction.ljust(9, b"0"))
    return -nanoseconds if text.startswith(b"-") else nanoseconds
