"""The journal of what this host has put at an offsite, and taken away there: so that no listing is needed to know.

One line of JSON for each object, written after the act ended well. A line that cannot be read (a power cut tore it) is
passed over: what it told of is sent again, or found by the next `reconcile`.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.offsite import layout

LONGEST_JOURNAL = 1 << 30
LONGEST_LINE = 16 << 20
_LEAST_COMPACTED = 1000


class Did(StrEnum):
    """What became of an object."""

    PUT = "put"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Line:
    """One object, by its name in the job's folder there, as it lies there. `md5` where the place tells that.

    Of what says that an archive is complete, `plain_bytes` and `plain_sha256` are the archive's own; of what says so of
    a backup, `needs` are the archives (their paths) that it wants, and `plain_bytes` is what its own files weigh. Of a
    piece of a file, `plain_bytes` is how much of it that is, `plain_sha256` the digest of the file up to the piece's
    end, and `made` stands for how pieces were made then: it counts only while they are made so.
    """

    at: datetime
    did: Did
    object: str
    bytes: int = 0
    sha256: str = ""
    md5: str = ""
    plain_bytes: int = 0
    plain_sha256: str = ""
    needs: tuple[str, ...] = ()
    made: str = ""


_LINES = Codec(Line, sparse=("bytes", "sha256", "md5", "plain_bytes", "plain_sha256", "needs", "made"))


@dataclass(slots=True)
class There:
    """What lies at an offsite of one job, as far as the journal tells. `lines` is how long that is, `torn` included."""

    objects: dict[str, Line] = field(default_factory=dict)
    lines: int = 0
    torn: int = 0

    def note(self, line: Line) -> None:
        """One more act."""
        self.lines += 1
        if line.did is Did.PUT:
            self.objects[line.object] = line
        else:
            self.objects.pop(line.object, None)

    @property
    def archives(self) -> dict[str, Line]:
        """The archives that are complete there, by their paths in the job, and the lines of their sums."""
        named = ((layout.summed_archive(name), line) for name, line in self.objects.items())
        return {path: line for path, line in named if path is not None}

    @property
    def backups(self) -> dict[str, Line]:
        """The backups that are complete there, with all the archives that they need; the lines of their sums."""
        whole = self.archives.keys()
        return {backup: line for backup, line in self.marked.items() if whole >= set(line.needs)}

    def whole(self, damaged: Iterable[str]) -> dict[str, Line]:
        """As `backups`, but for those that are, or need, what has `damaged` objects."""
        broken = {layout.owner(name) for name in damaged}
        return {
            backup: line
            for backup, line in self.backups.items()
            if backup not in broken and broken.isdisjoint(line.needs)
        }

    @property
    def marked(self) -> dict[str, Line]:
        """The backups whose sums are there, whether or not something that they need has gone since."""
        named = ((layout.summed_backup(name), line) for name, line in self.objects.items())
        return {backup: line for backup, line in named if backup is not None}

    @property
    def bytes(self) -> int:
        """What all of it weighs there."""
        return sum(line.bytes for line in self.objects.values())

    def of(self, owner: str) -> dict[str, Line]:
        """The objects of one archive (its path in the job), or of one backup (its id)."""
        return {name: line for name, line in self.objects.items() if layout.owner(name) == owner}

    def by_owner(self) -> Mapping[str, Mapping[str, Line]]:
        """All objects, by what they are a part of."""
        found: dict[str, dict[str, Line]] = {}
        for name, line in self.objects.items():
            found.setdefault(layout.owner(name) or "", {})[name] = line
        return found

    @property
    def is_long(self) -> bool:
        """Whether most of the journal tells of what is past."""
        return self.lines > _LEAST_COMPACTED and self.lines > 2 * len(self.objects)


def dump(line: Line) -> bytes:
    """One line of the journal, with its end."""
    return _LINES.dump(line)


def dump_all(lines: Iterable[Line]) -> bytes:
    """Many of them."""
    return b"".join(map(dump, lines))


def replay(lines: Iterable[bytes]) -> There:
    """What is there by the lines of a journal, each with its end; what cannot be read is counted."""
    there = There()
    for line in lines:
        found = _loaded(line)
        if found is None:
            there.lines += 1
            there.torn += 1
        else:
            there.note(found)
    return there


def split(content: bytes) -> Iterator[bytes]:
    """The lines of a journal, each with its end if it has one."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        yield content[start:end]
        start = end


def _loaded(line: bytes) -> Line | None:
    if not line.endswith(b"\n") or len(line) > LONGEST_LINE:
        return None
    try:
        found = _LINES.load(line)
    except RecordError:
        return None
    return found if layout.is_object(found.object) else None
