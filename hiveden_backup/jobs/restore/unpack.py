"""Files out of a backup's archives into an empty directory: what of which archive, and whether all of it came."""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.selection import Filter, checked
from hiveden_backup.core.errors import CorruptError, StorageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk import tar
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records, spooled
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.backups.verify import check_archive_digest

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


def unpack(home: Path, manifest: Manifest, plan: "Selected", place: Path) -> int:
    """Restore what `plan` has below the empty directory `place`; the bytes of its regular files.

    Nobody else may be able to enter `place` meanwhile. CorruptError when an archive lacks something, or has something
    else than the index says.
    """
    size = 0
    for number in plan.archives:
        tar.extract(home / manifest.archives[number].path, plan.names(number), place)
        # before the next archive, whose files must not go through what should be a directory
        size += plan.check(number, place)
    plan.remove_helpers(place)
    for number in plan.archives:  # again, since all that followed disturbed their times and modes
        if plan.has_directories(number):
            tar.extract(home / manifest.archives[number].path, plan.directories(number), place)
    return size


def check_digests(home: Path, manifest: Manifest, plan: "Selected", progress: Advance) -> None:
    """CorruptError when an archive that something is taken from is not what was written."""
    for number in plan.archives:
        check_archive_digest(home, manifest.archives[number], progress)


@contextmanager
def closed(target: Path) -> Iterator[Path]:
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


class Selected:
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
        with translated(f"writing the list {place}", unwritable=StorageError), place.open("wb") as file:
            file.writelines(path + b"\0" for kind, _, path in self._paths(number) if chosen(kind))
        return place

    def _paths(self, number: int) -> Iterator[tuple[bytes, int, bytes]]:
        for line in spooled(self._place(number, "plan")):
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


def select(
    directory: BackupDirectory, manifest: Manifest, wanted: Callable[[bytes], bool] | None, spool: Path
) -> Selected:
    """The paths of a backup that are `wanted` (all by default), found in its final index; spooled to `spool`.

    CorruptError when the index is not to be trusted.
    """
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    plan = Selected(spool, len(manifest.archives))
    chosen = Filter(wanted) if wanted is not None else None
    with trusted(index):
        if chosen is not None:
            with records(index) as lines:
                chosen.find_wanted(checked(lines, len(manifest.archives)))
            with records(index) as lines:
                chosen.find_helpers(parse(line) for line in lines)
            plan.helpers = chosen.helpers
        with records(index) as lines, translated(f"writing the spool {spool}", unwritable=StorageError):
            for record in checked(lines, len(manifest.archives)):
                if chosen is None or chosen.takes(record):
                    plan.add(record)
            plan.close()
    return plan


@contextmanager
def trusted(index: Path) -> Iterator[None]:
    """Reading records that `checked` looks at: what it finds wrong becomes a CorruptError."""
    try:
        yield
    except ValueError as error:
        raise CorruptError(f"{index} is damaged", str(error), "Verify the backups of the job") from error
