"""The scan of a job's trees: every path's record, sorted bytewise, as one stream."""

import errno
import heapq
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain, pairwise

from hiveden_backup.core.backup.index import HEADER_BYTES, Scanned
from hiveden_backup.core.backup.layout import MARKER
from hiveden_backup.core.backup.moved import directory_line
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, NotFoundError
from hiveden_backup.core.restore_record import HOLDER_PREFIX
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.durable import translate
from hiveden_backup.host.disk.repository import marker_in
from hiveden_backup.host.disk.walk import GONE, Way

_LETTERS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
}
_SUSPECTS = frozenset({b"postmaster.pid", b"ibdata1", b"mongod.lock"})
_FORMAT = 0o170000  # what stat.S_IFMT masks, without a call for each path
_TOO_LONG = 4050
"""Bytes of a path below `/`. From 4095 on no system call takes it as a whole, and GNU tar, which puts names of its own
before it, reads and sets no ACLs from 4080 on (tried). A tree can be that deep all the same."""
_LONGEST_NAME = 256
_SHOWN = 3
_MARKER = MARKER.encode()
_HOLDER_PREFIX = HOLDER_PREFIX.encode()
_SUSPECT_PARTS = (*_SUSPECTS, b"-wal")


@dataclass(slots=True)
class Scan:
    """The trees to scan, and what the scan counted.

    `roots` are bytes relative to `/` (or to the directory whose descriptor is `top`), none below another.
    Directories whose device and inode are in `hidden`, each with what it is, are left out with all below, under
    whatever name: a bind mount gives them another one. So is what is in a directory with the backup directory's
    `marker`: a union of file systems shows it as another inode. So is what is `excluded`, and trees that are kept
    for undo. `loose_devices` are the device numbers of network and FUSE file systems. Once `entries` is exhausted,
    `sockets` counts what cannot be archived, `suspects` are files by whose names a database seems to be in use
    there, and `kept_out` is where the hidden and marked ones were met, and what they are. `opened` gets an entry
    for each directory, and for those above the roots, as `core/backup/moved.py` has it, ended by NUL. `too_long`
    counts paths that are left out, with all below, since they could not be restored; the first ones are named.
    """

    roots: tuple[bytes, ...]
    hidden: Mapping[tuple[int, int], str] = field(default_factory=dict)
    marker: bytes = b""
    excluded: Callable[[bytes], bool] | None = None
    one_file_system: bool = False
    loose_devices: Collection[int] = ()
    opened: Callable[[bytes], object] | None = None
    sockets: int = 0
    suspects: list[bytes] = field(default_factory=list)
    too_long: int = 0
    too_long_first: list[bytes] = field(default_factory=list)
    kept_out: list[tuple[bytes, str]] = field(default_factory=list)
    top: int | None = None
    _way: Way = field(init=False)
    _heads: dict[tuple[int, int, int, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._way = Way(self.top)

    def entries(self) -> Iterator[Scanned]:
        """Every path below the roots and the roots themselves. What vanishes meanwhile is left out.

        NotFoundError when a root is gone, StorageError or DeniedError when something cannot be read.
        """
        roots = sorted(self.roots)
        streams = [chain.from_iterable(self._tree(root)) for root in roots]
        with self._way:
            if any(after.startswith(before) for before, after in pairwise(roots)):
                yield from heapq.merge(*streams)  # what is below `a` sorts behind the root `a-b`, and before `a0`
            else:
                yield from chain.from_iterable(streams)

    def _tree(self, root: bytes) -> Iterator[list[Scanned]]:
        """The entries of a tree, many at a time."""
        try:
            self._above(root)
            status = self._way.status(root)
            device = status.st_dev
            children = self._children(root, device) if stat.S_ISDIR(status.st_mode) else []
        except OSError as error:
            raise _gone(root, error) from error
        if root and status.st_mode & _FORMAT in _LETTERS:  # `/` itself has no name that an archive could give it
            yield [self._scanned(root, status)]
        stack = [_runs(children)]
        while stack:
            for run, directory in stack[-1]:
                yield run
                if directory:
                    stack.append(_runs(self._below(directory, device)))
                    break
            else:
                stack.pop()

    def _above(self, root: bytes) -> None:
        """Tell of the directories above a root, from the top."""
        at = root.find(b"/")
        while at >= 0:
            self._tell(root[:at], os.fstat(self._way.directory(root[:at])))
            at = root.find(b"/", at + 1)

    def _tell(self, directory: bytes, status: os.stat_result) -> None:
        if self.opened is not None:
            self.opened(directory_line(directory, (status.st_dev, status.st_ino)) + b"\0")

    def _below(self, directory: bytes, device: int) -> list[Scanned]:
        """As `_children`; none when the directory went since its parent was read: the next pass sees that."""
        try:
            return self._children(directory, device)
        except OSError as error:
            if error.errno in GONE:
                return []
            raise translate(error, f"reading the directory /{os.fsdecode(directory)}") from error

    def _enter(self, directory: bytes) -> int:
        descriptor = self._way.directory(directory, read=True)
        status = os.fstat(descriptor)
        self._tell(directory, status)
        if directory not in self.roots and self._is_hidden(directory, status):  # it came here since its parent was read
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return descriptor

    def _children(self, parent: bytes, device: int) -> list[Scanned]:
        """The sorted entries of one directory. An empty record marks where those below a subdirectory belong."""
        descriptor = self._enter(parent)
        prefix = parent + b"/" if parent else b""
        text = os.fsencode("\0".join(os.listdir(descriptor)))  # what is asked of all names at once costs least
        names = self._wanted(text.split(b"\0"), text, parent, prefix) if text else []
        names.sort()
        suspicious = any(part in text for part in _SUSPECT_PARTS)
        found: list[Scanned] = []
        append, scanned, lstat = found.append, self._scanned, os.lstat
        places = []
        for name in names:
            try:
                status = lstat(name, dir_fd=descriptor)
            except OSError as error:
                if error.errno in GONE:
                    continue
                raise
            path = prefix + name
            mode = status.st_mode & _FORMAT
            if mode == stat.S_IFDIR:
                if self._is_hidden(path, status):
                    continue
                if self.one_file_system and status.st_dev != device:
                    self._tell(path, status)
                else:
                    places.append((path + b"/", b"", 0, 0, 0, False))
            elif mode not in _LETTERS:
                self.sockets += 1
                continue
            elif suspicious and _suspect(path, status):
                self.suspects.append(path)
            append(scanned(path, status))
        if places:
            found += places
            found.sort()
        return found

    def _wanted(self, names: list[bytes], text: bytes, parent: bytes, prefix: bytes) -> list[bytes]:
        """The names of a directory, with NULs between them the `text`, that are looked at."""
        if _MARKER in text and _MARKER in names and self._is_marked(parent):
            return []
        if _HOLDER_PREFIX in text:
            names = [name for name in names if not name.startswith(_HOLDER_PREFIX)]
        if self.excluded is not None:
            names = [name for name in names if not self.excluded(prefix + name)]
        if len(prefix) + _LONGEST_NAME > _TOO_LONG:
            names = [name for name in names if not self._is_too_long(prefix + name)]
        return names

    def _is_hidden(self, directory: bytes, status: os.stat_result) -> bool:
        what = self.hidden.get((status.st_dev, status.st_ino))
        if what is not None:
            self.kept_out.append((directory, what))
        return what is not None

    def _is_marked(self, directory: bytes) -> bool:
        """Whether it is the backup directory, as another file system shows it: nothing in it is archived."""
        if not self.marker or marker_in(beneath.through(self._way.directory(directory))) != self.marker:
            return False
        self.kept_out.append((directory, "the backup directory, as another file system shows it"))
        return True

    def _is_too_long(self, path: bytes) -> bool:
        if len(path) < _TOO_LONG:
            return False
        self.too_long += 1
        if len(self.too_long_first) < _SHOWN:
            self.too_long_first.append(path)
        return True

    def _scanned(self, path: bytes, status: os.stat_result) -> Scanned:
        """What the index says of a path."""
        mode, nlink, size, inode = status.st_mode, status.st_nlink, status.st_size, status.st_ino
        mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
        alike = mode, nlink, status.st_uid, status.st_gid
        head = self._heads.get(alike) or self._head(alike)
        kind = mode & _FORMAT
        weight = HEADER_BYTES
        if kind == stat.S_IFREG:
            weight += size // nlink if nlink > 1 else size
        elif kind == stat.S_IFDIR:
            nlink = size = 0
        return (
            path,
            b"%b%d\t%d\t%d\t%d\t%b" % (head, size, mtime, ctime, inode, path),
            mtime if mtime > ctime else ctime,  # noqa: FURB136 - max() is a call, a million times
            weight,
            inode if nlink > 1 else 0,
            status.st_dev in self.loose_devices,
        )

    def _head(self, alike: tuple[int, int, int, int]) -> bytes:
        """How the records of such paths begin. There are few of them: each is formatted once."""
        mode, nlink, uid, gid = alike
        links = 0 if stat.S_ISDIR(mode) else nlink
        head = f"{_LETTERS[mode & _FORMAT]}\t{mode & 0o7777:o}\t{uid}\t{gid}\t{links}\t".encode()
        self._heads[alike] = head
        return head


def _runs(found: list[Scanned]) -> Iterator[tuple[list[Scanned], bytes]]:
    """The entries up to each place where what is below a directory sorts, and that directory; those behind the last."""
    begin = 0
    for at, entry in enumerate(found):
        if not entry[1]:
            yield found[begin:at], entry[0][:-1]
            begin = at + 1
    yield found[begin:], b""


def _suspect(path: bytes, status: os.stat_result) -> bool:
    """Whether a file of this name tells of a database in use (an empty write-ahead log or lock does not)."""
    return status.st_size > 0 and (os.path.basename(path) in _SUSPECTS or path.endswith(b"-wal"))


def _gone(root: bytes, error: OSError) -> BackupError:
    """The error for a root that cannot be read. One that is gone is never an empty backup."""
    if error.errno in GONE:
        return NotFoundError(f"The job's path /{os.fsdecode(root)} is gone", "", "Mount it, or correct the job")
    return translate(error, f"reading the job's path /{os.fsdecode(root)}")


@dataclass(slots=True)
class Census:
    """What lies at a path: how many paths, bytes of regular files, the newest time of change (ns).

    `left_out` are the topmost paths below it, relative to it, that a backup leaves out; they are not counted. `hidden`
    are directories in it that must never move, relative to it.
    """

    paths: int = 0
    bytes: int = 0
    newest_ns: int = 0
    left_out: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)

    def count(self, status: os.stat_result) -> None:
        """One more path."""
        self.paths += 1
        self.newest_ns = max(self.newest_ns, status.st_mtime_ns)
        if stat.S_ISREG(status.st_mode):
            self.bytes += status.st_size // max(status.st_nlink, 1)


def census(path: str, excluded: Callable[[str], bool], hidden: Collection[tuple[int, int]] = ()) -> Census | None:
    """Look at a path and all below it; None when there is nothing. `excluded` gets paths relative to it.

    `hidden` are device and inode of directories that must never move, by whatever name a bind mount gives them.
    Directories in it that hold what earlier restores replaced are passed over.
    """
    found = Census()
    top = os.fsencode(path.lstrip("/"))
    with Way() as way:
        try:
            status = way.status(top)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found.count(status)
        if (status.st_dev, status.st_ino) in hidden:
            found.hidden.append(".")
        ahead = [""] if stat.S_ISDIR(status.st_mode) else []
        while ahead:
            below = ahead.pop()
            try:
                descriptor = way.directory(os.fsencode(f"{path}/{below}".strip("/")), read=True)
                ahead.extend(_count_directory(descriptor, below, excluded, hidden, found))
            except OSError as error:
                if error.errno not in GONE:  # else it went meanwhile
                    raise
    found.left_out.sort()
    return found


def _count_directory(
    descriptor: int, below: str, excluded: Callable[[str], bool], hidden: Collection[tuple[int, int]], found: Census
) -> list[str]:
    """Count what is in the directory `below`; the directories among it."""
    directories = []
    with os.scandir(descriptor) as listing:
        for entry in listing:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith(HOLDER_PREFIX):
                continue
            if excluded(name):
                found.left_out.append(name)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.count(status)
            if stat.S_ISDIR(status.st_mode):
                directories.append(name)
                if (status.st_dev, status.st_ino) in hidden:
                    found.hidden.append(name)
    return directories
