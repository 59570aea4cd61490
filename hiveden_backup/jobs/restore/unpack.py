"""Files out of a backup's archives into an empty directory: what of which archive, and whether all of it came."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from hiveden_backup.core.backup.extraction import Loss, Losses
from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.selection import Filter, checked
from hiveden_backup.core.errors import CorruptError, StorageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk import swaps, tar
from hiveden_backup.host.disk.beneath import through
from hiveden_backup.host.disk.descent import Descent
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records, spooled
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.log import log
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.backups.verify import check_archive_digest

_PASSING = b"D"
"""A directory that is a helper: it goes again."""
_MISSING = {b"l": Loss.SYMBOLIC_LINKS, b"p": Loss.SPECIAL, b"c": Loss.SPECIAL, b"b": Loss.SPECIAL}
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NOT_KEPT = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
_AS_OWNER = stat.S_ISUID | stat.S_ISGID
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
COARSE_NS = 2 * 10**9
"""By how much a file system may round times."""
_FORMATS = {
    b"f": stat.S_IFREG,
    b"d": stat.S_IFDIR,
    _PASSING: stat.S_IFDIR,
    b"l": stat.S_IFLNK,
    b"p": stat.S_IFIFO,
    b"c": stat.S_IFCHR,
    b"b": stat.S_IFBLK,
}


def unpack(home: Path, manifest: Manifest, plan: "Selected", place: int) -> tuple[int, Losses]:
    """Restore what `plan` has below an empty directory, a descriptor; the bytes of its regular files, and what is lost.

    Nobody else may be able to enter it meanwhile. CorruptError when an archive lacks something, or has something else
    than the index says. What the place would not keep is no error here.
    """
    size, losses = 0, Losses()
    for number in plan.archives:
        archive = manifest.archives[number]
        told = tar.extract(home / archive.path, archive.bytes, plan.names(number), place)
        losses.merge(told.lost)
        # before the next archive, whose files must not go through what should be a directory
        size += plan.check(number, place, told.not_made, losses)
    plan.remove_helpers(place)
    for number in plan.archives:  # again, since all that followed disturbed their times and modes
        if plan.has_directories(number):
            archive = manifest.archives[number]
            tar.extract(home / archive.path, archive.bytes, plan.directories(number), place)
            plan.check_directories(number, place, losses)
    return size, losses


def check_digests(home: Path, manifest: Manifest, plan: "Selected", progress: Advance) -> None:
    """CorruptError when an archive that something is taken from is not what was written."""
    for number in plan.archives:
        check_archive_digest(home, manifest.archives[number], progress)


@contextmanager
def closed(directory: int, path: str) -> Iterator[None]:
    """A directory, whose descriptor this is, that nobody else can enter for the block; `path` is its name for messages.

    Owners get their directories back before all is restored: one of them could put a link in the way of what follows.
    """
    was = os.fstat(directory)
    _belong(directory, os.geteuid(), os.getegid(), 0o700)
    now = os.fstat(directory)
    if now.st_mode & _OTHERS_WRITE or now.st_uid != os.geteuid():
        log.warning(f"{path} cannot be closed while it is filled: who may write there could interfere")
    yield
    _belong(directory, was.st_uid, was.st_gid, stat.S_IMODE(was.st_mode))


def _belong(directory: int, uid: int, gid: int, mode: int) -> None:
    """Give a directory this owner and mode, as far as its file system lets us."""
    now, path = os.fstat(directory), through(directory)
    try:
        if stat.S_IMODE(now.st_mode) != mode:
            os.chmod(path, mode)
        if (now.st_uid, now.st_gid) != (uid, gid):
            os.chown(path, uid, gid)
            os.chmod(path, mode)  # a change of the owner takes bits off
    except OSError as error:
        if error.errno not in _NOT_KEPT:
            raise


class Chosen(NamedTuple):
    """A path to restore, as the index has it. `inode` is 0 where it has no other name."""

    kind: bytes
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    inode: int
    path: bytes

    @property
    def missing(self) -> Loss | None:
        """As what it counts when the place does not take paths of its kind."""
        return _MISSING.get(self.kind)

    def insist(self, found: os.stat_result | None) -> os.stat_result:
        """What was found, which must have the type and size that the index says. CorruptError when it has not."""
        if found is None:
            raise CorruptError(f"{show_path(self.path)} was not restored", "It is not there", "Verify the backup")
        if stat.S_IFMT(found.st_mode) != _FORMATS[self.kind] or (self.kind == b"f" and found.st_size != self.size):
            raise CorruptError(
                f"{show_path(self.path)} was restored with another type or size than the index says",
                "The archive is not the one that the index was made for",
                "Verify the backup, and restore another one",
            )
        return found

    def compare(self, found: os.stat_result, way: Descent, losses: Losses) -> None:
        """Add to `losses` what is not as the index says. A file that runs as its owner must not run as another one."""
        owners = (found.st_uid, found.st_gid) == (self.uid, self.gid)
        mode = stat.S_IMODE(found.st_mode)
        if not owners:
            losses.add(Loss.OWNERS, show_path(self.path))
            if self.kind == b"f" and mode & _AS_OWNER:
                mode &= ~_AS_OWNER
                _take_off(way, self.path, found, mode)
        # bits that only the archive has are no matter of the place: in place, `compare` refuses them
        if self.kind != b"l" and mode & (~_AS_OWNER | self.mode) != self.mode:
            losses.add(Loss.MODES, show_path(self.path))
        if abs(found.st_mtime_ns - self.mtime_ns) >= COARSE_NS:
            losses.add(Loss.TIMES, show_path(self.path))


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
        inode = record.inode if record.nlink > 1 else 0
        numbers = record.size if record.type == "f" else 0, record.mode, record.uid, record.gid, record.mtime_ns, inode
        file.write(b"%b\t%d\t%d\t%d\t%d\t%d\t%d\t%b\0" % (kind, *numbers, record.path))

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
            file.writelines(each.path + b"\0" for each in self._paths(number) if chosen(each.kind))
        return place

    def _paths(self, number: int) -> Iterator["Chosen"]:
        for line in spooled(self._place(number, "plan")):
            kind, *numbers, path = line.split(b"\t", 7)
            size, mode, uid, gid, mtime_ns, inode = map(int, numbers)
            yield Chosen(kind, size, mode, uid, gid, mtime_ns, inode, path)

    def _place(self, number: int, name: str) -> Path:
        return self._spool / f"{number}.{name}"

    def remove_helpers(self, target: int) -> None:
        """Take away what was restored only because a wanted hard link needed it."""
        with Descent(target) as way:
            for path in sorted(self.helpers, reverse=True):
                found = way.find(path)
                if found is None:  # the place does not take its kind
                    continue
                directory, name = way.parent(path)
                if stat.S_ISDIR(found.st_mode):
                    os.rmdir(name, dir_fd=directory)
                else:
                    os.unlink(name, dir_fd=directory)

    def check(self, number: int, target: int, not_made: Collection[Loss], losses: Losses) -> int:
        """Bytes restored from an archive. CorruptError when what is on disk is not what the index says.

        What the place does not keep is added to `losses`; paths of the kinds `not_made` may be missing. Where it takes
        no hard links, they become copies.
        """
        total = 0
        names: dict[Chosen, bytes] = {}
        with Descent(target) as way:
            for each in self._paths(number):
                found = way.find(each.path)
                same = each._replace(path=b"")
                if found is None and same in names and Loss.HARD_LINKS in not_made:
                    losses.add(Loss.HARD_LINKS, show_path(each.path))
                    found = _copied(way, names[same], each.path)
                elif found is None and each.missing is not None and each.missing in not_made:
                    losses.add(each.missing, show_path(each.path))
                    continue
                status = each.insist(found)
                if each.inode and each.kind == b"f":
                    names.setdefault(same, each.path)
                if not stat.S_ISDIR(status.st_mode) and each.path not in self.helpers:
                    each.compare(status, way, losses)
                total += each.size
        return total

    def check_directories(self, number: int, target: int, losses: Losses) -> None:
        """As `check`, of what the place keeps of directories, which are as they are to be in the end only."""
        with Descent(target) as way:
            for each in self._paths(number):
                if each.kind == b"d":
                    each.compare(each.insist(way.find(each.path)), way, losses)


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
            with records(index, manifest.paths) as lines:
                chosen.find_wanted(checked(lines, len(manifest.archives)))
            with records(index, manifest.paths) as lines:
                chosen.find_helpers(parse(line) for line in lines)
            plan.helpers = chosen.helpers
        with records(index, manifest.paths) as lines, translated(f"writing the spool {spool}", unwritable=StorageError):
            for record in checked(lines, len(manifest.archives)):
                if chosen is None or chosen.takes(record):
                    plan.add(record)
            plan.close()
    return plan


def _take_off(way: Descent, path: bytes, found: os.stat_result, mode: int) -> None:
    """Give the file that was `found` at a path this mode; what has come in its place since gets none."""
    directory, name = way.parent(path)
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.path.samestat(os.fstat(descriptor), found):
            os.chmod(through(descriptor), mode)
    finally:
        os.close(descriptor)


def _copied(way: Descent, source: bytes, target: bytes) -> os.stat_result:
    """What a hard link becomes where there are none: a file of its own that looks like the other one."""
    directory, name = way.parent(source)
    with open(name, "rb", opener=lambda path, _: os.open(path, _SOURCE, dir_fd=directory)) as original:
        directory, name = way.parent(target)
        with open(name, "wb", opener=lambda path, _: os.open(path, _COPY, 0o600, dir_fd=directory)) as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            swaps.dress(original.fileno(), copy.fileno())
            return os.fstat(copy.fileno())


@contextmanager
def trusted(index: Path) -> Iterator[None]:
    """Reading records that `checked` looks at: what it finds wrong becomes a CorruptError."""
    try:
        yield
    except ValueError as error:
        raise CorruptError(f"{index} is damaged", str(error), "Verify the backups of the job") from error
