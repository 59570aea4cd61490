"""One path of an index that is restored: as it is spooled, and whether what came is what the index says."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hiveden_backup.core.backup.extraction import Loss, Losses
from hiveden_backup.core.backup.index import Record
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.host.disk.beneath import through
from hiveden_backup.host.disk.descent import Descent
from hiveden_backup.host.disk.index_files import spooled
from hiveden_backup.jobs.backups.catalog import show_path

PASSING = b"D"
"""A directory that is a helper: it goes again."""
COARSE_NS = 2 * 10**9
"""By how much a file system may round times."""
_MISSING = {b"l": Loss.SYMBOLIC_LINKS, b"p": Loss.SPECIAL, b"c": Loss.SPECIAL, b"b": Loss.SPECIAL}
_AS_OWNER = stat.S_ISUID | stat.S_ISGID
_FORMATS = {
    b"f": stat.S_IFREG,
    b"d": stat.S_IFDIR,
    PASSING: stat.S_IFDIR,
    b"l": stat.S_IFLNK,
    b"p": stat.S_IFIFO,
    b"c": stat.S_IFCHR,
    b"b": stat.S_IFBLK,
}


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

    def linked(self) -> CorruptError:
        """The error for a file that has other names than the index says: it may be one from elsewhere."""
        return CorruptError(
            f"{show_path(self.path)} was restored as a hard link to a file that is not in the backup",
            "The archive is not the one that the index was made for",
            "Verify the backup, and restore another one",
        )

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

    @classmethod
    def of(cls, record: Record, *, helper: bool) -> "Chosen":
        """A record of the index."""
        kind = PASSING if helper and record.type == "d" else record.type.encode()
        inode = record.inode if record.nlink > 1 else 0
        size = record.size if record.type == "f" else 0
        return cls(kind, size, record.mode, record.uid, record.gid, record.mtime_ns, inode, record.path)

    @property
    def line(self) -> bytes:
        """As `chosen` reads it back."""
        return b"%b\t%d\t%d\t%d\t%d\t%d\t%d\t%b\0" % self


def chosen(path: Path) -> Iterator[Chosen]:
    """What was spooled to a file."""
    for line in spooled(path):
        kind, *numbers, name = line.split(b"\t", 7)
        size, mode, uid, gid, mtime_ns, inode = map(int, numbers)
        yield Chosen(kind, size, mode, uid, gid, mtime_ns, inode, name)


def _take_off(way: Descent, path: bytes, found: os.stat_result, mode: int) -> None:
    """Give the file that was `found` at a path this mode; what has come in its place since gets none."""
    directory, name = way.parent(path)
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.path.samestat(os.fstat(descriptor), found):
            os.chmod(through(descriptor), mode)
    finally:
        os.close(descriptor)
