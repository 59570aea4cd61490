"""Locks between runs of this program: flock(2) on small files, with the holder's process id inside for messages.

The kernel lets go when the holder dies, so a file that stays behind means nothing; none is ever deleted, since a lock
on a deleted file would exclude nobody.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar, overload

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BusyError, StorageError
from hiveden_backup.host.disk.durable import make_directory, read_regular, translated

_POLL_SECONDS = 0.1
_GLANCES = 6
_GLANCE_SECONDS = 0.05
_CONTAINER = "container-"
_LONGEST_HOLDER = 64


@dataclass(frozen=True, slots=True)
class LockedJob:
    """A job whose lock this process has, with others or alone, until the block of `job_lock` ends.

    Nothing else makes one: who takes one as a parameter does not work on a job that somebody changes meanwhile.
    """

    name: str


@dataclass(frozen=True, slots=True)
class ExclusiveJob(LockedJob):
    """A locked job that nobody else has, not even to look."""


_Locked = TypeVar("_Locked", bound=LockedJob)


@dataclass(frozen=True, slots=True)
class LockedContainers:
    """Containers whose locks this process has until the block of `container_locks` ends. Nothing else makes one."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class LockedUnits:
    """The unit files, with the lock that `units_lock` holds for its block. Nothing else makes one."""


@overload
def job_lock(state: Path, job: str) -> AbstractContextManager[ExclusiveJob]: ...


@overload
def job_lock(state: Path, job: str, *, shared: bool) -> AbstractContextManager[LockedJob]: ...


def job_lock(
    state: Path, job: str, *, shared: bool = False
) -> AbstractContextManager[ExclusiveJob] | AbstractContextManager[LockedJob]:
    """Hold the job's lock for the block: alone, or `shared` with others of that kind. BusyError at once if taken.

    Who only looks whether a run goes on has the lock for an instant: that makes nobody else busy.
    """
    return _held(state, LockedJob(job), shared=True) if shared else _held(state, ExclusiveJob(job), shared=False)


@contextlib.contextmanager
def _held(state: Path, locked: _Locked, *, shared: bool) -> Iterator[_Locked]:
    job = locked.name
    dot = "." * job.startswith(_CONTAINER)  # else the job `container-web` and the container `web` would share a file
    path = state / "locks" / f"{dot}{job}.lock"
    with _opened(path) as descriptor:
        for glance in range(_GLANCES):
            if _try(descriptor, shared=shared):
                break
            if glance < _GLANCES - 1:
                time.sleep(_GLANCE_SECONDS)
        else:
            raise BusyError(
                f"The job {job} is busy",
                f"{holder(path)} holds its lock",
                "Wait until that is done, then run again",
            )
        _sign(descriptor)
        yield locked


@contextlib.contextmanager
def units_lock(state: Path, wait: float = 60.0) -> Iterator[LockedUnits]:
    """Hold off others who change unit files for the block. BusyError after `wait` seconds."""
    path = state / "locks" / ".units.lock"  # no job's name begins with a dot
    deadline = time.monotonic() + wait
    with _opened(path) as descriptor:
        while not _try(descriptor, shared=False):
            if time.monotonic() >= deadline:
                raise BusyError(
                    "The unit files are being changed by somebody else",
                    f"{holder(path)} has held their lock for {wait:g} seconds and more",
                    "Wait until that is done, then try again",
                )
            time.sleep(_POLL_SECONDS)
        _sign(descriptor)
        yield LockedUnits()


@contextlib.contextmanager
def container_locks(state: Path, names: Iterable[str], wait: float) -> Iterator[LockedContainers]:
    """Hold the locks of all these containers for the block. BusyError after `wait` seconds in all.

    They are taken in one order by everybody, so that two jobs never wait for each other.
    """
    deadline = time.monotonic() + wait
    wanted = frozenset(names)
    with contextlib.ExitStack() as held:
        for name in sorted(wanted):
            path = state / "locks" / f"{_CONTAINER}{name}.lock"
            descriptor = held.enter_context(_opened(path))
            while not _try(descriptor, shared=False):
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"The container {name} is busy",
                        f"{holder(path)} has held its lock for {wait:g} seconds and more",
                        "Another job stops the same container: let it finish, or give the jobs different times",
                    )
                time.sleep(_POLL_SECONDS)
            _sign(descriptor)
        yield LockedContainers(wanted)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Hold the lock on a file for the block; False, at once, when somebody else does."""
    with _opened(path) as descriptor:
        held = _try(descriptor, shared=False)
        if held:
            _sign(descriptor)
        yield held


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    with translated(f"opening the lock {path}", unwritable=StorageError):
        make_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # which unlocks it: nobody else has this open file


def _try(descriptor: int, *, shared: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int) -> None:
    """Leave our process id for the messages of others. Of several that share a lock the last one is named."""
    with contextlib.suppress(OSError):  # held all the same: a full disk must not keep services down
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def holder(path: Path) -> str:
    """Who has signed a lock last, for messages."""
    with translated(f"reading the lock {path}"):
        text = read_regular(path, _LONGEST_HOLDER).decode("ascii", "replace").strip()
    return f"Process {text}" if text.isdecimal() else "Another process"
