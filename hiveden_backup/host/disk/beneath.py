"""The one door to paths that others may meddle with: directories by descriptors, opened without links, and held.

Who owns a directory can rename, link and exchange what is in it at any moment. So a path is walked once, one component
after the other from a descriptor that is held already, and what is done then is done beneath a descriptor, by one name.
There is one mechanism: openat2(2) with RESOLVE_NO_SYMLINKS would do the walk in one call, but RestrictSUIDSGID= of a
hardened unit makes it ENOSYS, and component by component is just as safe. Mount points are crossed as ever.

The descriptors are O_PATH: they need no right to read, wait for nobody, and `through` gives what takes only paths a way
to what they stand for. A path that is more than a name is never walked a second time.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from hiveden_backup.core.identity import Identity
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import ctypes
else:
    ctypes = Later("ctypes")

_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_NOREPLACE = 1
_WITHOUT_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS})
_DEEPEST = 50
"""A tree that is removed is entered no deeper: who made it may have made it of any depth."""
_CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY, errno.EEXIST})
"""What a removal meets where somebody still works in the tree, or where something has to go first: look again."""
_ROUNDS = 10


def load() -> None:
    """Import what it needs, which must not happen while containers are down."""
    ctypes.CDLL  # noqa: B018 - that it is asked for imports it


# ---- ways ------------------------------------------------------------------------------------------------------------


@contextmanager
def opened(path: str, beneath: int | None = None) -> Iterator[int]:
    """A descriptor of a directory for the block, reached from `/` or from a descriptor; "" is that one itself.

    No component is a symbolic link: OSError ELOOP names the one that is. ENOTDIR and ENOENT name theirs, too.
    """
    descriptor = open_directory(path, beneath)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory(path: str, beneath: int | None = None) -> int:
    """As `opened`, for who closes it himself."""
    names = [name for name in path.split("/") if name]
    if "." in names or ".." in names or (beneath is None) != path.startswith("/"):
        raise ValueError(f"{path!r} is no path to be walked")
    descriptor = os.open("/", _WALK) if beneath is None else os.open(".", _WALK, dir_fd=beneath)
    for number, name in enumerate(names):
        above = descriptor
        try:
            descriptor = os.open(name, _WALK, dir_fd=above)
        except OSError as error:
            way = "/".join(names[: number + 1])
            raise _refusal(error, above, name, f"/{way}" if beneath is None else way) from error
        finally:
            os.close(above)
    return descriptor


def _refusal(error: OSError, above: int, name: str, way: str) -> OSError:
    number = error.errno or errno.EIO
    if number == errno.ENOTDIR and is_link(above, name):
        number = errno.ELOOP
    return OSError(number, "It is a symbolic link" if number == errno.ELOOP else os.strerror(number), way)


@contextmanager
def parent(path: str) -> Iterator[tuple[int, str]]:
    """For the block, a descriptor of the directory that an absolute path is in, as by `opened`; and the last name."""
    above, _, name = path.rstrip("/").rpartition("/")
    with opened(above or "/") as descriptor:
        yield descriptor, name


def through(descriptor: int, name: str = "") -> str:
    """A path to what a descriptor stands for, in this process and in children that inherit it under its number.

    To follow it leads there whatever has become of the names; so it is for calls that follow links.
    """
    return f"/proc/self/fd/{descriptor}/{name}" if name else f"/proc/self/fd/{descriptor}"


def exists(directory: int, name: str) -> bool:
    """Whether a directory has something of this name, be it a link to nowhere. OSError when that cannot be told."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_link(directory: int, name: str) -> bool:
    """Whether what has this name now is a symbolic link."""
    with suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    return False


def listed(directory: int) -> list[str]:
    """The names in a directory, sorted."""
    return sorted(os.listdir(through(directory)))


def identity(directory: int) -> Identity:
    """What a directory is.

    Overlays number directories anew when they meet them again, unless all their layers are on one file system.
    """
    status = os.fstat(directory)
    mount = _mount(directory)
    loose = mount is not None and (mount.loose or mount.renumbers)
    return Identity(
        status.st_dev,
        0 if loose else status.st_ino,
        os.fstatvfs(directory).f_fsid,
        status.st_uid,
        stat.S_IMODE(status.st_mode),
    )


def is_ours(directory: int) -> bool:
    """Whether a directory belongs to who we are, as far as its file system knows owners."""
    mount = _mount(directory)
    keeps_owners = mount is None or (mount.has_modes and not mount.loose)
    return not keeps_owners or os.fstat(directory).st_uid == os.geteuid()


def _mount(descriptor: int) -> mounts.Mount | None:
    number = mounts.number_of(descriptor)
    return next((mount for mount in mounts.mounts() if mount.id == number), None)


# ---- acts ------------------------------------------------------------------------------------------------------------


@contextmanager
def made(directory: int, name: str, mode: int = 0o700) -> Iterator[int]:
    """Make a directory, and have it for the block. OSError when somebody has put another one in its place already.

    The name is durable when `sync` was called for the one that it is in.
    """
    os.mkdir(name, mode, dir_fd=directory)
    with opened(name, directory) as descriptor:
        if listed(descriptor) or not is_ours(descriptor):
            raise OSError(errno.EEXIST, "Somebody has put another directory in its place", name)
        yield descriptor


@contextmanager
def made_way(path: str, directory: int) -> Iterator[int]:
    """As `opened` beneath a directory; what is missing of the way is made, 0700, each name durable."""
    with ExitStack() as stack:
        for name in path.split("/") if path else ():
            try:
                below = open_directory(name, directory)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=directory)
                sync(directory)
                below = open_directory(name, directory)
            stack.callback(os.close, below)
            directory = below
        yield directory


def rename(source: int, name: str, target: int, other: str) -> None:
    """Give `name` in one directory the name `other` in another one. FileExistsError when something has that already.

    Where the file system does not know how to refuse in the same step (FUSE, some of NFS), that is looked at before.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ends = source, os.fsencode(name), target, os.fsencode(other)
    if libc.renameat2(*ends, _NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _WITHOUT_FLAGS:
        raise OSError(number, os.strerror(number), name, None, other)
    if exists(target, other):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name, None, other)
    os.rename(name, other, src_dir_fd=source, dst_dir_fd=target)


def sync(directory: int) -> None:
    """Make the names in a directory durable."""
    with _readable(directory) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _readable(directory: int) -> Iterator[int]:
    descriptor = os.open(".", _LIST, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_tree(directory: int, name: str) -> None:
    """Remove what has this name: a directory with all that is in it, of something else the name alone.

    Links are never followed, and nothing is removed of what is mounted in it (EXDEV). shutil.rmtree opens what it takes
    for a directory without O_NOFOLLOW and waits for a FIFO that was put there; it also knows no mounts, and fails on a
    tree that is deeper than Python's stack.
    """
    try:
        with opened(name, directory) as top:
            empty(top)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=directory)
    else:
        os.rmdir(name, dir_fd=directory)


def empty(directory: int) -> None:
    """Remove all that is in a directory, as `remove_tree` does."""
    emptying = _Emptying(directory)
    quiet = 0
    while quiet < _ROUNDS:  # who has had a directory of it open all the time may still make something there
        before = emptying.moved
        if emptying.descend(directory, "", 0):
            return
        quiet = 0 if emptying.moved > before else quiet + 1
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), os.readlink(through(directory)))


class _Emptying:
    """One directory that is emptied. What lies too deep is `moved` up to it first."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._mount = mounts.number_of(top)
        self.moved = 0

    def descend(self, directory: int, way: str, depth: int) -> bool:
        """Remove what is in a directory that is `way` below the top; whether it was all empty."""
        if mounts.number_of(directory) != self._mount:
            raise OSError(errno.EXDEV, "Something is mounted there", way)
        with _readable(directory) as reading, os.scandir(reading) as listing:
            entries = list(listing)
            for entry in entries:  # they look by `reading` what they are
                try:
                    self._remove(directory, entry, f"{way}/{entry.name}" if way else entry.name, depth)
                except OSError as error:
                    if error.errno not in _CHANGED:
                        raise
        return not entries

    def _remove(self, directory: int, entry: "os.DirEntry[str]", way: str, depth: int) -> None:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=directory)
        elif depth >= _DEEPEST:
            self.moved += 1
            rename(directory, entry.name, self._top, f".deep-{self.moved}")
        else:
            with opened(entry.name, directory) as below:
                self.descend(below, way, depth + 1)
            os.rmdir(entry.name, dir_fd=directory)
