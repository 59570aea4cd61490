"""One file's content out of a backup, to whoever reads it; nothing is written to any disk for it."""

from collections.abc import Callable
from contextlib import ExitStack

from hiveden_backup.core.backup.index import Record
from hiveden_backup.core.backup.layout import ARCHIVE_NAMES, INDEX, MANIFEST
from hiveden_backup.core.backup.selection import checked
from hiveden_backup.core.errors import CorruptError, NotFoundError, UsageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.member import copy_member
from hiveden_backup.host.disk.repository import BackupDirectory, stored_file
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.jobs.backups.catalog import Backup, show_path
from hiveden_backup.jobs.backups.verify import check_sums
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.files import has_files
from hiveden_backup.jobs.restore.trust import warn_of
from hiveden_backup.jobs.restore.unpack import trusted

_KINDS = {"d": "a directory", "l": "a symbolic link", "p": "a FIFO", "c": "a device", "b": "a device"}


def copy_content(installation: Installation, backup: Backup, path: bytes, write: Callable[[bytes], object]) -> None:
    """Hand the content of the regular file `path` (relative to `/`) of a backup to `write` in pieces.

    One archive is read, to its end. NotFoundError when the backup has no such path, UsageError when that is no regular
    file; CorruptError, after the content was written, when that is not what the backup was made with. The job is locked
    only until the archive is open: who reads slowly holds up no run.
    """
    with ExitStack() as stack:
        with job_lock(installation.state, backup.job, shared=True):
            directory = installation.directory
            manifest = directory.manifest(backup.job, backup.id)
            if not has_files(manifest):
                raise NotFoundError(f"{backup} has no files", "Its job backs up databases only")
            warn_of(
                installation,
                directory,
                backup,
                check_sums(directory, backup, manifest, only=(INDEX, ARCHIVE_NAMES, MANIFEST)),
            )
            record, names = _found(directory, manifest, path)
            archive = manifest.archives[record.archive]
            place = stack.enter_context(installation.at_hand(backup.job, archive.path, archive))
            file = stack.enter_context(stored_file(place, archive.bytes))
        target = copy_member(file, place, archive.sha256, path, size=record.size, write=write)
        if target is None:
            return
        if target not in names:
            raise CorruptError(
                f"{place} is not what the index was made for",
                f"It has {show_path(path)} as a hard link to {show_path(target)}, which the index does not know as one",
                "Verify the backups of the job",
            )
        file.seek(0)
        if copy_member(file, place, archive.sha256, target, size=record.size, write=write) is not None:
            raise CorruptError(f"{place} is not what the index was made for", "Its hard links lead to each other")


def _found(directory: BackupDirectory, manifest: Manifest, path: bytes) -> tuple[Record, frozenset[bytes]]:
    """The record of a regular file, and the other names of its inode."""
    backup = f"{manifest.job}/{manifest.id}"
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    found: Record | None = None
    with trusted(index), records(index, manifest.paths) as lines:
        for record in checked(lines, len(manifest.archives)):
            if record.path == path:
                found = record
    if found is None:
        raise NotFoundError(
            f"{backup} has no {show_path(path)}", "", f"List its paths: hiveden-backup show {backup} --files"
        )
    if found.type != "f":
        raise UsageError(
            f"{show_path(path)} is {_KINDS[found.type]} in {backup}",
            "Only a regular file has content",
            f"Restore it: hiveden-backup restore {backup} --to DIR --only PATH",
        )
    if found.nlink <= 1:
        return found, frozenset()
    with trusted(index), records(index, manifest.paths) as lines:
        same = (each for each in checked(lines, len(manifest.archives)) if each.type == "f" and each.nlink > 1)
        names = {each.path for each in same if (each.archive, each.inode) == (found.archive, found.inode)}
    return found, frozenset(names - {path})
