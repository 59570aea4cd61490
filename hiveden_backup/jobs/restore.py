"""Files out of a backup into a new directory. Nothing but the backup directory is needed for it."""

import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hiveden_backup.core.errors import CorruptError, NotFoundError, StorageError, UsageError
from hiveden_backup.core.globs import covering_matcher
from hiveden_backup.core.index import Record, parse, split_records
from hiveden_backup.core.model import ArtifactType, Manifest
from hiveden_backup.core.selection import Filter, checked
from hiveden_backup.host import tar
from hiveden_backup.host.directory import INDEX, BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.files import make_directory, translated
from hiveden_backup.jobs.catalog import Backup, show_path
from hiveden_backup.jobs.passes import records
from hiveden_backup.jobs.verify import check_archive_digest, check_sums

Progress = Callable[[int], None]
_PASSING = b"D"
"""A directory that is a helper: it goes again."""
_FORMATS = {
    b"f": stat.S_IFREG,
    b"d": stat.S_IFDIR,
    _PASSING: stat.S_IFDIR,
    b"l": stat.S_IFLNK,
    b"p": stat.S_IFIFO,
    b"c": stat.S_IFCHR,
    b"b": stat.S_IFBLK,
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
    _refuse_used(target)
    check_sums(directory, backup)
    home = directory.job_path(backup.job)
    with tempfile.TemporaryDirectory(prefix="hiveden-backup-") as spool:
        plan = _plan(directory, manifest, backup, only, Path(spool))
        for number in plan.archives:
            check_archive_digest(home, manifest.archives[number], progress)
        with translated(f"restoring to {target}", unwritable=StorageError):
            _refuse_used(target)
            make_directory(target)
            failpoint("stage")
            size = 0
            with _closed(target) as place:
                _refuse_filled(place)
                for number in plan.archives:
                    tar.extract(home / manifest.archives[number].path, plan.names(number), place)
                    # before the next archive, whose files must not go through what should be a directory
                    size += plan.check(number, place)
                plan.remove_helpers(place)
                for number in plan.archives:  # again, since all that followed disturbed their times and modes
                    if plan.has_directories(number):
                        tar.extract(home / manifest.archives[number].path, plan.directories(number), place)
    return Restored(target, plan.entries, size)


@contextmanager
def _closed(target: Path) -> Iterator[Path]:
    """The target by a name that always means this directory, and that nobody else can enter meanwhile.

    Owners get their directories back before all is restored: one of them could put a link in the way of what follows.
    """
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        was = os.fstat(descriptor)
        os.fchmod(descriptor, 0o700)
        os.fchown(descriptor, os.geteuid(), os.getegid())
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        os.fchown(descriptor, was.st_uid, was.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(was.st_mode))
    finally:
        os.close(descriptor)


class _Plan:
    """What to restore from which archive; spooled, since there may be millions of paths."""

    def __init__(self, spool: Path, archives: int) -> None:
        self._spool = spool
        self._files: list[IO[bytes] | None] = [None] * archives
        self._directories: set[int] = set()
        self.helpers: Collection[bytes] = ()
        self.entries = 0

    @property
    def archives(self) -> list[int]:
        """The numbers of those that something is taken from."""
        return [number for number, file in enumerate(self._files) if file is not None]

    def add(self, record: Record) -> None:
        """Restore a path. All are added in the index's order."""
        number = record.archive
        file = self._files[number]
        if file is None:
            file = self._files[number] = self._place(number, "plan").open("wb")
        helper = record.path in self.helpers
        self.entries += not helper
        if record.type == "d" and not helper:
            self._directories.add(number)
        kind = record.type.encode() if record.type != "d" or not helper else _PASSING
        file.write(b"%b\t%d\t%b\0" % (kind, record.size if record.type == "f" else 0, record.path))

    def close(self) -> None:
        """No more paths are added."""
        for file in self._files:
            if file is not None:
                file.close()

    def names(self, number: int) -> Path:
        """A file with the names of all paths to take from an archive, each ended by NUL."""
        return self._listed(number, "names", lambda _: True)

    def has_directories(self, number: int) -> bool:
        """Whether `directories` has any."""
        return number in self._directories

    def directories(self, number: int) -> Path:
        """As `names`, of the directories that are to stay."""
        return self._listed(number, "directories", lambda kind: kind == b"d")

    def _listed(self, number: int, name: str, chosen: Callable[[bytes], bool]) -> Path:
        place = self._place(number, name)
        with place.open("wb") as file:
            file.writelines(path + b"\0" for kind, _, path in self._paths(number) if chosen(kind))
        return place

    def _paths(self, number: int) -> Iterator[tuple[bytes, int, bytes]]:
        with self._place(number, "plan").open("rb") as file:
            for line in split_records(tar.chunks(file)):
                kind, size, path = line.split(b"\t", 2)
                yield kind, int(size), path

    def _place(self, number: int, name: str) -> Path:
        return self._spool / f"{number}.{name}"

    def remove_helpers(self, target: Path) -> None:
        """Take away what was restored only because a wanted hard link needed it."""
        for path in sorted(self.helpers, reverse=True):
            full = os.fsencode(target) + b"/" + path
            if stat.S_ISDIR(os.lstat(full).st_mode):
                os.rmdir(full)
            else:
                os.unlink(full)

    def check(self, number: int, target: Path) -> int:
        """Bytes restored from an archive. CorruptError when what is on disk is not what the index says."""
        top = os.fsencode(target) + b"/"
        total = 0
        for kind, size, path in self._paths(number):
            try:
                found = os.lstat(top + path)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise CorruptError(
                    f"{show_path(path)} was not restored", error.strerror or "", "Verify the backup"
                ) from error
            if stat.S_IFMT(found.st_mode) != _FORMATS[kind] or (kind == b"f" and found.st_size != size):
                raise CorruptError(
                    f"{show_path(path)} was restored with another type or size than the index says",
                    "The archive is not the one that the index was made for",
                    "Verify the backup, and restore another one",
                )
            total += size
        return total


def _plan(directory: BackupDirectory, manifest: Manifest, backup: Backup, only: Sequence[str], spool: Path) -> _Plan:
    index = directory.backup_path(backup.job, backup.id) / INDEX
    plan = _Plan(spool, len(manifest.archives))
    chosen = Filter(covering_matcher(only)) if only else None
    try:
        if chosen is not None:
            with records(index) as lines:
                if not chosen.find_wanted(checked(lines, len(manifest.archives))):
                    raise NotFoundError(
                        f"Nothing in {backup} matches {', '.join(only)}",
                        "",
                        f"List its paths: hiveden-backup show {backup} --files",
                    )
            with records(index) as lines:
                chosen.find_helpers(parse(line) for line in lines)
            plan.helpers = chosen.helpers
        with records(index) as lines, translated(f"writing the spool {spool}", unwritable=StorageError):
            for record in checked(lines, len(manifest.archives)):
                if chosen is None or chosen.takes(record):
                    plan.add(record)
            plan.close()
    except ValueError as error:
        raise CorruptError(f"{index} is damaged", str(error), "Verify the backups of the job") from error
    return plan


def _refuse_used(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is no directory", "", "Give a new or empty directory")
    if target.is_dir():
        _refuse_filled(target)


def _refuse_filled(target: Path) -> None:
    if any(target.iterdir()):
        raise UsageError(f"{target} is not empty", "A restore never writes over files", "Give a new or empty directory")


def refuse_inside(target: Path, directory: BackupDirectory) -> None:
    """UsageError when `target` lies in the backup directory."""
    if target.resolve().is_relative_to(directory.path.resolve()):
        raise UsageError(f"{target} lies in the backup directory", "", "Give a directory outside of it")
