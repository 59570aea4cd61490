"""Room for a pass whose archives leave this machine while it goes on: a first run needs room for a few, not for all.

A push sends what a pass has complete, as it sends all else, and says what it has seen to be whole at an offsite. What
is here is changed by who holds the job's lock alone, so the run lets go of it itself, when it needs the room.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from hiveden_backup.core.backup.stub import Stub
from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import StorageError
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
from hiveden_backup.jobs.run.broken_off import begun, begun_here
from hiveden_backup.jobs.run.onward import send_begun
from hiveden_backup.jobs.services.at_once import workers

SPARE = 16 << 20
"""Bytes that stay free, for what is small."""
_SLICES = 3
"""How many of an offsite's are in its spool at a time, at most: two on their way, and one that is read back."""
_LOOK_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
_PATIENCE = 3 * 3600.0
"""How long, in seconds, a pass waits while nothing more comes to any offsite."""
_FRESH = timedelta(minutes=15)
_LONG = 300.0
"""After so many seconds of waiting, what was archived is no longer what there is."""


def leaves(offsites: Iterable[Offsite]) -> bool:
    """Whether the archives of a job that goes to these leave this machine."""
    return any(each.keeps_newest for each in offsites)


def spare(state: Path, directory: Path, offsites: Sequence[Offsite]) -> int:
    """The bytes to stay free in the backup directory: also for slices, where the state directory lies there."""
    with translated(f"looking at {directory}"):
        is_shared = leaves(offsites) and os.stat(state).st_dev == os.stat(directory).st_dev
    return SPARE + is_shared * _SLICES * sum(each.slice for each in offsites)


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

    What was begun for the next backup is there already, and may leave. So many bytes of lists are to be written, too.
    """

    def __init__(self, installation: Installation, own: OwnJob, job: Job, lists: int) -> None:
        self._installation = installation
        self._directory: BackupDirectory = own.directory
        self._job = job
        self._offsites = installation.config.offsites_of(job)
        self._leaves = leaves(self._offsites)
        self._spare = spare(installation.state, own.directory.path, self._offsites) + 2 * lists
        before = begun_here(installation, own.directory, job.name) if self._leaves else ()
        self._complete = {each.path: each for each in before}
        self._claimed = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting = _Waiting()
        self._told = self._hopeless = False
        self._waited = 0.0

    def add(self, archive: Archive) -> None:
        """One more archive is complete, where backups name it, and remembered; it may leave."""
        if self._leaves:
            with self._lock:
                self._complete[archive.path] = archive
            send_begun(self._installation, self._job, wait_for_it=None)

    @contextmanager
    def claimed(self, weight: int, brake: Brake) -> Iterator[None]:
        """For an archive of that weight, begin the block when there is room, or when no more can be made."""
        if not self._leaves:
            yield
            return
        began = time.monotonic()
        while not self._claim(weight):
            brake.insist()
            if self._turn.acquire(timeout=_LOOK_SECONDS):
                try:
                    self._make(brake)
                finally:
                    self._turn.release()
        self._waited = max(self._waited, time.monotonic() - began)
        self._waiting = _Waiting()
        try:
            yield
        finally:
            with self._lock:
                self._claimed -= weight

    def make(self, wanted: int) -> None:
        """Wait for so much room, for what comes after a pass, as long as any can be made."""
        with self.claimed(wanted, Brake()):
            pass

    def was_slow(self) -> bool:
        """Whether somebody waited for so long that there is more to archive by now; it is forgotten then."""
        waited, self._waited = self._waited, 0.0
        return waited > _LONG

    def insist_on(self, needed: Sequence[Archive]) -> None:
        """StorageError unless all of these are here, or at an offsite: some left long before a backup names them."""
        if not self._leaves:
            return
        job = self._job.name
        lost = archives.missing_archives(self._directory, job, [(each.path, each.bytes) for each in needed])
        if not lost:
            return
        where = whereabouts(self._installation, self._directory, job)
        for each in needed:
            if each.path in lost and not where.has(each):
                raise StorageError(
                    f"{each.path} of {job} is neither here nor at an offsite any more",
                    "It was there when it left this machine, and was found missing or damaged there since",
                    "Run it again: what it held is archived again. And look at `hiveden-backup offsite status`",
                )

    def _claim(self, weight: int) -> bool:
        with self._lock:
            fits = self._claimed + weight + self._spare <= self._free()
            if fits or self._hopeless or not (self._claimed or self._complete):
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
            self._waiting, self._hopeless = _Waiting(), False
            return
        waiting, offsites = self._waiting, Offsites(self._installation.state)
        places = " and ".join(each.name for each in self._offsites)
        waiting.hear(self._moved(offsites))
        if not self._told:
            log.info(
                f"{size(self._free())} free: what is archived goes to {places} first. A run that is ended meanwhile is"
                " gone on with by the next one",
                job=self._job.name,
            )
            self._told = True
        if time.monotonic() - waiting.since > _PATIENCE:
            self._hopeless = True
            log.warning(
                f"For {_PATIENCE / 3600:.0f} hours nothing has come to {places}, so what is archived stays here, and"
                f" the run goes on with {size(self._free())} free: hiveden-backup offsite status",
                job=self._job.name,
            )
            return
        if waiting.may_ask():
            send_begun(self._installation, self._job, wait_for_it=brake)
        time.sleep(_LOOK_SECONDS)

    def _moved(self, offsites: Offsites) -> int:
        """How many objects are at the job's offsites, of all jobs: who sends another one's is not idle."""
        names = [each.name for each in self._offsites]
        return sum(len(offsites.there(name, job).objects) for name in names for job in offsites.jobs(name))

    def _let_go(self) -> bool:
        """Remove what a push has just seen to be whole there, and what all offsites of the job have; whether any.

        Only what is begun for the next backup: a prune there lets none of that go, whatever it saw of this machine.
        """
        job, offsites = self._job.name, Offsites(self._installation.state)
        now = self._installation.now()
        places = [each.name for each in self._offsites if each.keeps_newest]
        proven = {path for name in places for path in offsites.proven(name, job, now, _FRESH)}
        if not proven:
            return False
        proven &= {each.path for each in begun(self._installation, self._directory, job)}
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
