"""What is in a backup: the paths of its index, and how those of two differ."""

from collections.abc import Iterator

from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import UsageError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.backups.catalog import Backup


@dataclass(frozen=True, slots=True)
class Difference:
    """The paths (relative to `/`) that differ between two backups of a job."""

    added: tuple[bytes, ...]
    changed: tuple[bytes, ...]
    removed: tuple[bytes, ...]


def files(directory: BackupDirectory, backup: Backup) -> Iterator[Record]:
    """The records of a backup's index, in order; none when the job has no files."""
    manifest = directory.manifest(backup.job, backup.id)
    if not any(artifact.type is ArtifactType.APPLICATION for artifact in manifest.artifacts):
        return
    with records(directory.backup_path(backup.job, backup.id) / INDEX, manifest.paths) as lines:
        for line in lines:
            yield parse(line)


def diff(directory: BackupDirectory, older: Backup, newer: Backup) -> Difference:
    """What differs from `older` to `newer`: type, mode, owner, size, times and link count of each path count."""
    if older.job != newer.job:
        raise UsageError(f"{older} and {newer} are backups of different jobs", "", "Compare two backups of one job")
    added, changed, removed = [], [], []
    left, right = files(directory, older), files(directory, newer)
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one.path < two.path):
            removed.append(one.path if one is not None else b"")
            one = next(left, None)
        elif one is None or two.path < one.path:
            added.append(two.path)
            two = next(right, None)
        else:
            if one._replace(archive=0, ctime_ns=0, inode=0) != two._replace(archive=0, ctime_ns=0, inode=0):
                changed.append(one.path)
            one, two = next(left, None), next(right, None)
    return Difference(tuple(added), tuple(changed), tuple(removed))
