"""What lies at an offsite, read back: least recently checked first, and no more in a month than its budget.

Each object is held against the digest in its sums, and those against this host's key. With an identity, and where
nothing is encrypted, what it holds is held against the digest of the file as it was here.
"""

import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import CorruptError, NotFoundError, StorageError, UnreachableError
from hiveden_backup.core.names import iso
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.checked import NEVER, Checked
from hiveden_backup.core.offsite.compare import Wrong
from hiveden_backup.core.offsite.journal import There
from hiveden_backup.core.offsite.sums import ArchiveSums, BackupSums, Content, Piece
from hiveden_backup.host.disk.durable import digest, make_directory, opened, pieces, translated
from hiveden_backup.host.disk.spool import swept_spool
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.later import Later
from hiveden_backup.host.offsite import age
from hiveden_backup.host.offsite.errors import ClockError
from hiveden_backup.jobs.offsite.findings import Finding, settle
from hiveden_backup.jobs.offsite.proving import Proven, UnreadError, proven, unread
from hiveden_backup.jobs.offsite.visit import Visit, here

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_AGE = ".age"
_SPOOL = "read-"
_OFTEN = 64
_MOST_UNREAD = 8
"""So many objects may not come, of those that are listed, before the place counts as one that does not answer."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it, for one job. Of the `objects` there, so many were `read`, so many bytes.

    `since` is when that one was read which was so longest ago; None while one was never. `left` is what of the month's
    budget is left.
    """

    job: str
    objects: int
    read: int
    bytes: int
    findings: tuple[Finding, ...]
    since: datetime | None
    left: int

    def table(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "job": self.job,
            "objects": self.objects,
            "read": self.read,
            "bytes": self.bytes,
            "findings": [each.table() for each in self.findings],
            "since": iso(self.since) if self.since is not None else None,
            "left": self.left,
        }


def verify(visit: Visit, identity: Path | None = None, most: int | None = None) -> Verified:
    """Read back what is next, within the budget, and within `most` bytes where that is given.

    What was read before this is broken off counts. DeniedError for an identity that does not fit.
    """
    offsite, now = visit.remote.offsite, visit.installation.now()
    spent = visit.offsites.read_in(offsite.name, now)
    left = max(offsite.verify_budget - spent, 0)
    folder = visit.offsites.spool(offsite.name)
    with translated(f"writing below {folder}", unwritable=StorageError):
        make_directory(folder)
    with swept_spool(folder, _SPOOL) as spool:
        reading = _Reading(visit, visit.there(), identity, spool, left if most is None else min(left, most))
        if identity is not None:
            age.usable(identity, offsite.recipients)
        try:
            for unit in reading.units():
                if not reading.fits(unit, unspent=not spent):
                    break
                failpoint("offsite-verify")
                reading.read(unit)
        finally:
            findings = reading.conclude()
        reading.insist()
    return Verified(
        job=visit.job,
        objects=len(reading.there.objects),
        read=reading.count,
        bytes=reading.came,
        findings=findings,
        since=_since(visit, reading.there),
        left=max(left - reading.came, 0),
    )


def _since(visit: Visit, there: There) -> datetime | None:
    """Since when all that is complete there was read; None when something of it never was."""
    checked = visit.offsites.checked(visit.locked.name, visit.job)
    moments = [checked.when(there.objects[name]) for name in _of_complete(there)]
    return min((each for each in moments if each is not None), default=None) if None not in moments else None


def _of_complete(there: There) -> Iterator[str]:
    """The objects of what has its sums there, but for these and their signatures."""
    for of, objects in there.by_owner().items():
        if _sums_of(of) in objects:
            yield from (name for name in objects if not name.startswith(_sums_of(of)))


def _sums_of(of: str) -> str:
    return layout.archive_sums(of) if "/" in of else layout.backup_sums(of)


@dataclass(slots=True)
class _Reading:
    """One reading. `good` and `wrong` are objects, `came` the bytes that were read, of a `budget`.

    `unread` are objects that are listed, and that nothing came of.
    """

    visit: Visit
    there: There
    identity: Path | None
    spool: Path
    budget: int
    came: int = 0
    count: int = 0
    good: set[str] = field(default_factory=set)
    wrong: dict[str, Wrong] = field(default_factory=dict)
    unread: dict[str, UnreadError] = field(default_factory=dict)
    _proofs: dict[str, Proven | Wrong] = field(default_factory=dict)
    _listed: dict[str, dict[str, int]] = field(default_factory=dict)
    _before: Checked = field(init=False)

    def __post_init__(self) -> None:
        self._before = self.visit.offsites.checked(self.visit.locked.name, self.visit.job)

    def units(self) -> list[tuple[str, ...]]:
        """What is read at once, in that order: an object, or all of its archive or backup where content is looked at.

        First what was found damaged, then what was not read for longest.
        """
        facts, objects = self.visit.facts(), self.there.objects
        units: dict[str, tuple[str, ...]] = {}
        for name in _of_complete(self.there):
            key = layout.owner(name) or name if self._decodes else name
            units[key] = (*units.get(key, ()), name)

        def first(unit: tuple[str, ...]) -> tuple[bool, datetime]:
            moments = [self._before.when(objects[name]) or NEVER for name in unit]
            return set(facts.damaged).isdisjoint(unit), min(moments)

        return sorted(units.values(), key=first)

    @property
    def _decodes(self) -> bool:
        return self.identity is not None or not self.visit.remote.offsite.encrypt

    def fits(self, unit: Sequence[str], *, unspent: bool) -> bool:
        """Whether the budget has room for it; for one thing, if nothing was read this month, it always has."""
        sums = _sums_of(layout.owner(unit[0]) or "")
        all_names = {*unit} if sums in self._proofs else {*unit, sums, layout.signature_of(sums)}
        size = sum(line.bytes for name in all_names if (line := self.there.objects.get(name)) is not None)
        return self.came + size <= self.budget or (unspent and not self.came and self.budget > 0)

    def read(self, unit: Sequence[str]) -> None:
        """Read it, and hold it against what was sent."""
        sums = _sums_of(layout.owner(unit[0]) or "")
        if sums in self.unread:
            return
        try:
            proof = self._proven(sums)
        except UnreadError as error:
            self.unread[sums] = error
            return
        if isinstance(proof, Wrong):
            self.wrong[sums] = proof
            return
        folder = sums.rpartition("/")[0]
        known = {f"{folder}/{piece.name}": piece for piece in proof.sums.pieces}
        if any(name not in known or known[name].sha256 != self.there.objects[name].sha256 for name in unit):
            self.wrong[sums] = Wrong.REPLACED  # by older ones of ours
        elif self._decodes:
            for content, parts in _contents(proof.sums):
                self._decode(content, [f"{folder}/{piece.name}" for piece in parts], proof.sums.recipients)
        else:
            for name in unit:
                self._fetch(name).unlink(missing_ok=True)
        if len(self.good) % _OFTEN == 0:
            self._note()

    def _proven(self, sums: str) -> Proven | Wrong:
        if sums not in self._proofs:
            self._proofs[sums] = found = proven(self.visit, sums, self._size)
            if isinstance(found, Proven):
                self.came += found.bytes
                self.good.update(found.contents)
        return self._proofs[sums]

    def _fetch(self, name: str) -> Path:
        """Fetch an object, and note whether it is good: it is there then, for a moment."""
        line, target = self.there.objects[name], self.spool / "object"
        self.count += 1
        try:
            size = self.visit.remote.get(self.visit.at(name), target, line.bytes)
        except NotFoundError:
            if listed := self._size(name):
                self.unread[name] = unread(self.visit, name)
            else:
                self.wrong[name] = Wrong.MISSING if listed is None else Wrong.TRUNCATED
            return target
        except UnreachableError as error:  # newer rclones say so where 1.60 finds nothing
            self.visit.remote.brake.insist()
            if isinstance(error, ClockError) or len(self.unread) >= _MOST_UNREAD or not self._size(name):
                raise
            self.unread[name] = unread(self.visit, name)
            return target
        except CorruptError:
            self.wrong[name] = Wrong.REPLACED
            return target
        self.came += size
        if size != line.bytes:
            self.wrong[name] = Wrong.TRUNCATED
        elif digest(target)[1] != line.sha256:
            self.wrong[name] = Wrong.REPLACED
        else:
            self.good.add(name)
        return target

    def _size(self, name: str) -> int | None:
        """What a listing says of an object, None where that has it not: not to be read is not to be gone."""
        folder = self.visit.at(name).rpartition("/")[0]
        if folder not in self._listed:
            self._listed[folder] = {each.name: each.bytes for each in self.visit.remote.list(folder)}
        return self._listed[folder].get(self.visit.at(name))

    def _decode(self, content: Content, names: Sequence[str], recipients: Sequence[str]) -> None:
        """Fetch all objects of a file, and hold what they hold against its digest."""
        whole, size = hashlib.sha256(), 0
        for name in names:
            path = self._fetch(name)
            if name in self.good:
                try:
                    for piece in self._plain(path, name, recipients):
                        whole.update(piece)
                        size += len(piece)
                except CorruptError:
                    self.good.discard(name)
                    self.wrong[name] = Wrong.UNREADABLE
            path.unlink(missing_ok=True)
        if self.good.issuperset(names) and (size, whole.hexdigest()) != (content.bytes, content.sha256):
            self.good.difference_update(names)
            self.wrong.update(dict.fromkeys(names, Wrong.UNREADABLE))

    def _plain(self, path: Path, name: str, recipients: Sequence[str]) -> Iterator[bytes]:
        """What an object holds. CorruptError when it cannot be decrypted."""
        with opened(path) as source, tempfile.TemporaryFile(dir=self.spool) as target:
            if not name.endswith(_AGE):
                yield from pieces(source)
                return
            age.decrypt(source, self.identity, target.fileno(), recipients)
            target.seek(0)
            yield from pieces(target)

    def _note(self) -> None:
        read = self._before.and_read(self.visit.installation.now(), self.came, self.good, self.there.objects)
        self.visit.offsites.put_checked(self.visit.locked, self.visit.job, read)

    def conclude(self) -> tuple[Finding, ...]:
        """Remember what was read, and what was wrong: so is what could not be read where other things could be."""
        self._note()
        if self.good:
            self.wrong.update(dict.fromkeys(self.unread, Wrong.UNREADABLE))
        at_hand = here(self.visit.installation, self.visit.job)
        return settle(self.visit, self.there, at_hand, self.wrong, good=self.good)

    def insist(self) -> None:
        """UnreadError when nothing at all could be read: that says nothing about what is there."""
        if self.unread and not self.good:
            raise next(iter(self.unread.values()))


def _contents(sums: ArchiveSums | BackupSums) -> Iterator[tuple[Content, Sequence[Piece]]]:
    """The files that something consists of, each with the objects that it lies in."""
    if isinstance(sums, ArchiveSums):
        yield sums.archive, sums.pieces
    else:
        yield from ((file, sums.pieces_of(file.path)) for file in sums.files)
