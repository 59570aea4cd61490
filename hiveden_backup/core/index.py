"""The index of a job's files: its records, and the comparison that finds what changed.

A record is the bytes `archive type mode uid gid nlink size mtime_ns ctime_ns inode path`, fields separated by tabs,
without the NUL that ends it in a file. Everything after `archive` is what a scan produces; so an unchanged path is
one whose scanned bytes stand in the older index to the letter, and a million of them are compared without being parsed.
Records are sorted bytewise by path.

A *draft* is a record list in the making: its archive field is the older index's number, or `+` where the path is taken.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

TAKEN = b"+"
HEADER_BYTES = 512
MARGIN_NS = 2 * 10**9
LOOSE_MARGIN_NS = 600 * 10**9
"""How much older than T a time must be to prove that nothing happened since: clocks of remote servers differ."""

_META_FIELDS = 9


class Scanned(NamedTuple):
    """One path as the scan saw it.

    `record` is everything but the archive field. `newest` is the later of mtime and ctime (ns). `inode` is 0 unless the
    path is a hard link with other names. `weight` as in `weight_of`. `loose` marks file systems (network, FUSE) whose
    inode numbers and clocks are not to be trusted.
    """

    path: bytes
    record: bytes
    newest: int
    inode: int
    weight: int
    loose: bool


class Record(NamedTuple):
    """One parsed record of a finished index."""

    archive: int
    type: str
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    path: bytes


def parse(line: bytes) -> Record:
    """A record from its bytes. ValueError when it is none."""
    archive, kind, mode, uid, gid, nlink, size, mtime, ctime, inode, path = line.split(b"\t", _META_FIELDS + 1)
    return Record(
        int(archive),
        kind.decode("ascii"),
        int(mode, 8),
        int(uid),
        int(gid),
        int(nlink),
        int(size),
        int(mtime),
        int(ctime),
        int(inode),
        path,
    )


def path_of(line: bytes) -> bytes:
    """The path of a record or draft line."""
    return line.split(b"\t", _META_FIELDS + 1)[-1]


def weight_of(*, regular: bool, nlink: int, size: int) -> int:
    """What a path weighs in an archive: a header, and a regular file's bytes, shared among the names of its inode."""
    return HEADER_BYTES + (size // max(nlink, 1) if regular else 0)


def line_weight(line: bytes) -> int:
    """The weight of a record or draft line's path."""
    _, kind, _, _, _, nlink, size, _ = line.split(b"\t", 7)
    return weight_of(regular=kind == b"f", nlink=int(nlink), size=int(size))


@dataclass(slots=True)
class Comparison:
    """What a comparison learned besides the draft it wrote.

    `live` weighs, per archive number of the older index, what is still live in it. `dirty` are the inodes of hard links
    of which a name is new, changed or gone. `loose_links` tells that one of them lies where inode numbers mean little.
    """

    entries: int = 0
    taken: int = 0
    taken_weight: int = 0
    live: Counter[bytes] = field(default_factory=Counter)
    dirty: set[bytes] = field(default_factory=set)
    loose_links: bool = False


def compare(
    older: Iterable[bytes],
    scanned: Iterable[Scanned],
    write: Callable[[bytes], object],
    *,
    taken_ns: int,
    broken: Collection[bytes] = (),
) -> Comparison:
    """Write the draft of a new index and say what it means.

    A path is taken when it is new, when its record differs from the older one in any field, when its mtime or ctime is
    not older than `taken_ns` (the older index's T) less the margin, or when its archive's number is in `broken`.
    """
    result = Comparison()
    live, dirty = result.live, result.dirty
    horizon, loose_horizon = taken_ns - MARGIN_NS, taken_ns - LOOSE_MARGIN_NS
    lines = iter(older)
    number, rest = _advance(lines)
    for path, record, newest, inode, weight, loose in scanned:
        result.entries += 1
        if rest != record:
            while rest and _path(rest) < path:
                _note_names(rest, dirty)
                number, rest = _advance(lines)
            if not rest or _path(rest) != path:
                _take(result, write, record, inode=inode, weight=weight, loose=loose)
                continue
        same = rest == record or (loose and _without_inode(rest) == _without_inode(record))
        if same and newest < (loose_horizon if loose else horizon) and number not in broken:
            live[number] += weight
            # the scanned record, not the older one: what is written now is what the next pass will see
            write(number + b"\t" + record)
        else:
            _note_names(rest, dirty)
            _take(result, write, record, inode=inode, weight=weight, loose=loose)
        number, rest = _advance(lines)
    while rest:
        _note_names(rest, dirty)
        number, rest = _advance(lines)
    return result


def _advance(lines: Iterator[bytes]) -> tuple[bytes, bytes]:
    line = next(lines, b"")
    number, _, rest = line.partition(b"\t")
    return number, rest


def _path(rest: bytes) -> bytes:
    return rest.split(b"\t", _META_FIELDS)[-1]


def _take(
    result: Comparison, write: Callable[[bytes], object], record: bytes, *, inode: int, weight: int, loose: bool
) -> None:
    result.taken += 1
    result.taken_weight += weight
    write(TAKEN + b"\t" + record)
    if inode:
        result.dirty.add(b"%d" % inode)
        result.loose_links |= loose


def _note_names(rest: bytes, dirty: set[bytes]) -> None:
    fields = rest.split(b"\t", _META_FIELDS)
    if fields[4] not in {b"0", b"1"}:
        dirty.add(fields[8])


def _without_inode(rest: bytes) -> tuple[bytes, ...]:
    fields = rest.split(b"\t", _META_FIELDS)
    return (*fields[:8], fields[9])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines of a draft go into the new archive: the taken ones, whole hard-link groups, and what is compacted."""

    dirty: frozenset[bytes]
    compacted: frozenset[bytes] = frozenset()
    all_links: bool = False

    def takes(self, line: bytes) -> bool:
        """Whether this draft line's path is archived again."""
        if line.startswith(TAKEN):
            return True
        if not self.dirty and not self.compacted:
            return False
        number, _, _, _, _, nlink, _, _, _, inode, _ = line.split(b"\t", _META_FIELDS + 1)
        if number in self.compacted:
            return True
        return nlink not in {b"0", b"1"} and (self.all_links or inode in self.dirty)


@dataclass(slots=True)
class Selected:
    """What a selection amounts to: names and weight of the new archive, and what stays live in the older ones."""

    names: int = 0
    weight: int = 0
    live: Counter[bytes] = field(default_factory=Counter)


def select(
    draft: Iterable[bytes], selection: Selection, live: Counter[bytes], write: Callable[[bytes], object]
) -> Selected:
    """Hand every path to archive to `write`, in order."""
    result = Selected(live=live.copy())
    for line in draft:
        if not selection.takes(line):
            continue
        weight = line_weight(line)
        result.names += 1
        result.weight += weight
        if not line.startswith(TAKEN):
            result.live[line.partition(b"\t")[0]] -= weight
        write(path_of(line))
    return result


def renumbering(live: Counter[bytes], archives: int) -> dict[bytes, bytes]:
    """New numbers for those of the older index's archives that something is still live in, in their order."""
    kept = [b"%d" % number for number in range(archives) if live[b"%d" % number] > 0]
    return {old: b"%d" % new for new, old in enumerate(kept)}


def split_records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a stream of NUL-terminated ones. ValueError when the last one is cut short."""
    rest = b""
    for chunk in chunks:
        *records, rest = (rest + chunk).split(b"\0")
        yield from records
    if rest:
        raise ValueError("the index ends in the middle of a record")
