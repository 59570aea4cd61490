"""The index of a job's files: its records, and the comparison that finds what changed.

A record is the bytes `archive type mode uid gid nlink size mtime_ns ctime_ns inode path`, fields separated by tabs,
without the NUL that ends it in a file. Everything after `archive` is what a scan produces; so an unchanged path is
one whose scanned bytes stand in the older index to the letter, and a million of them are compared without being parsed.
Records are sorted bytewise by path.

A *draft* is a record list in the making: its archive field is the older index's number, or `+` where the path is taken.

A taken path is *in question* where only its ctime or inode differs: it may be what the archive holds all the same.
Such a line is `archive inode record`: the older index's number, the older inode, and what was scanned.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from hiveden_backup.core.dataclass import dataclass, field

TAKEN = b"+"
HEADER_BYTES = 512
MARGIN_NS = 2 * 10**9
LOOSE_MARGIN_NS = 600 * 10**9
"""How much older than T a time must be to prove that nothing happened since: clocks of remote servers differ."""

_FIELDS = 10
"""Tabs in a record; what follows the last of them is the path, tabs and all."""
_METADATA = 7
"""Fields of what was scanned that say what a path is, before those that say where and since when."""
_TAKEN_PREFIX = TAKEN + b"\t"
_BATCH = 4096
_LONGEST_RECORD = 64 << 10

Scanned = tuple[bytes, bytes, int, int, int, bool]
"""One path as the scan saw it: (path, record, newest, weight, inode, loose).

`record` is everything but the archive field. `newest` is the later of mtime and ctime (ns). `weight` as in `weight_of`.
`inode` is 0 unless the path is a hard link with other names. `loose` marks file systems (network, FUSE) whose inode
numbers and clocks are not to be trusted. A plain tuple, since a million of them are made while containers are down.
"""


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
    archive, kind, mode, uid, gid, nlink, size, mtime, ctime, inode, path = line.split(b"\t", _FIELDS)
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
    return line.split(b"\t", _FIELDS)[-1]


def weight_of(*, regular: bool, nlink: int, size: int) -> int:
    """What a path weighs in an archive: a header, and a regular file's bytes, shared among the names of its inode."""
    return HEADER_BYTES + (size // max(nlink, 1) if regular else 0)


def is_directory(line: bytes) -> bool:
    """Whether a record or draft line is a directory's."""
    return line.split(b"\t", 2)[1] == b"d"


def line_weight(line: bytes) -> int:
    """The weight of a record or draft line's path."""
    _, kind, _, _, _, nlink, size, _ = line.split(b"\t", 7)
    return weight_of(regular=kind == b"f", nlink=int(nlink), size=int(size))


@dataclass(slots=True)
class Comparison:
    """What a comparison learned besides the draft it wrote.

    `live` weighs, per archive number of the older index, what is still live in it. `dirty` are the inodes of hard links
    of which a name is new, changed or gone. `in_question` weighs, per archive number, the taken paths that are so;
    `lost` are the older inodes of hard links of which a name is gone, or has changed beyond question.
    """

    entries: int = 0
    taken: int = 0
    taken_weight: int = 0
    live: Counter[bytes] = field(default_factory=Counter)
    dirty: set[int] = field(default_factory=set)
    in_question: Counter[bytes] = field(default_factory=Counter)
    lost: set[int] = field(default_factory=set)


class Sink(NamedTuple):
    """Where a comparison writes, many lines at a time.

    The draft, those of its lines that `select` may pick, and what is in question.
    """

    draft: Callable[[Sequence[bytes]], object]
    candidates: Callable[[Sequence[bytes]], object]
    questions: Callable[[Sequence[bytes]], object]


def compare(
    older: Iterable[bytes],
    scanned: Iterable[Scanned],
    sink: Sink,
    *,
    taken_ns: int,
    archives: int,
    broken: Collection[int] = (),
) -> Comparison:
    """Write the draft of a new index and say what it means.

    A path is taken when it is new, when its record differs from the older one in any field, when its mtime or ctime is
    not older than `taken_ns` (the older index's T) less the margin, or when its archive is not one of the older index's
    `archives` or is `broken`. Candidates are what is taken, and hard links with other names.
    """
    result = Comparison()
    trusted = {b"%d\t" % number: 0 for number in range(archives) if number not in broken}
    cursor = _Older(iter(older), taken_ns, result)
    entries = iter(scanned)
    while batch := list(islice(entries, _BATCH)):
        draft, candidates = _compare(batch, cursor, trusted, result)
        sink.draft(draft)
        sink.candidates(candidates)
        if cursor.questions:
            sink.questions(cursor.questions)
            cursor.questions.clear()
    cursor.pass_over()
    result.dirty.update([new for old, new in cursor.renumbered if old in result.dirty])
    result.live.update({number[:-1]: weight for number, weight in trusted.items() if weight})
    return result


def _compare(
    batch: Sequence[Scanned], cursor: "_Older", live: dict[bytes, int], result: Comparison
) -> tuple[list[bytes], list[bytes]]:
    """The draft's lines and candidates for a batch of paths. `live` weighs the trusted archives, by number and tab."""
    draft: list[bytes] = []
    candidates: list[bytes] = []
    result.entries += len(batch)
    line, lines, horizon = cursor.line, cursor.lines, cursor.horizon
    for path, record, newest, weight, inode, loose in batch:
        if line.endswith(record) and newest < horizon and not loose and (number := line[: -len(record)]) in live:
            live[number] += weight
            draft.append(line)
            if inode:
                candidates.append(line)
            line = next(lines, b"")
            continue
        cursor.line = line
        number = cursor.archive_of(path, record, newest, live, loose=loose)
        line = cursor.line
        # the scanned record, not the older one: what is written now is what the next pass will see
        draft.append(number + record)
        if number in live:
            live[number] += weight
        else:
            result.taken += 1
            result.taken_weight += weight
            if inode:
                result.dirty.add(inode)
            if cursor.asked:
                result.in_question[cursor.asked] += weight
        if inode or number not in live:
            candidates.append(draft[-1])
    cursor.line = line
    return draft, candidates


class _Older:
    """The older index's lines in the course of a comparison, and what is done where they do not simply agree."""

    def __init__(self, lines: Iterator[bytes], taken_ns: int, result: Comparison) -> None:
        self.lines = lines
        self.line = next(lines, b"")
        self.horizon = taken_ns - MARGIN_NS
        self._loose_horizon = taken_ns - LOOSE_MARGIN_NS
        self.renumbered: list[tuple[int, int]] = []  # of hard links that stay: the inode then and now, on loose ones
        self.questions: list[bytes] = []
        self.asked = b""  # the archive of the path that was asked for last, where that is in question
        self._result = result

    def archive_of(self, path: bytes, record: bytes, newest: int, trusted: Collection[bytes], *, loose: bool) -> bytes:
        """The number, with its tab, of the archive that still holds what was scanned; else that of a taken path.

        Goes on to the line behind `path`.
        """
        self.asked = b""
        while self.line and path_of(self.line) < path:
            self._drop()
        if not self.line or path_of(self.line) != path:
            return _TAKEN_PREFIX
        number, _, rest = self.line.partition(b"\t")
        number += b"\t"
        same = rest == record or (loose and _without_inode(rest) == _without_inode(record))
        if same and newest < (self._loose_horizon if loose else self.horizon) and number in trusted:
            if rest != record and _hard_link(rest):
                self.renumbered.append((_inode_of(rest), _inode_of(record)))
            self.line = next(self.lines, b"")
            return number
        if number in trusted and _questionable(rest, record, loose=loose):
            self.asked = number[:-1]
            self.questions.append(b"%s%d\t%s" % (number, _inode_of(rest), record))
        self._drop(asked=bool(self.asked))
        return _TAKEN_PREFIX

    def pass_over(self) -> None:
        """Go to the end: all these paths are gone."""
        while self.line:
            self._drop()

    def _drop(self, *, asked: bool = False) -> None:
        """A line does not hold any more: if it had other names, they are in doubt. It may be `asked` about later."""
        _, _, _, _, _, nlink, _, _, _, inode, _ = self.line.split(b"\t", _FIELDS)
        if nlink not in {b"0", b"1"}:
            self._result.dirty.add(int(inode))
            if not asked:
                self._result.lost.add(int(inode))
        self.line = next(self.lines, b"")


def _hard_link(rest: bytes) -> bool:
    return rest.split(b"\t", 5)[4] not in {b"0", b"1"}


def _questionable(rest: bytes, record: bytes, *, loose: bool) -> bool:
    """Whether no more than ctime and inode may differ: of a file, a directory, or a symbolic link with one name.

    Where inodes are not to be trusted, they do not tell what names a file has.
    """
    older = rest.split(b"\t", _METADATA)[:_METADATA]
    if older != record.split(b"\t", _METADATA)[:_METADATA]:
        return False
    single = older[4] in {b"0", b"1"}
    return (older[0] == b"f" and (single or not loose)) or (older[0] in {b"d", b"l"} and single)


def _inode_of(rest: bytes) -> int:
    return int(rest.split(b"\t", _FIELDS - 1)[8])


def _without_inode(rest: bytes) -> tuple[bytes, ...]:
    fields = rest.split(b"\t", _FIELDS - 1)
    return (*fields[:8], fields[9])


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines of a draft go into the new archive: the taken ones, whole hard-link groups, and what is compacted."""

    dirty: frozenset[int]
    compacted: frozenset[bytes] = frozenset()

    def takes(self, line: bytes) -> bool:
        """Whether this draft line's path is archived again."""
        if line.startswith(_TAKEN_PREFIX):
            return True
        if not self.dirty and not self.compacted:
            return False
        number, _, _, _, _, nlink, _, _, _, inode, _ = line.split(b"\t", _FIELDS)
        if number in self.compacted:
            return True
        return nlink not in {b"0", b"1"} and int(inode) in self.dirty


@dataclass(slots=True)
class Extent:
    """What a selection amounts to: names and weight of the new archive, and what stays live in the older ones."""

    names: int = 0
    weight: int = 0
    live: Counter[bytes] = field(default_factory=Counter)


def select(
    lines: Iterable[bytes], selection: Selection, live: Counter[bytes], write: Callable[[bytes], object]
) -> Extent:
    """Hand the line of every path to archive to `write`, in order.

    `lines` are the draft's candidates, or with compaction all of the draft.
    """
    result = Extent(live=live.copy())
    for line in lines:
        if not selection.takes(line):
            continue
        weight = line_weight(line)
        result.names += 1
        result.weight += weight
        if not line.startswith(_TAKEN_PREFIX):
            result.live[line.partition(b"\t")[0]] -= weight
        write(line)
    return result


def renumbering(live: Counter[bytes], archives: int) -> dict[bytes, bytes]:
    """New numbers for those of the older index's archives that something is still live in, in their order."""
    kept = [b"%d" % number for number in range(archives) if live[b"%d" % number] > 0]
    return {old: b"%d" % new for new, old in enumerate(kept)}


def join_records(lines: Iterable[bytes]) -> bytes:
    """What `split_records` splits: each of them ended by NUL."""
    return b"".join([line + b"\0" for line in lines])


def split_records(chunks: Iterable[bytes], entries: int | None = None) -> Iterator[bytes]:
    """The records of a stream of NUL-terminated ones, `entries` of them where that is known.

    ValueError when there are more, when the last one is cut short, or one is longer than any path makes it.
    """
    rest, left = b"", math.inf if entries is None else entries
    for chunk in chunks:
        *records, rest = (rest + chunk).split(b"\0")
        left -= len(records)
        if left < 0:
            raise ValueError(f"the index has more than {entries} records")
        if len(rest) > _LONGEST_RECORD:
            raise ValueError("the index has a record that no path is long enough for")
        yield from records
    if rest:
        raise ValueError("the index ends in the middle of a record")
