"""Archives where they lie: which are there as they were written, and the stubs in the place of others."""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hiveden_backup.core.backup.layout import ARCHIVES, globals_beside, incoming
from hiveden_backup.core.backup.stub import LONGEST, STUBS, Stub, of, stands_for
from hiveden_backup.core.codec import RecordError
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.durable import make_directory, read_regular, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint


def missing_archives(directory: BackupDirectory, job: str, sizes: Collection[tuple[str, int]]) -> frozenset[str]:
    """Those of the named archives that are not there (or cannot be looked at) in the size they were written with."""
    broken = set()
    for name, size in sizes:
        try:
            found = os.lstat(directory.job_path(job) / name)
        except OSError:
            found = None
        if found is None or found.st_size != size or not stat.S_ISREG(found.st_mode):
            broken.add(name)
    return frozenset(broken)


def stub_at(path: Path) -> Stub | None:
    """The stub that stands in the place of `path`; None where there is none that can be read."""
    try:
        return STUBS.load(read_regular(path.with_name(of(path.name)), LONGEST))
    except (OSError, RecordError):
        return None


def stubbed(home: Path) -> frozenset[str]:
    """The dumps of the backup at `home` in whose place stubs stand."""
    with suppress(OSError):
        names = set(os.listdir(home))
        away = (stands_for(name) for name in names if stands_for(name) != name)
        return frozenset(name for name in away if name not in names and globals_beside(name) is not None)
    return frozenset()


def put_stub(folder: int, stub: Stub) -> None:
    """Put a stub into a folder that is held, durably."""
    write_durably(Path(beneath.through(folder, of(os.path.basename(stub.path)))), STUBS.dump(stub))


def evict(directory: BackupDirectory, job: str, stub: Stub) -> None:
    """Let a stub stand in the place of an archive that offsites are known to have."""
    with directory.held(job, ARCHIVES) as archives:
        put_stub(archives, stub)
    failpoint("evict")
    directory.drop_archive(job, stub.path)


@contextmanager
def adopting(directory: BackupDirectory, job: str, backup: str) -> Iterator[tuple[int, int]]:
    """The folder of the job's archives, and a new one in which a backup grows, held for the block.

    What was there under that name goes first. Who can write there can have put links there: OSError for one in place
    of a folder, and nothing is written elsewhere.
    """
    make_directory(directory.job_path(job))
    name = incoming(backup)
    with directory.held(job) as home:
        with suppress(FileExistsError):
            os.mkdir(ARCHIVES, 0o700, dir_fd=home)
        with suppress(FileNotFoundError):
            beneath.remove_tree(home, name)
        with beneath.opened(ARCHIVES, home) as archives, beneath.made(home, name) as growing:
            beneath.sync(home)
            yield archives, growing
