"""Room for a pass whose archives leave this machine while it goes on: a first run needs room for a few, not for all.

A push sends what a pass has complete, as it sends all else, and says what it has seen to be whole at an offsite. What
is here is changed by who holds the job's lock alone, so the run lets go of it itself, when it needs the room.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from hiveden_backup.core.backup.stub import Stub
from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import DirectoryError
from hiveden_backup.core.model import Archive
from hiveden_backup.core.sizes import text as size
from hiveden_backup.host.disk import archives
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.mounts import free_bytes
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.log import log
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.backups.ownership import OwnJob
from hiveden_backup.jobs.backups.whereabouts import whereabouts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.onward import send_begun
from hiveden_backup.jobs.services.at_once import workers

SPARE = 16 << 20
"""Bytes that stay free, for what is small."""
_LOOK_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
_PATIENCE = 3 * 3600.0
"""How long, in seconds, a pass waits while nothing more comes to any offsite."""
_FRESH = timedelta(minutes=15)


def leaves(offsites: Iterable[Offsite]) -> bool:
    """Whether the archives of a job that goes to these leave this machine."""
    return any(each.keeps_newest for each in offsites)


def for_a_few(archive_bytes: int) -> int:
    """The room, in bytes, for those archives of this size that are made at a time, and those on their way."""
    return (workers() + 2) * archive_bytes


@dataclass(slots=True)
class _Waiting:
    """How long nothing has moved, and when what is complete is asked for again."""

    since: float = field(default_factory=time.monotonic)
    seen: int = -1
    pause: float = _FIRST_PAUSE
    asked: float = -_LONGEST_PAUSE

    def hear(self, moved: int) -> None:
        """So much has come to the offsites."""
        if moved != self.seen:
            self.since, self.seen, self.pause = time.monotonic(), moved, _FIRST_PAUSE

    def may_ask(self) -> bool:
        """Whether it is time to ask again: less and less often while nothing moves."""
        now = time.monotonic()
        if now - self.asked < self.pause:
            return False
        self.asked, self.pause = now, min(2 * self.pause, _LONGEST_PAUSE)
        return True


class Room:
    """What a run may still write to the backup directory, and what can leave that for it.

    `begun` are archives of the job that no backup may name yet.
    """

    def __init__(self, installation: Installation, own: OwnJob, job: Job, begun: Iterable[Archive]) -> None:
        self._installation = installation
        self._directory: BackupDirectory = own.directory
        self._job = job
        self._offsites = installation.config.offsites_of(job)
        home = own.directory.job_path(job.name)
        self._complete = {each.path: each for each in begun if (home / each.path).is_file()}
        self._claimed = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting = _Waiting()
        self._told = False

    def add(self, archive: Archive) -> None:
        """One more archive is complete, where backups name it, and remembered; it may leave."""
        if leaves(self._offsites):
            with self._lock:
                self._complete[archive.path] = archive
            send_begun(self._installation, self._job, wait_for_it=None)

    @contextmanager
    def claimed(self, weight: int, brake: Brake) -> Iterator[None]:
        """For an archive of that weight, begin the block when there is room: at once where none can be made.

        DirectoryError when it could be made, and nothing comes to an offsite any more.
        """
        if not leaves(self._offsites):
            yield
            return
        while not self._claim(weight):
            brake.insist()
            if self._turn.acquire(timeout=_LOOK_SECONDS):
                try:
                    self._make(brake)
                finally:
                    self._turn.release()
        try:
            yield
        finally:
            with self._lock:
                self._claimed -= weight

    def make(self, wanted: int) -> None:
        """Wait for so much room, for what comes after a pass, as long as any can be made."""
        try:
            with self.claimed(wanted, Brake()):
                return
        except DirectoryError as error:  # it may be enough all the same
            log.warning(str(error), job=self._job.name)

    def _claim(self, weight: int) -> bool:
        with self._lock:
            fits = self._claimed + weight + SPARE <= self._free()
            if fits or not (self._claimed or self._complete):
                self._claimed += weight
                return True
            return False

    def _free(self) -> int:
        with translated(f"looking at the backup directory {self._directory.path}"):
            return free_bytes(self._directory.path)

    def _make(self, brake: Brake) -> None:
        """Let go what may go, or ask for that, and wait a little."""
        if not self._complete:  # others are in the making
            time.sleep(_LOOK_SECONDS)
            return
        if self._let_go():
            self._waiting = _Waiting()
            return
        waiting, offsites = self._waiting, Offsites(self._installation.state)
        places = " and ".join(each.name for each in self._offsites)
        waiting.hear(sum(len(offsites.there(each.name, self._job.name).objects) for each in self._offsites))
        if not self._told:
            log.info(f"{size(self._free())} free: what is archived goes to {places} first", job=self._job.name)
            self._told = True
        if time.monotonic() - waiting.since > _PATIENCE:
            errors = (offsites.facts(each.name, self._job.name).error for each in self._offsites)
            raise DirectoryError(
                f"The backup directory has {size(self._free())} free, and for {_PATIENCE / 3600:.0f} hours nothing has"
                f" left it for {places}",
                next(filter(None, errors), ""),
                "Look at `hiveden-backup offsite status`; the next run goes on with what this one has archived",
            )
        if waiting.may_ask():
            send_begun(self._installation, self._job, wait_for_it=brake)
        time.sleep(_LOOK_SECONDS)

    def _let_go(self) -> bool:
        """Remove what a push has just seen to be whole there, and what all offsites of the job have; whether any."""
        job, offsites = self._job.name, Offsites(self._installation.state)
        since = self._installation.now() - _FRESH
        proven = {
            path for each in self._offsites if each.keeps_newest for path in offsites.proven(each.name, job, since)
        }
        where = whereabouts(self._installation, self._directory, job)
        wanted = {each.name for each in self._offsites}
        with self._lock:
            complete = tuple(self._complete.values())
        going = [
            each
            for each in complete
            if each.path in proven and where.has(each) and wanted.issubset(where.names(each.path))
        ]
        for archive in going:
            stub = Stub(archive.path, archive.bytes, archive.sha256, where.names(archive.path))
            with translated(f"removing archives of {job}"):
                archives.evict(self._directory, job, stub)
            with self._lock:
                del self._complete[archive.path]
        if going:
            freed = sum(each.bytes for each in going)
            log.info(f"{len(going)} archives are elsewhere alone from now on", job=job, bytes=freed)
        return bool(going)
