"""Whether a backup lost or changed so much that retention must not count on it: a pure rule, and its sentences.

What counts as changed is content, as far as an index tells of it: type, size and time of modification. Owners, modes,
inode numbers and ctimes do not count: an in-place restore, an undo, a chown -R, a move to another disk give all paths
new ones, and nothing is lost by that. Of directories, only the type counts: what is in them are paths of their own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import takewhile

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import Artifact, ArtifactType, Manifest
from hiveden_backup.core.names import server_names
from hiveden_backup.core.sizes import text as size

_LEAST = 100
"""Up to so many paths (or rows) may go or change without a word: small jobs are often rewritten as a whole."""
_NEARLY_ALL = 0.8
_FEW = 0.1


@dataclass(slots=True)
class Change:
    """What became of the paths of an older index. `files` are paths that are no directories; `bytes` are theirs.

    `gone_bytes` are those of files that are gone, and what others shrank by: `thinner` counts both.
    """

    paths: int = 0
    files: int = 0
    bytes: int = 0
    gone: int = 0
    gone_files: int = 0
    gone_bytes: int = 0
    thinner: int = 0
    changed_files: int = 0


def waiting(known: Iterable[Manifest], accepted: Collection[str]) -> tuple[Manifest, ...]:
    """Which of a job's backups, newest first, wait for a person: unusual, not `accepted`, and no newer one is usual."""
    return tuple(takewhile(lambda each: each.unusual and each.id not in accepted, known))


def harms(unusual: Sequence[Manifest]) -> Iterator[tuple[Manifest, tuple[str, ...]]]:
    """What a person who looks at the newest of the `unusual` must know of: it, and each that did harm of its own.

    Each says again what it lost against the newest good one; what names one of the unusual ones is its own.
    """
    names = [f"{each.job}/{each.id}" for each in unusual]
    for number, each in enumerate(unusual):
        own = tuple(said for said in each.unusual or () if number == 0 or any(name in said for name in names))
        if own:
            yield each, own


def plainly_usual(older: "Total", kept: "Total") -> bool:
    """Whether no comparison can find anything, since at least what is `kept` of the `older` backup is as it was.

    So that the indexes of a usual run need not be read. (A tree with more than four directories to a file could have
    most of its files among a tenth of its paths.)
    """
    differing = older.paths - kept.paths
    return differing <= _LEAST or (differing <= _FEW * older.paths and 2 * kept.bytes >= older.bytes)


def measure(older: Iterable[bytes], newer: Iterable[bytes], concerns: Callable[[bytes], bool]) -> Change:
    """Compare the records of two finished indexes. Of paths that are gone, those count that are the job's `concerns`.

    What it does not back up any more by a person's will is not lost.
    """
    change = Change()
    lines = iter(newer)
    line = next(lines, b"")
    for old in older:
        rest = old.partition(b"\t")[2]
        if line.partition(b"\t")[2] == rest:
            _count(change, rest)
            line = next(lines, b"")
            continue
        path = _path(rest)
        while line and _path(line.partition(b"\t")[2]) < path:
            line = next(lines, b"")
        now = line.partition(b"\t")[2]
        if now and _path(now) == path:
            _differ(change, rest, now)
            line = next(lines, b"")
        elif concerns(path):
            _lose(change, rest)
    return change


def _path(rest: bytes) -> bytes:
    """The path of a record without its archive field."""
    return rest.split(b"\t", 9)[9]


def _count(change: Change, rest: bytes) -> tuple[bytes, int]:
    """One more path of the older index; its type, and its share of the bytes of its inode."""
    kind, _, _, _, nlink, length, _ = rest.split(b"\t", 6)
    share = int(length) // max(int(nlink), 1) if kind == b"f" else 0
    change.paths += 1
    change.files += kind != b"d"
    change.bytes += share
    return kind, share


def _differ(change: Change, rest: bytes, now: bytes) -> None:
    """Count a path that is there, with another record."""
    kind, share = _count(change, rest)
    one, two = rest.split(b"\t", 7), now.split(b"\t", 7)
    if one[0] != two[0] or (kind != b"d" and one[5:7] != two[5:7]):
        change.changed_files += kind != b"d"
        left = int(two[5]) // max(int(two[4]), 1) if two[0] == b"f" else 0
        if left < share:
            change.thinner += 1
            change.gone_bytes += share - left


def _lose(change: Change, rest: bytes) -> None:
    kind, share = _count(change, rest)
    change.gone += 1
    change.gone_files += kind != b"d"
    change.thinner += 1
    change.gone_bytes += share


def of_files(change: Change, reference: str) -> Iterator[str]:
    """What is unusual about the files, a sentence each, against the backup `reference`."""
    if _mostly(change.gone, change.paths) or _mostly(change.gone_files, change.files):
        yield f"{change.gone} of the {change.paths} paths in {reference} are gone"
    elif change.thinner > _LEAST and 2 * change.gone_bytes > change.bytes:
        yield f"{size(change.gone_bytes)} of the {size(change.bytes)} in {reference} are gone"
    touched = change.changed_files + change.gone_files
    if change.changed_files > _LEAST and touched > _NEARLY_ALL * change.files:
        yield f"{change.changed_files} of the {change.files} files in {reference} have other content"


def _mostly(part: int, whole: int) -> bool:
    return part > _LEAST and 2 * part > whole


@dataclass(frozen=True, slots=True)
class Total:
    """How much a backup has of files: `paths`, and `bytes` before compression."""

    backup: str
    paths: int
    bytes: int


def of_totals(now: Total, kept: Sequence[Total]) -> Iterator[str]:
    """What many backups lost little by little, of which each alone was usual: at most one sentence.

    `kept` are those of the same paths. The comparison with the last of them would never see it.
    """
    for most in sorted(kept, key=lambda each: each.paths, reverse=True)[:1]:
        if _mostly(most.paths - now.paths, most.paths):
            yield f"There were {most.paths} paths in {most.backup}, and {now.paths} are left"
            return
    for most in sorted(kept, key=lambda each: each.bytes, reverse=True)[:1]:
        if most.paths - now.paths > _LEAST and 2 * (most.bytes - now.bytes) > most.bytes:
            yield f"There were {size(most.bytes)} in {most.backup}, and {size(now.bytes)} are left"


def of_databases(
    older: Iterable[Artifact], newer: Iterable[Artifact], sources: Sequence[PostgresSource], reference: str
) -> Iterator[str]:
    """What is unusual about the databases, a sentence each: those that are gone though the job wants them, or empty."""
    wanted = dict(zip(server_names(sources), (source.databases for source in sources), strict=True))
    there = {(each.server, each.target): each for each in newer if each.type is ArtifactType.DATABASE}
    for old in older:
        if old.type is not ArtifactType.DATABASE or old.server not in wanted:
            continue
        if wanted[old.server] and old.target not in wanted[old.server]:
            continue
        new = there.get((old.server, old.target))
        if new is None:
            yield f"The database {old.target} on {old.server} is gone: {reference} has it"
        else:
            yield from _emptied(old, new, reference)


def _emptied(old: Artifact, new: Artifact, reference: str) -> Iterator[str]:
    """One sentence when most of the tables that had rows have none. One that is rotated or truncated is usual."""
    rows = {table.name: table.rows for table in new.database.tables} if new.database is not None else {}
    full = [table for table in old.database.tables if table.rows] if old.database is not None else []
    empty = [table for table in full if rows.get(table.name, 0) == 0]
    if 2 * len(empty) > len(full) and sum(table.rows or 0 for table in empty) > _LEAST:
        where = f"the database {old.target} on {old.server}"
        yield f"{len(empty)} of the {len(full)} tables with rows that {reference} has of {where} are empty or gone"
