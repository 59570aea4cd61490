"""Archives leave this machine once an offsite is seen to have them whole (`keep_local = "newest"`)."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.layout import ARCHIVES
from hiveden_backup.core.backup.stub import Stub
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BusyError, CorruptError, NotFoundError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Line
from hiveden_backup.core.offsite.sums import ArchiveSums, load_archive
from hiveden_backup.host.disk import archives
from hiveden_backup.host.disk.durable import digest, make_directory, translated
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.listing import Object
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.host.state.offsites import LockedOffsite, Offsites
from hiveden_backup.jobs.backups.ownership import owned
from hiveden_backup.jobs.backups.whereabouts import whereabouts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import Draft, draft, missing
from hiveden_backup.jobs.offsite.place import host_of, insist_on_own

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")


def evict_if_wanted(installation: Installation, locked: LockedOffsite, remote: Remote, job: Job) -> tuple[str, ...]:
    """Remove the job's archives that `remote` has whole, and that somebody can decrypt there; their paths.

    A fresh listing and their sums there must agree with what was sent; what the place tells no digest of is read back.
    A stub stands in each one's place. Nothing goes that another offsite is to get, or while a run that was broken off
    waits for the next one, or something else is done with the job: it is done after the next push, or by a run that
    waits for room.
    """
    name, host = remote.offsite.name, host_of(installation, remote.offsite)
    if not remote.offsite.keeps_newest or host is None:
        return ()
    where = whereabouts(installation, installation.own_directory, job.name)
    offered = where.here & where.there[name].keys() - installation.records.failed_archives(job.name)
    going = sorted(offered - _owed(installation, job, name, where.here))
    if not going:
        return ()
    insist_on_own(installation, remote, host)
    seeing = _Seeing(installation, locked, remote, job.name, layout.job_object(host, job.name))
    proven = seeing.proven(going)
    if len(proven) < len(going):
        stay = len(going) - len(proven)
        log.warning(
            f"{stay} of {len(going)} archives stay on this machine: the offsite {name} does not have them as they were"
            f" sent, for today's keys. Compare all of it: hiveden-backup offsite reconcile {name} {job.name}",
            job=job.name,
        )
    try:
        with job_lock(installation.state, job.name) as exclusive, translated(f"removing archives of {job.name}"):
            directory = owned(installation, installation.own_directory, exclusive).directory
            if installation.broken_off(job.name).exists():
                return ()
            lying = {path for path in directory.archives(job.name) if (directory.job_path(job.name) / path).is_file()}
            gone = [path for path in proven if path in lying]
            for path in gone:
                whole = proven[path].archive
                others = tuple(each for each in where.names(path) if each != name)
                archives.evict(directory, job.name, Stub(path, whole.bytes, whole.sha256, (name, *others)))
    except BusyError:
        log.info(f"The archives of {job.name} stay for now: something else is done with the job", job=job.name)
        Offsites(installation.state).put_proven(locked, job.name, installation.now(), proven)
        return ()
    if gone:
        freed = sum(proven[path].archive.bytes for path in gone)
        what = f"{len(gone)} archives are" if len(gone) > 1 else "An archive is"
        log.info(f"{what} at the offsite {name} alone from now on", job=job.name, bytes=freed)
    return tuple(gone)


def _owed(installation: Installation, job: Job, name: str, here: frozenset[str]) -> set[str]:
    """What other offsites of the job are to get, and do not have yet; all of it where that cannot be told."""
    owed = set[str]()
    for other in installation.config.offsites_of(job):
        if other.name == name:
            continue
        planned = draft(installation, other, job)
        if not isinstance(planned, Draft):
            return set(here)
        there = Offsites(installation.state).there(other.name, job.name)
        owed.update(missing(planned.known, there, planned.backups), (each.path for each in planned.early))
    return owed


@dataclass(frozen=True, slots=True)
class _Seeing:
    """Looks at one offsite whether it has a job's archives; `folder` is the job's there."""

    installation: Installation
    locked: LockedOffsite
    remote: Remote
    job: str
    folder: str

    def proven(self, paths: Sequence[str]) -> dict[str, ArchiveSums]:
        """Those of the archives that are there whole, and their sums."""
        known = Offsites(self.installation.state).there(self.locked.name, self.job)
        listed = {each.name: each for each in self.remote.list(f"{self.folder}/{ARCHIVES}", digests=True)}
        found = {}
        for path in paths:
            lines = known.of(path)
            objects = {name: listed.get(f"{self.folder}/{name}") for name in lines}
            if all(_as_listed(objects[name], line) for name, line in lines.items()):
                sums = self._sums(path, lines)
                unread = [line for name, line in lines.items() if not _is_compared(objects[name], line)]
                if sums is not None and all(self._is_as_sent(line) for line in unread):
                    found[path] = sums
        return found

    def _sums(self, path: str, lines: Mapping[str, Line]) -> ArchiveSums | None:
        """What the sums of an archive say there: what this host wrote, of what it has sent, for today's keys."""
        sums = layout.archive_sums(path)
        try:
            content = self.remote.read(f"{self.folder}/{sums}", layout.LONGEST_SUMS)
        except (NotFoundError, CorruptError):  # rclone says that something is not there, too, where it was refused
            return None
        if hashlib.sha256(content).hexdigest() != lines[sums].sha256:
            return None
        found = load_archive(content)
        pieces = {f"{ARCHIVES}/{each.name}": (each.bytes, each.sha256) for each in found.pieces}
        sent = {name: (lines[name].bytes, lines[name].sha256) for name in pieces if name in lines}
        today = {" ".join(each.split()[:2]) for each in self.remote.offsite.recipients}
        opened = not found.recipients or bool(today & {*found.recipients})
        return found if pieces == sent and opened else None

    def _is_as_sent(self, line: Line) -> bool:
        """Whether an object was read back since it was sent; it is now, where it was not: a size alone says little."""
        offsites = Offsites(self.installation.state)
        checked = offsites.checked(self.locked.name, self.job)
        if checked.when(line) is not None:
            return True
        spool = offsites.spool(self.locked.name)
        with translated(f"writing below {spool}"):
            make_directory(spool)
        with tempfile.TemporaryDirectory(prefix="seen-", dir=spool) as folder:
            place = Path(folder, "object")
            try:
                self.remote.get(f"{self.folder}/{line.object}", place, line.bytes)
            except (NotFoundError, CorruptError):
                return False
            if digest(place, line.bytes) != (line.bytes, line.sha256):
                return False
        there = offsites.there(self.locked.name, self.job).objects
        now = self.installation.now()
        offsites.put_checked(self.locked, self.job, checked.and_read(now, line.bytes, [line.object], there))
        return True


def _as_listed(found: Object | None, line: Line) -> bool:
    if found is None or found.bytes != line.bytes:
        return False
    return not (found.md5 and line.md5) or found.md5 == line.md5


def _is_compared(found: Object | None, line: Line) -> bool:
    """Whether the listing has told the digest of an object, and not its size alone."""
    return found is not None and bool(found.md5 and line.md5)
