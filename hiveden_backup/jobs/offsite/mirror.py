"""A backup directory on a bare machine, of what an offsite has: what is small of backups, and stubs for the rest."""

from collections.abc import Iterable
from pathlib import Path

from hiveden_backup.core.backup.stub import Stub
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.offsite.sums import Content
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.archives import adopting, put_stub
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.owners import claim
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.stream import copy
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.adopt import OF_ONE, Adopted, reading
from hiveden_backup.jobs.offsite.asked import Asked


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What was made of an offsite: `backups` that were not here, of which host, and why others of it were left out."""

    host: str
    backups: int
    left_out: tuple[BackupError, ...]


def mirror(installation: Installation, directory: BackupDirectory, asked: Asked) -> Mirrored:
    """Have all backups of a host, which are complete there, in an opened backup directory. Those that are stay.

    They belong to that host. Where it is broken off, it is done again: a backup becomes visible when all is there.
    """
    with reading(installation, asked) as adopted:
        left_out = adopted.bring(whole=False)
        made = 0
        for job in adopted.directory.jobs():
            with job_lock(installation.state, job):
                there = set(directory.backups(job))
                for each in reversed([name for name in adopted.directory.backups(job) if name not in there]):
                    backup = Backup(job, each)
                    if (trouble := _fetched(adopted, backup)) is not None:
                        left_out.append(trouble)
                        continue
                    _take(adopted, directory, backup, asked.place)
                    made += 1
        return Mirrored(adopted.there.host, made, tuple(left_out))


def _fetched(adopted: Adopted, backup: Backup) -> BackupError | None:
    """Have all that is small of a backup, which can be read; or why not."""
    try:
        adopted.bring([backup])
        adopted.directory.manifest(backup.job, backup.id)
    except OF_ONE as error:
        return error
    return None


def _take(adopted: Adopted, directory: BackupDirectory, backup: Backup, place: str) -> None:
    source = adopted.directory.backup_path(backup.job, backup.id)
    owner = adopted.directory.manifest(backup.job, backup.id).owner
    sums, dumps = adopted.sums(backup), set(adopted.left_out(backup.job, backup.id))
    with (
        translated(f"writing the backup directory {directory.path}"),
        adopting(directory, backup.job, backup.id) as (archives, growing),
    ):
        if owner is not None:
            claim(directory.job_path(backup.job), owner)
        _put_stubs(archives, sums.needs, place)
        _put_stubs(growing, (each for each in sums.files if each.path in dumps), place, f"{backup.id}/")
        for file in sorted(source.iterdir()):
            copy(file, Path(beneath.through(growing, file.name)))
        failpoint("adopt")
        directory.publish(backup.job, backup.id)


def _put_stubs(folder: int, files: Iterable[Content], place: str, prefix: str = "") -> None:
    for each in files:
        if not beneath.exists(folder, each.path.rpartition("/")[2]):
            put_stub(folder, Stub(f"{prefix}{each.path}", each.bytes, each.sha256, (place,)))
