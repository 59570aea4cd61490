"""A place for the working lists of what needs them for a moment only."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hiveden_backup.core.errors import StorageError
from hiveden_backup.host.disk.durable import translated


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


@contextmanager
def swept_spool(above: Path, prefix: str) -> Iterator[Path]:
    """A directory in `above` that goes with the block, under a name that begins so.

    Those of such a name go first whose processes were killed: while one lives, it has a lock on it. StorageError.
    """
    for left in sorted(above.glob(f"{glob.escape(prefix)}*")):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    with translated(f"making a directory in {above}", unwritable=StorageError), ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        stack.enter_context(_locked(place))
        held = stack.pop_all()
    with held:
        yield place


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a directory, which may be swept else. BlockingIOError when somebody else does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
