"""When a job's backups are to be sent next: the time of an empty file, so that its unit starts no Python to look at it.

What is not there is due. See ExecCondition= of systemd/hiveden-backup-offsite@.service.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from hiveden_backup.core.errors import StorageError
from hiveden_backup.host.disk.durable import make_directory, translated

FOLDER = "offsite/.next"
"""Below the state directory. No offsite has such a name."""


def due(state: Path, job: str) -> datetime | None:
    """When the job's backups are to be sent next; None for at once."""
    with translated(f"looking at {state / FOLDER}", unwritable=StorageError):
        try:
            return datetime.fromtimestamp(os.lstat(state / FOLDER / job).st_mtime, UTC)
        except (FileNotFoundError, NotADirectoryError):
            return None


def put_due(state: Path, job: str, at: datetime) -> None:
    """Let the timer pass by until then. After a power cut it may do so earlier, which does no harm."""
    path = state / FOLDER / job
    with translated(f"writing {path}", unwritable=StorageError):
        make_directory(path.parent)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        os.utime(path, (at.timestamp(), at.timestamp()), follow_symlinks=False)


def due_now(state: Path, job: str) -> None:
    """Let the timer, or whoever asks first, send the job's backups."""
    with translated(f"removing {state / FOLDER / job}", unwritable=StorageError):
        (state / FOLDER / job).unlink(missing_ok=True)
