"""What the state directory remembers of offsites: a journal for each job, how the last pushes went, and locks."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BusyError, StorageError
from hiveden_backup.core.names import is_job_name
from hiveden_backup.core.offsite import journal
from hiveden_backup.core.offsite.checked import Checked
from hiveden_backup.core.offsite.layout import state_folder
from hiveden_backup.core.shown import printable
from hiveden_backup.host.disk.durable import (
    UnfitFileError,
    fsync_directory,
    make_directory,
    opened,
    read_regular,
    translated,
    write_durably,
)
from hiveden_backup.host.state import locks

_JOURNAL = ".jsonl"
_PLACE = ".place.json"
_CHECKS = ".checked.json"
_PROVEN = ".proven.json"
_TOLD = ".told"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LockedOffsite:
    """An offsite that nobody else changes until the block of `offsite_lock` ends. Nothing else makes one."""

    name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """How it stands with one job at one offsite.

    `pushed` is when a push last ended well, `reconciled` when what lies there was last compared. `failures` count since
    then, `error` is the last one's, `next_try` when it is tried again. `damaged` are objects, by their names in the
    job's folder, that are not what was sent, and that cannot be sent again; `doubted` those that were found so, and
    will be. `waiting_bytes` are what was not there yet when the last push ended, `waiting_since` since when. `denied`
    says why nothing is removed there, `unlisted` why nothing is listed there, if that is so; `unlisted_at` is when that
    was last tried.
    """

    pushed: datetime | None = None
    reconciled: datetime | None = None
    failures: int = 0
    error: str = ""
    next_try: datetime | None = None
    damaged: tuple[str, ...] = ()
    waiting_bytes: int = 0
    waiting_since: datetime | None = None
    denied: str = ""
    doubted: tuple[str, ...] = ()
    unlisted: str = ""
    unlisted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Which place an offsite's journals are of, and this host's folder there, which is known to be its own."""

    remote: str
    host: str


@dataclass(frozen=True, slots=True)
class _Proven:
    """The archives of a job that were seen to be whole there, and when."""

    at: datetime
    archives: tuple[str, ...]


_SINCE = ("waiting_bytes", "waiting_since", "next_try", "damaged", "denied", "doubted", "unlisted", "unlisted_at")
_FACTS = Codec(Facts, lacking=_SINCE)
_PLACES = Codec(Place)
_CHECKED = Codec(Checked)
_PROVENS = Codec(_Proven)


@contextmanager
def offsite_lock(state: Path, offsite: str, *, job: str = "") -> Iterator[LockedOffsite]:
    """Hold off others who send to an offsite, or change what is there, for the block. BusyError at once if taken.

    It is never a job's lock: days of upload hold up no run.
    """
    path = state / "locks" / f".offsite-{offsite}.lock"
    with locks.file_lock(path) as held:
        if not held:
            raise BusyError(
                f"The offsite {offsite} is busy",
                f"{locks.holder(path)} sends there, or looks at what is there",
                f"Wait until that is done{f', then push {job} again' if job else ''}",
            )
        yield LockedOffsite(offsite)


@dataclass(frozen=True, slots=True)
class Offsites:
    """What is remembered below a state directory."""

    state: Path

    # ---- journals

    def there(self, offsite: str, job: str) -> journal.There:
        """What is there of a job, by its journal. Nothing where there is none."""
        path = self._path(offsite, job, _JOURNAL)
        with (
            translated(f"reading {path}", unwritable=StorageError),
            suppress(FileNotFoundError),
            opened(path, most=journal.LONGEST_JOURNAL) as file,
        ):
            return journal.replay(iter(lambda: file.readline(journal.LONGEST_LINE), b""))
        return journal.There()

    def note(self, offsite: LockedOffsite, job: str, lines: Iterable[journal.Line]) -> None:
        """Add to a job's journal, durably."""
        path = self._path(offsite.name, job, _JOURNAL)
        with translated(f"writing {path}", unwritable=StorageError):
            make_directory(path.parent)
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                size = os.fstat(descriptor).st_size
                torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
                data = memoryview((b"\n" if torn else b"") + journal.dump_all(lines))
                while data:
                    data = data[file.write(data) :]
                os.fsync(descriptor)
            if is_new:
                fsync_directory(path.parent)

    def rewrite(self, offsite: LockedOffsite, job: str, there: journal.There) -> None:
        """Replace a job's journal by what is there, as it was found or worked out: a rebuilt one, or a shorter one."""
        _write(self._path(offsite.name, job, _JOURNAL), journal.dump_all(there.objects.values()))

    def jobs(self, offsite: str) -> tuple[str, ...]:
        """The jobs that have a journal of this offsite."""
        with suppress(FileNotFoundError):
            found = os.listdir(self.state / state_folder(offsite))
            names = (name.removesuffix(_JOURNAL) for name in found if name.endswith(_JOURNAL))
            return tuple(sorted(name for name in names if is_job_name(name)))
        return ()

    # ---- how it stands

    def facts(self, offsite: str, job: str) -> Facts:
        """How it stands with a job; nothing known where there is no record. StorageError when it cannot be read.

        What is damaged there would count as there again.
        """
        path = self._path(offsite, job, ".json")
        with translated(f"reading {path}", unwritable=StorageError), suppress(FileNotFoundError):
            try:
                return _FACTS.load(read_regular(path, LONGEST))
            except (RecordError, UnfitFileError) as error:
                raise StorageError(
                    f"{path} is damaged, so it is not known how {job} stands at the offsite {offsite}",
                    str(error),
                    f"Remove it, and compare what is there: hiveden-backup offsite reconcile {offsite} {job}, then"
                    f" hiveden-backup offsite verify {offsite} {job}",
                ) from error
        return Facts()

    def put_facts(self, offsite: LockedOffsite, job: str, facts: Facts) -> None:
        """Remember how it stands."""
        error, denied, unlisted = map(printable, (facts.error, facts.denied, facts.unlisted))
        said = replace(facts, error=error, denied=denied, unlisted=unlisted)
        _write(self._path(offsite.name, job, ".json"), _FACTS.dump(said))

    def checked(self, offsite: str, job: str) -> Checked:
        """When what is there was last read back; never, where there is no record, or it cannot be read.

        That loses nothing: all of it is due again, and this month's budget may be spent twice.
        """
        return _readable(_CHECKED, self._path(offsite, job, _CHECKS)) or Checked()

    def put_checked(self, offsite: LockedOffsite, job: str, checked: Checked) -> None:
        """Remember what was read back."""
        _write(self._path(offsite.name, job, _CHECKS), _CHECKED.dump(checked))

    def proven(self, offsite: str, job: str, now: datetime, within: timedelta) -> tuple[str, ...]:
        """The archives of a job that a push has just seen to be whole there, and could not let go itself."""
        found = _readable(_PROVENS, self._path(offsite, job, _PROVEN))
        return found.archives if found is not None and timedelta(0) <= now - found.at <= within else ()

    def put_proven(self, offsite: LockedOffsite, job: str, at: datetime, archives: Iterable[str]) -> None:
        """Remember what was seen to be whole there, for a run that waits for room."""
        _write(self._path(offsite.name, job, _PROVEN), _PROVENS.dump(_Proven(at, tuple(archives))))

    def read_in(self, offsite: str, now: datetime) -> int:
        """How many bytes were read back from an offsite this month, of all jobs."""
        return sum(self.checked(offsite, job).spent(now) for job in self.jobs(offsite))

    def place(self, offsite: str) -> Place | None:
        """The place that the journals are of; None where there is no record. StorageError when it cannot be read.

        Else what was sent to another place would be believed to be at this one, and archives that are there alone
        would be forgotten.
        """
        path = self.state / state_folder(offsite) / _PLACE
        with translated(f"reading {path}", unwritable=StorageError), suppress(FileNotFoundError):
            try:
                return _PLACES.load(read_regular(path, LONGEST))
            except (RecordError, UnfitFileError) as error:
                raise StorageError(
                    f"{path} is damaged, so it is not known which place the offsite {offsite} was",
                    str(error),
                    "If its `remote` was changed, change that back; then remove the file: the next push looks at what"
                    " is there before it sends anything",
                ) from error
        return None

    def put_place(self, offsite: LockedOffsite, place: Place) -> None:
        """Remember the place; what is known of another one, which the offsite was before, is forgotten first.

        Of journals without a place nobody knows where that was: they go as well, and are made again from what is there.
        How it stood is kept then, with what was damaged.
        """
        folder = self.state / state_folder(offsite.name)
        with translated(f"writing below {folder}", unwritable=StorageError):
            make_directory(folder)
            if (known := self.place(offsite.name)) != place:
                for job in self.jobs(offsite.name):
                    for suffix in (_PROVEN, _JOURNAL, *([".json"] if known is not None else [])):
                        self._path(offsite.name, job, suffix).unlink(missing_ok=True)
                (folder / _TOLD).unlink(missing_ok=True)
                fsync_directory(folder)
            write_durably(folder / _PLACE, _PLACES.dump(place))

    def told(self, offsite: str) -> datetime | None:
        """When this host last told there how it stands; None when it never did, or that cannot be seen."""
        with suppress(OSError):
            return datetime.fromtimestamp(os.lstat(self.state / state_folder(offsite) / _TOLD).st_mtime, UTC)
        return None

    def put_told(self, offsite: str) -> None:
        """Remember that it has done so now."""
        path = self.state / state_folder(offsite) / _TOLD
        with translated(f"writing {path}", unwritable=StorageError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            os.utime(path)

    def spool(self, offsite: str) -> Path:
        """Where slices grow that go to an offsite."""
        return self.state / "spool" / f".offsite-{offsite}"

    def _path(self, offsite: str, job: str, suffix: str) -> Path:
        return self.state / state_folder(offsite) / f"{job}{suffix}"


def _write(path: Path, content: bytes) -> None:
    with translated(f"writing {path}", unwritable=StorageError):
        make_directory(path.parent)
        write_durably(path, content)


def _readable(codec: Codec[_T], path: Path) -> _T | None:
    """A record that may be lost; None where there is none, or it cannot be read."""
    unread = suppress(FileNotFoundError, UnfitFileError, RecordError)
    with translated(f"reading {path}", unwritable=StorageError), unread:
        return codec.load(read_regular(path, LONGEST))
    return None
