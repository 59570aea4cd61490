"""A place for the working lists of what needs them for a moment only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hiveden_backup.core.errors import StorageError


@contextmanager
def temporary_spool() -> Iterator[Path]:
    """A directory that goes with the block. StorageError when there is no place for one."""
    try:
        made = TemporaryDirectory(prefix="hiveden-backup-")
    except OSError as error:
        raise StorageError(
            "No temporary directory can be made",
            error.strerror or str(error),
            "Free some space in /tmp or /var/tmp, or let TMPDIR name a directory that can be written to",
        ) from error
    with made as place:
        yield Path(place)
