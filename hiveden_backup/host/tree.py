"""The scan of a job's trees: every path's record, sorted bytewise, as one stream."""

import heapq
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from hiveden_backup.core.index import HEADER_BYTES, Scanned
from hiveden_backup.host.files import translate

_LETTERS = {
    stat.S_IFREG: b"f",
    stat.S_IFDIR: b"d",
    stat.S_IFLNK: b"l",
    stat.S_IFIFO: b"p",
    stat.S_IFCHR: b"c",
    stat.S_IFBLK: b"b",
}
_SUSPECTS = frozenset({b"postmaster.pid", b"ibdata1", b"mongod.lock"})
_SUSPECT_ENDINGS = (*_SUSPECTS, b"-wal")
_Item = tuple[bytes, Scanned | None]


@dataclass(slots=True)
class Scan:
    """The trees to scan, and what the scan counted.

    `roots` are bytes relative to `/`, none below another. `skip` are paths relative to `/` left out with all below;
    `excluded` decides further ones. `loose_devices` are the device numbers of network and FUSE file systems.
    Once `entries` is exhausted, `sockets` counts what cannot be archived, and `suspects` are files by whose names a
    database seems to be in use there.
    """

    roots: tuple[bytes, ...]
    skip: Collection[bytes] = ()
    excluded: Callable[[bytes], bool] | None = None
    one_file_system: bool = False
    loose_devices: Collection[int] = ()
    sockets: int = 0
    suspects: list[bytes] = field(default_factory=list)

    def entries(self) -> Iterator[Scanned]:
        """Every path below the roots and the roots themselves. What vanishes meanwhile is left out."""
        streams = [self._tree(root) for root in sorted(self.roots)]
        return streams[0] if len(streams) == 1 else heapq.merge(*streams)

    def _tree(self, root: bytes) -> Iterator[Scanned]:
        try:
            status = os.lstat(b"/" + root)
        except OSError as error:
            raise translate(error, f"reading the job's path /{os.fsdecode(root)}") from error
        device = status.st_dev
        top = self._scanned(root, status)
        if top is None:
            return
        yield top
        if not stat.S_ISDIR(status.st_mode):
            return
        stack = [self._children(root, device)]
        while stack:
            for key, entry in stack[-1]:
                if entry is None:  # the place where what is below a directory sorts
                    stack.append(self._children(key, device))
                    break
                yield entry
            else:
                stack.pop()

    def _children(self, directory: bytes, device: int) -> Iterator[_Item]:
        """The sorted entries of one directory, with a marker where each subtree's records belong."""
        items: list[_Item] = []
        append = items.append
        skip, excluded = self.skip, self.excluded
        scanned = self._scanned
        try:
            with os.scandir(b"/" + directory) as listing:
                for entry in listing:
                    path = directory + b"/" + entry.name if directory else entry.name
                    if path in skip or (excluded is not None and excluded(path)):
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    item = scanned(path, status)
                    if item is None:
                        continue
                    append((path, item))
                    if entry.name.endswith(_SUSPECT_ENDINGS) and _suspect(entry.name, status):
                        self.suspects.append(path)
                    if stat.S_ISDIR(status.st_mode) and not (self.one_file_system and status.st_dev != device):
                        append((path + b"/", None))
        except (FileNotFoundError, NotADirectoryError):
            return iter(())  # it went, or became something else, since its parent was read: the next pass sees it
        except OSError as error:
            raise translate(error, f"reading the directory /{os.fsdecode(directory)}") from error
        items.sort()
        return ((key if entry is not None else key[:-1], entry) for key, entry in items)

    def _scanned(self, path: bytes, status: os.stat_result) -> Scanned | None:
        mode = status.st_mode
        letter = _LETTERS.get(stat.S_IFMT(mode))
        if letter is None:
            self.sockets += 1
            return None
        mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
        if letter == b"d":
            nlink = size = 0
            weight = HEADER_BYTES
        else:
            nlink, size = status.st_nlink, status.st_size
            weight = HEADER_BYTES + (size // nlink if letter == b"f" and nlink else 0)
        return Scanned(
            path,
            b"%b\t%o\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%b"
            % (letter, mode & 0o7777, status.st_uid, status.st_gid, nlink, size, mtime, ctime, status.st_ino, path),
            max(ctime, mtime),
            status.st_ino if nlink > 1 else 0,
            weight,
            status.st_dev in self.loose_devices,
        )


def _suspect(name: bytes, status: os.stat_result) -> bool:
    """Whether a file of this name tells of a database in use (an empty write-ahead log or lock does not)."""
    return status.st_size > 0 and (name in _SUSPECTS or name.endswith(b"-wal"))
