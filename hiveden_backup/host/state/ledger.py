"""The ledger: small durable files that say which containers this program owes a start.

An entry is written before the stop and removed only after the container was seen running again. It is found by its
name: one that cannot be read is still a debt.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hiveden_backup.core.codec import LONGEST, Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.names import is_job_name
from hiveden_backup.host.disk.durable import (
    fsync_directory,
    make_directory,
    read_regular,
    translated,
    write_durably,
)

_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SUFFIX = ".json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOT_ID_LENGTH = 256  # the kernel wants room for all that is asked for


@dataclass(frozen=True, slots=True)
class Debt:
    """A container that `job` stopped and has to start again.

    `started_at` is Docker's text for the start before our stop; `boot_id` tells in which life of the machine that was.
    Docker was told to end it `stop_timeout` seconds after `owed_at`, and does so without us, too. A `restless` one
    restarted again and again before that: it has only to be started, and will not run steadily.
    `damage` says why an entry could not be read: then only `job` and `name` are known, `owed_at` is the file's time.
    """

    job: str
    id: str
    name: str
    boot_id: str
    started_at: str
    owed_at: datetime
    stop_timeout: float = 0.0
    restless: bool = False
    damage: str = ""


_DEBTS = Codec(Debt, lacking=("stop_timeout",), sparse=("restless",), unwritten=("damage",), exact=True)


class Ledger:
    """The debts kept below a state directory, as `ledger/JOB/CONTAINER.json`. OSErrors come as our own errors."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def owe(self, debt: Debt) -> None:
        """Write `debt` so that a power cut right after this finds it. One of the same job and name is replaced."""
        path = self._path(debt.job, debt.name)
        with translated(f"writing the ledger entry {path}", unwritable=StorageError):
            make_directory(path.parent)
            write_durably(path, _DEBTS.dump(debt))

    def cross_off(self, job: str, name: str) -> None:
        """Cross off the debt of `job` for the container `name`. One that is not there is crossed off already."""
        path = self._path(job, name)
        with translated(f"removing the ledger entry {path}"):
            try:
                path.unlink()
            except FileNotFoundError:
                return
            fsync_directory(path.parent)

    def debts(self, job: str | None = None) -> tuple[Debt, ...]:
        """What is owed, by `job` or by all jobs, in the order of jobs and names."""
        return tuple(debt for name in self._jobs(job) for debt in self._debts_of(name))

    def _jobs(self, job: str | None) -> list[str]:
        if job is not None:
            return [job] if is_job_name(job) else []
        with translated("reading the ledger"):
            try:
                folders = [path.name for path in (self.state / "ledger").iterdir() if path.is_dir()]
            except FileNotFoundError:
                return []
        return sorted(name for name in folders if is_job_name(name))

    def _debts_of(self, job: str) -> Iterator[Debt]:
        with translated("reading the ledger"):
            try:
                files = sorted(path.name for path in (self.state / "ledger" / job).iterdir())
            except FileNotFoundError:
                return
        for file in files:
            name = file.removesuffix(_SUFFIX)
            if file.endswith(_SUFFIX) and _CONTAINER_NAME.fullmatch(name):  # what begins with a dot was never finished
                debt = _read(self._path(job, name), job, name)
                if debt is not None:
                    yield debt

    def _path(self, job: str, name: str) -> Path:
        if not is_job_name(job) or _CONTAINER_NAME.fullmatch(name) is None:
            raise ValueError(f"no ledger entry can be named {job!r}, {name!r}")
        return self.state / "ledger" / job / f"{name}{_SUFFIX}"


def boot_id() -> str:
    """The id of this life of the machine, from its last boot to the next."""
    with translated("reading the machine's boot id"):
        return read_regular(_BOOT_ID, _BOOT_ID_LENGTH).decode("ascii").strip()


def _read(path: Path, job: str, name: str) -> Debt | None:
    """The entry at `path`; None when it was crossed off in this moment."""
    try:
        return replace(_DEBTS.load(read_regular(path, LONGEST)), job=job, name=name)
    except FileNotFoundError:
        return None
    except (OSError, RecordError) as error:
        return Debt(job, "", name, "", "", _modified(path), damage=f"{type(error).__name__}: {error}")


def _modified(path: Path) -> datetime:
    try:
        seconds = path.stat().st_mtime
    except OSError:
        seconds = 0.0  # its disk is failing; the debt stands all the same
    return datetime.fromtimestamp(seconds, UTC)
