"""What became of a path over time: its versions in all backups, from the indexes alone."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Any

from hiveden_backup.core.backup.index import Record, parse, path_of
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, NotFoundError
from hiveden_backup.core.globs import Globs
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.names import iso
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.backups.catalog import show_path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Version:
    """A path of a job as it was in some `backups` of it, newest first. `record` has what is the same in all of them."""

    job: str
    record: Record
    backups: tuple[str, ...]

    @property
    def mtime(self) -> datetime | None:
        """When its content changed last; None for what is no moment of any calendar."""
        with suppress(OverflowError):
            moment = _EPOCH + timedelta(microseconds=self.record.mtime_ns // 1000)
            return moment if MINYEAR < moment.year < MAXYEAR else None  # in any zone
        return None

    def table(self) -> dict[str, Any]:
        """The version as `find --json` prints it."""
        return {
            "job": self.job,
            "path": show_path(self.record.path),
            "type": self.record.type,
            "size": self.record.size,
            "mtime": iso(self.mtime) if self.mtime is not None else None,
            "backups": list(self.backups),
        }


def versions(
    directory: BackupDirectory, glob: str, jobs: Iterable[str]
) -> tuple[tuple[Version, ...], tuple[BackupError, ...]]:
    """Every version of the paths that `glob` matches as `restore --only` has it, and the backups that cannot be read.

    By job and path, the newest first. A version is what type, mode, owner, size, time and link count say. What does not
    match is not held, however many backups and paths there are.
    """
    found: list[Version] = []
    damaged: list[BackupError] = []
    wanted = Globs([glob], covering=True)
    for job in jobs:
        seen: dict[Record, list[str]] = {}
        for backup in directory.backups(job):
            try:
                for record in _matching(directory, job, backup, wanted):
                    seen.setdefault(record, []).append(backup)
            except NotFoundError:  # it was pruned in this moment
                continue
            except BackupError as error:
                damaged.append(error)
        several = [Version(job, record, tuple(backups)) for record, backups in seen.items()]
        several.sort(key=lambda version: version.record.path)  # those of one path stay in the order of the backups
        found.extend(several)
    return tuple(found), tuple(damaged)


def _matching(directory: BackupDirectory, job: str, backup: str, wanted: Globs) -> Iterable[Record]:
    manifest = directory.manifest(job, backup)
    if not any(artifact.type is ArtifactType.APPLICATION for artifact in manifest.artifacts):
        return
    with records(directory.backup_path(job, backup) / INDEX, manifest.paths) as lines:
        for line in lines:
            if wanted.matches(path_of(line)):
                yield parse(line)._replace(archive=0, ctime_ns=0, inode=0)
