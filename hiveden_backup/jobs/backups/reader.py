"""Archives read whole, each once and several at a time, and what is remembered of those that are what was written."""

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from hiveden_backup.core.backup.seen import Seen
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, CorruptError, StorageError
from hiveden_backup.core.model import Archive
from hiveden_backup.core.progress import Step
from hiveden_backup.host.disk import tar
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.mounts import mount_of, mounts
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.locks import LockedJob
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.whereabouts import Whereabouts, whereabouts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.at_once import several, workers

_REMEMBERED_SECONDS = 5.0  # what a kill may lose of them, beside the archives in hand
_SHOWN = 5

_Place = tuple[str, str]  # job and path
_Content = tuple[str, int]  # digest and size: what else a manifest says of an archive changes


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading an archive gave: a `listing` of its members, or an `error`.

    Neither for one that was not read, since an earlier verify has. `at` is when it was. Nor for one that is `away`: it
    lies at an offsite alone.
    """

    at: datetime
    listing: Path | None = None
    error: BackupError | None = None
    away: bool = False


@dataclass(slots=True)
class Reader:
    """Reads the archives of backups that are verified one after another. Listings are kept in the directory `spool`.

    With `changed`, an archive that an earlier verify has read is only looked at, as long as its file looks as it did.
    """

    installation: Installation
    directory: BackupDirectory
    spool: Path
    changed: bool
    archives: int = 0
    bytes: int = 0
    passed_over: int = 0
    away: int = 0
    _readings: defaultdict[_Place, dict[_Content, Reading]] = field(default_factory=lambda: defaultdict(dict))
    _needed: Counter[_Place] = field(default_factory=Counter)
    _seen: dict[str, Mapping[str, Seen]] = field(default_factory=dict)
    _new: dict[str, Seen] = field(default_factory=dict)
    _damaged: set[str] = field(default_factory=set)
    _where: dict[str, Whereabouts] = field(default_factory=dict)
    _remembered: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, backups: Iterable[Backup]) -> None:
        """These will be asked for: listings stay as long as one of them needs it, and the progress has a total."""
        for backup in backups:
            self._needed.update((backup.job, name) for name in self._named(backup.job, backup.id))
        total = 0
        for job, name in self._needed:
            with suppress(OSError):
                found = (self.directory.job_path(job) / name).lstat()
                seen = self._known(job).get(name)
                total += 0 if seen is not None and seen.untouched(found) else found.st_size
        self.installation.progress.begin(Step.VERIFY, total)

    def read(self, job: LockedJob, archives: Iterable[Archive]) -> None:
        """Read those of these archives that were not read yet, and remember durably which were whole."""
        wanted = {(each.path, *_content(each)): each for each in archives}.values()
        todo = [each for each in wanted if _content(each) not in self._readings[job.name, each.path]]
        try:
            several(todo, partial(self._read, job.name), workers())
        finally:
            self._remember(job.name)

    def of(self, job: str, archive: Archive) -> Reading:
        """What reading an archive gave."""
        return self._readings[job, archive.path][_content(archive)]

    def done(self, backup: Backup) -> None:
        """A backup that was expected is done with: drop the listings that no further one needs."""
        for name in self._named(backup.job, backup.id):
            place = backup.job, name
            self._needed[place] -= 1
            if self._needed[place] <= 0:
                for reading in self._readings.pop(place, {}).values():
                    if reading.listing is not None:
                        reading.listing.unlink(missing_ok=True)

    # ---- several at a time

    def _read(self, job: str, archive: Archive, brake: Brake) -> None:
        try:
            self._readings[job, archive.path][_content(archive)] = self._reading(job, archive, brake)
        except BackupError as error:
            if brake.pulled:
                raise
            self._readings[job, archive.path][_content(archive)] = Reading(self.installation.now(), error=error)

    def _reading(self, job: str, archive: Archive, brake: Brake) -> Reading:
        """One archive, which is looked at before and after, so that only what stood still meanwhile is remembered."""
        path, now = self.directory.job_path(job) / archive.path, self.installation.now()
        before = _looked_at(path)
        seen = self._known(job).get(archive.path)
        if before is not None and seen is not None and seen.is_of(archive) and seen.untouched(before):
            with self._lock:
                self.passed_over += 1
            return Reading(seen.at)
        if before is None and self._is_away(job, archive):
            return Reading(now, away=True)
        try:
            listing = self._listed(job, archive, brake)
        except CorruptError as error:
            with self._lock:
                self._damaged.add(archive.path)
                self._new.pop(archive.path, None)
            return Reading(now, error=self._with_needing(job, archive, error))
        after = _looked_at(path)
        if before is not None and after is not None:
            seen = Seen.of(archive, before, now)
            if seen.untouched(after):
                with self._lock:
                    self._new[archive.path] = seen
                    if time.monotonic() - self._remembered > _REMEMBERED_SECONDS:
                        with suppress(BackupError):  # it is tried again in the end
                            self._write(job)
        failpoint("verify")
        return Reading(now, listing)

    def _at_hand(self, job: str, archive: Archive, brake: Brake) -> AbstractContextManager[Path]:
        """Where it is read: what is missing here is damage, whatever its stub says."""
        if self.installation.elsewhere is None:
            return nullcontext(self.directory.job_path(job) / archive.path)
        return self.installation.at_hand(job, archive.path, archive, brake)

    def _is_away(self, job: str, archive: Archive) -> bool:
        """Whether an archive that is not here lies at an offsite, where it is not read from."""
        if self.installation.elsewhere is not None:
            return False
        with self._lock:
            if job not in self._where:
                self._where[job] = whereabouts(self.installation, self.directory, job)
            away = self._where[job].away(archive)
            self.away += away
        return away

    def _listed(self, job: str, archive: Archive, brake: Brake) -> Path:
        with self._lock:
            self.archives += 1
            listing = self.spool / f"{self.archives}.listing"

        def advance(count: int) -> None:
            brake.insist()
            with self._lock:
                self.bytes += count
                self.installation.progress.advance(count)

        try:
            with (
                self._at_hand(job, archive, brake) as path,
                translated(f"writing the list {listing}", unwritable=StorageError),
            ):
                tar.list_members(path, archive.bytes, archive.sha256, listing, progress=advance, brake=brake)
        except BaseException:
            listing.unlink(missing_ok=True)
            raise
        return listing

    # ---- what is remembered

    def _known(self, job: str) -> Mapping[str, Seen]:
        """What need not be read: nothing of what some backup's last verify found damaged."""
        if not self.changed or mount_of(os.path.realpath(self.directory.job_path(job)), mounts()).loose:
            return {}  # times of network and FUSE file systems prove nothing
        if job not in self._seen:
            failed = self.installation.records.failed_archives(job)
            seen = self.installation.records.seen(job).archives
            self._seen[job] = {path: each for path, each in seen.items() if path not in failed}
        return self._seen[job]

    def _remember(self, job: str) -> None:
        with self._lock:
            self._write(job)

    def _write(self, job: str) -> None:
        if (self._new or self._damaged) and self.installation.elsewhere is None:
            self.installation.records.renew_seen(job, self._new, self._damaged)
        self._new, self._damaged, self._remembered = {}, set(), time.monotonic()

    # ---- who needs it

    def _with_needing(self, job: str, archive: Archive, error: CorruptError) -> CorruptError:
        """The error, with all backups of the job that need the archive."""
        needing = [f"{job}/{each}" for each in self.directory.backups(job) if archive.path in self._named(job, each)]
        more = f" and {len(needing) - _SHOWN} more" if len(needing) > _SHOWN else ""
        who = f"{', '.join(needing[:_SHOWN])}{more} {'needs' if len(needing) == 1 else 'need'} it" if needing else ""
        return CorruptError(error.what, "; ".join(filter(None, (error.why, who))), error.hint)

    def _named(self, job: str, backup: str) -> Iterator[str]:
        """The archives that a backup names; none of one that cannot be read, which its own verification will tell."""
        with suppress(BackupError):
            yield from self.directory.archive_names(job, backup)


def _content(archive: Archive) -> _Content:
    return archive.sha256, archive.bytes


def _looked_at(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
