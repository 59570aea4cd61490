"""Files out of a backup into a new directory. Nothing but the backup directory is needed for it."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hiveden_backup.core.errors import BackupError, CorruptError, NotFoundError, UsageError
from hiveden_backup.core.globs import covering_matcher
from hiveden_backup.core.index import Record, split_records
from hiveden_backup.core.model import ArtifactType, Manifest
from hiveden_backup.core.selection import checked, filtered
from hiveden_backup.host import tar
from hiveden_backup.host.directory import INDEX, BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.files import make_directory, translated
from hiveden_backup.jobs.catalog import Backup, show_path
from hiveden_backup.jobs.passes import records
from hiveden_backup.jobs.verify import check_archive_digest, check_sums

Progress = Callable[[int], None]
_LETTERS = {
    "f": stat.S_IFREG,
    "d": stat.S_IFDIR,
    "l": stat.S_IFLNK,
    "p": stat.S_IFIFO,
    "c": stat.S_IFCHR,
    "b": stat.S_IFBLK,
}


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: paths and bytes of regular files, below `target`."""

    target: Path
    entries: int
    bytes: int


def restore_files(
    directory: BackupDirectory, backup: Backup, target: Path, only: Sequence[str], progress: Progress
) -> Restored:
    """Restore a backup's files below `target`, a new or empty directory. The caller shares the job's lock.

    With `only`, just what those globs match, by the final index. Digests are checked before anything is written.
    NotFoundError when nothing matches; CorruptError when the backup is damaged.
    """
    manifest = directory.manifest(backup.job, backup.id)
    if not any(artifact.type is ArtifactType.APPLICATION for artifact in manifest.artifacts):
        raise NotFoundError(
            f"{backup} has no files",
            "Its job backs up databases only",
            f"See what it has: hiveden-backup show {backup}",
        )
    check_sums(directory, backup)
    home = directory.job_path(backup.job)
    with _plan(directory, manifest, backup, only) as plan:
        for number in plan.archives:
            check_archive_digest(home, manifest.archives[number], progress)
        with translated(f"restoring to {target}"):
            _prepare(target)
            failpoint("stage")
            for names in (plan.names, plan.directories):  # the second round sets what the first one disturbs
                for number, file in sorted(names.items()):
                    file.flush()
                    tar.extract(home / manifest.archives[number].path, file, target)
            plan.remove_helpers(target)
            size = plan.check(target)
    return Restored(target, plan.entries, size)


class _Plan:
    """Per archive, the names to extract; spooled, since there may be millions."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.names: dict[int, IO[bytes]] = {}
        self.directories: dict[int, IO[bytes]] = {}
        self._records = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        self.helpers: frozenset[bytes] = frozenset()
        self.entries = 0

    @property
    def archives(self) -> list[int]:
        return sorted(self.names)

    def add(self, record: Record) -> None:
        self._file(self.names, record.archive).write(record.path + b"\0")
        if record.type == "d":
            self._file(self.directories, record.archive).write(record.path + b"\0")
        if record.path not in self.helpers:
            self.entries += 1
            size = record.size if record.type == "f" else 0
            self._records.write(b"%b\t%d\t%b\0" % (record.type.encode(), size, record.path))

    def _file(self, files: dict[int, IO[bytes]], number: int) -> IO[bytes]:
        if number not in files:
            files[number] = self._stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - as above
        return files[number]

    def remove_helpers(self, target: Path) -> None:
        """Take away what was restored only because a wanted hard link needed it."""
        for path in sorted(self.helpers, reverse=True):
            full = os.fsencode(target) + b"/" + path
            if stat.S_ISDIR(os.lstat(full).st_mode):
                os.rmdir(full)
            else:
                os.unlink(full)

    def check(self, target: Path) -> int:
        """Bytes restored. CorruptError when what is on disk is not what the index says."""
        total = 0
        self._records.seek(0)
        for line in split_records(tar.chunks(self._records)):
            kind, size, path = line.split(b"\t", 2)
            try:
                found = os.lstat(os.fsencode(target) + b"/" + path)
            except OSError as error:
                raise CorruptError(
                    f"{show_path(path)} was not restored", error.strerror or "", "Verify the backup"
                ) from error
            if stat.S_IFMT(found.st_mode) != _LETTERS[kind.decode()] or (kind == b"f" and found.st_size != int(size)):
                raise CorruptError(
                    f"{show_path(path)} was restored with another type or size than the index says",
                    "The file changed while it was backed up, or the archive is damaged",
                    "Look at the backup's warnings (hiveden-backup show) and verify it",
                )
            total += int(size)
        return total


@contextmanager
def _plan(directory: BackupDirectory, manifest: Manifest, backup: Backup, only: Sequence[str]) -> Iterator[_Plan]:
    index = directory.backup_path(backup.job, backup.id) / INDEX
    with ExitStack() as stack:
        plan = _Plan(stack)
        try:
            with records(index) as lines:
                found = checked(lines, len(manifest.archives))
                if only:
                    taken, plan.helpers = filtered(found, covering_matcher(only))
                    found = iter(taken.values())
                for record in found:
                    plan.add(record)
        except ValueError as error:
            raise CorruptError(f"{index} is damaged", str(error), "Verify the backups of the job") from error
        if only and not plan.entries:
            raise NotFoundError(
                f"Nothing in {backup} matches {', '.join(only)}",
                "",
                f"List its paths: hiveden-backup show {backup} --files",
            )
        yield plan


def _prepare(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is no directory", "", "Give a new or empty directory")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty", "A restore never writes over files", "Give a new or empty directory")
    make_directory(target)


def refuse_inside(target: Path, directory: BackupDirectory) -> None:
    """BackupError when `target` lies in the backup directory."""
    if target.resolve().is_relative_to(directory.path.resolve()):
        raise BackupError(f"{target} lies in the backup directory", "", "Give a directory outside of it")
