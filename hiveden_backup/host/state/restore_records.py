"""The records of in-place restores, one file each: `undo/JOB/ID.json` in the state directory.

Writing one is a single durable rename, so the record that says `committed` is the commit of the whole act.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from hiveden_backup.core.codec import LONGEST, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.names import backup_id, is_backup_id, is_job_name
from hiveden_backup.core.restore_record import ACTS, Act
from hiveden_backup.host.disk.durable import (
    fsync_directory,
    make_directory,
    read_regular,
    translated,
    write_durably,
)
from hiveden_backup.host.state.locks import ExclusiveJob

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Acts:
    """The acts kept below a state directory. OSErrors come as our own errors."""

    state: Path

    def new_id(self, job: str, now: datetime) -> str:
        """An id for an act that begins now; the next free second where that is taken."""
        while self._path(job, backup_id(now)).exists():
            now += timedelta(seconds=1)
        return backup_id(now)

    def put(self, job: ExclusiveJob, act: Act) -> None:
        """Write what is known of an act of `job`, durably and at once."""
        path = self._path(job.name, act.id)
        with translated(f"writing {path}", unwritable=StorageError):
            make_directory(path.parent)
            write_durably(path, ACTS.dump(act))

    def remove(self, job: ExclusiveJob, act: Act) -> None:
        """Forget an act of `job` of which nothing is left."""
        path = self._path(job.name, act.id)
        with translated(f"removing {path}"), suppress(FileNotFoundError):  # it may never have been written
            path.unlink(missing_ok=True)
            fsync_directory(path.parent)

    def of(self, job: str) -> tuple[Act, ...]:
        """The job's acts, oldest first. StorageError when one cannot be read: it may be half done."""
        return tuple(self._read(path) for path in self._files(job))

    def jobs(self) -> tuple[str, ...]:
        """The jobs that have acts."""
        with translated("reading the records of in-place restores"), suppress(FileNotFoundError):
            names = sorted(path.name for path in (self.state / "undo").iterdir() if is_job_name(path.name))
            return tuple(name for name in names if any(True for _ in self._files(name)))
        return ()

    def _files(self, job: str) -> Iterator[Path]:
        if not is_job_name(job):
            return
        with translated("reading the records of in-place restores"), suppress(FileNotFoundError):
            for path in sorted((self.state / "undo" / job).iterdir()):
                if path.suffix == _SUFFIX and is_backup_id(path.stem):
                    yield path

    def _path(self, job: str, act: str) -> Path:
        if not is_job_name(job) or not is_backup_id(act):
            raise ValueError(f"no act can be named {job!r}, {act!r}")
        return self.state / "undo" / job / f"{act}{_SUFFIX}"

    def _read(self, path: Path) -> Act:
        with translated(f"reading {path}", unwritable=StorageError):
            data = read_regular(path, LONGEST)
        try:
            act = ACTS.load(data)
        except RecordError as error:
            raise StorageError(
                f"The record of an in-place restore {path} is damaged",
                str(error),
                "Look beside the job's paths for .hiveden-backup-undo-*, put right what is not, then remove the record",
            ) from error
        return replace(act, job=path.parent.name, id=path.stem)
