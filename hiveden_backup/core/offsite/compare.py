"""What a listing of an offsite says, held against the journal: what is gone, or not as it was sent; what is unknown.

And the journal itself, made again from the sums that lie there, where it was lost.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line, There
from hiveden_backup.core.offsite.sums import ArchiveSums, BackupSums

_PARTIAL = re.compile(r"(.+)\.[0-9A-Za-z]{4,16}\.partial", re.DOTALL)


class Wrong(StrEnum):
    """What is wrong with an object. Doubted is one that was found wrong, and was neither sent nor read well since."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    REPLACED = "replaced"
    FORGED = "forged"
    UNREADABLE = "unreadable"
    DOUBTED = "doubted"


class Seen(Protocol):
    """What a listing tells of an object; the digest is "" where the place does not know it."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def md5(self) -> str:
        """Its MD5."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it, by the objects' names in the job's folder.

    `unknown` are sums that the journal does not have: what they are of may be complete. `strays` are objects of what
    has no sums, neither there nor in the journal. `foreign` are none of ours.
    """

    wrong: Mapping[str, Wrong]
    unknown: tuple[str, ...]
    strays: tuple[str, ...]
    foreign: tuple[str, ...]


def compare(there: There, listed: Mapping[str, Seen]) -> Comparison:
    """Hold a job's listing against its journal."""
    judged = ((name, fault(line, listed.get(name))) for name, line in there.objects.items())
    wrong = {name: found for name, found in judged if found is not None}
    new = [name for name in listed if name not in there.objects]
    unknown = tuple(name for name in new if summed(name) is not None)
    with_sums = {layout.owner(name) for name in (*unknown, *there.objects) if summed(name) is not None}
    rest = [name for name in new if summed(name) is None]
    strays = tuple(name for name in rest if (of := owner(name)) is not None and of not in with_sums)
    return Comparison(wrong, unknown, strays, tuple(name for name in rest if owner(name) is None))


def fault(line: Line, seen: Seen | None) -> Wrong | None:
    """What is wrong with an object, by what a listing has of it; None when nothing is."""
    if seen is None:
        return Wrong.MISSING
    if seen.bytes != line.bytes:
        return Wrong.TRUNCATED if seen.bytes < line.bytes else Wrong.REPLACED
    return Wrong.REPLACED if seen.md5 and line.md5 and seen.md5 != line.md5 else None


def summed(name: str) -> str | None:
    """The archive (its path), or the backup (its id), whose sums the object is; None when it is something else."""
    return layout.summed_archive(name) or layout.summed_backup(name)


def owner(name: str) -> str | None:
    """As `layout.owner`, also of what newer versions of rclone leave of an upload that was broken off."""
    partial = _PARTIAL.fullmatch(name)
    return layout.owner(partial[1] if partial is not None else name)


def unsent(there: There, names: Collection[str], at: datetime) -> tuple[Line, ...]:
    """The journal's lines that have these objects sent again, and the sums of what they are parts of with them."""
    owners = sorted({of for name in names if (of := layout.owner(name)) is not None})
    sums = [layout.archive_sums(of) if "/" in of else layout.backup_sums(of) for of in owners]
    return tuple(
        Line(at, Did.REMOVED, name) for name in dict.fromkeys([*sums, *sorted(names)]) if name in there.objects
    )


def removable(strays: Collection[str], there: There, is_here: Callable[[str], bool]) -> tuple[str, ...]:
    """Those strays that nothing will ever need: what they are parts of is gone here, and nothing there names it.

    `is_here` tells whether the archive (by its path), or the backup (by its id), is still here in any form.
    """
    needed = {path for line in there.marked.values() for path in line.needs}
    known = {layout.owner(name) for name in there.objects}

    def goes(name: str) -> bool:
        of = owner(name)
        return of is not None and of not in needed and of not in known and not is_here(of)

    return tuple(name for name in strays if goes(name))


def lines_of(
    sums: ArchiveSums | BackupSums,
    name: str,
    contents: Mapping[str, bytes],
    listed: Mapping[str, Seen],
    at: datetime,
) -> tuple[Line, ...]:
    """The journal's lines for what lies there by its sums, the object `name`, which come last.

    `contents` are those of the sums and of their signature, by their objects' names.
    """
    folder = name.rpartition("/")[0]

    def line(each: str, size: int, digest: str) -> Line:
        md5 = listed[each].md5 if each in listed else ""
        if each != name:
            return Line(at, Did.PUT, each, size, digest, md5)
        if isinstance(sums, ArchiveSums):
            return Line(at, Did.PUT, each, size, digest, md5, sums.archive.bytes, sums.archive.sha256)
        weight = sum(file.bytes for file in sums.files)
        return Line(at, Did.PUT, each, size, digest, md5, weight, needs=tuple(need.path for need in sums.needs))

    beside = sorted(contents, key=lambda each: each == name)
    own = [line(each, len(contents[each]), hashlib.sha256(contents[each]).hexdigest()) for each in beside]
    return (*(line(f"{folder}/{piece.name}", piece.bytes, piece.sha256) for piece in sums.pieces), *own)
