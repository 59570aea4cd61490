"""Small helpers for files that must survive a crash. Everything is created 0600 (directories 0700)."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hiveden_backup.core.errors import BackupError, DeniedError, DirectoryError, StorageError
from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_PIECE = 1 << 20
_GROWTH = 64 << 10  # the kernel wants room for all that is asked for
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}  # FAT, CIFS, some FUSE


def fsync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the content of `path` durable."""
    with opened(path) as file:
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes, growing: Path | None = None) -> None:
    """Put `data` at `path` in one step: a reader sees the old content or the new one, also after a power cut.

    It grows at `growing`, beside it, where that is given. What somebody has put there goes, and is never written into.
    """
    # nobody can make it before who cannot foresee the name, and that is no longer than names may be
    temporary = growing or path.with_name(f".{os.urandom(16).hex()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        _write(temporary, data)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_once(path: Path, data: bytes, growing: Path) -> None:
    """Put `data` at `path` unless somebody has done so: of several at once, on several machines too, one does.

    A reader sees nothing or all of it. It grows at `growing`, beside it, which others may sweep: then look, and repeat.
    """
    try:
        _write(growing, data)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            try:
                path.hardlink_to(growing)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                _write(path, data)  # a crash may leave it cut short there
    finally:
        growing.unlink(missing_ok=True)
    fsync_directory(path.parent)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class UnfitFileError(OSError):
    """Where a regular file of some size must be lies a link, a FIFO, a device, or another size: nothing was read."""


@contextlib.contextmanager
def opened(
    path: Path, size: int | None = None, *, most: int | None = None, follow: bool = False
) -> Iterator[IO[bytes]]:
    """The regular file at `path`, to be read or handed to a program: the one door to what others may have put there.

    What is no regular file is not even opened (to open a device or a FIFO may do something, or wait); nor is a link
    followed, unless `follow`, for what root's own configuration names. UnfitFileError for these, and for a file that
    has not exactly `size` bytes, or more than `most`; OSError else.
    """
    with os.fdopen(_open(path, follow=follow), "rb") as file:
        found = os.fstat(file.fileno()).st_size
        if size is not None and found != size:
            raise UnfitFileError(errno.EINVAL, f"It has {found} bytes, and was written with {size}", str(path))
        if most is not None and found > most:
            raise UnfitFileError(errno.EFBIG, f"It has more than {most} bytes", str(path))
        yield file


def reopened(place: int, path: str | Path) -> IO[bytes]:
    """What an O_PATH descriptor stands for, to be read, if it is a regular file; `path` is for errors. As `opened`."""
    return os.fdopen(_reopen(place, path), "rb")


def _open(path: str | Path, *, follow: bool) -> int:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        return _reopen(place, path)
    finally:
        os.close(place)


def _reopen(place: int, path: str | Path) -> int:
    mode = os.fstat(place).st_mode
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "a directory" if stat.S_ISDIR(mode) else "no regular file"
        raise UnfitFileError(errno.EINVAL, f"It is {what}", str(path))
    try:  # without waiting for whoever has a lease on it
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_regular(path: str | Path, most: int, *, follow: bool = False) -> bytes:
    """All of a small file, which is opened as `opened` does. UnfitFileError for one of more than `most` bytes, too."""
    descriptor = _open(path, follow=follow)  # and no file object: a list of backups reads ten thousands
    try:
        return _bounded(os.fstat(descriptor).st_size, partial(os.read, descriptor), most, path)
    finally:
        os.close(descriptor)


def read_bounded(file: IO[bytes], most: int, path: str | Path) -> bytes:
    """The rest of a regular file. UnfitFileError, and a large one is not read, when it has more than `most` bytes."""
    return _bounded(os.fstat(file.fileno()).st_size, file.read, most, path)


def _bounded(size: int, read: Callable[[int], bytes], most: int, path: str | Path) -> bytes:
    data = read(size + 1) if size <= most else b""
    while data and len(data) <= most:
        more = read(size + 1 - len(data) if len(data) <= size else _GROWTH)  # it grows, or the kernel makes it up
        if not more:
            break
        data += more
    if max(size, len(data)) > most:
        raise UnfitFileError(errno.EFBIG, f"It has more than {most} bytes", str(path))
    return data


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file in pieces of a mebibyte, to where it ends now: it may grow as fast as it is read."""
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (piece := file.read(min(left, _PIECE))):
        left -= len(piece)
        yield piece


def digest(path: Path, size: int | None = None) -> tuple[int, str]:
    """A file's size and SHA-256; opened as `opened` does."""
    found, total = hashlib.sha256(), 0
    with opened(path, size) as file:
        for piece in pieces(file):
            found.update(piece)
            total += len(piece)
    return total, found.hexdigest()


def make_directory(path: Path) -> None:
    """Create `path` and its missing parents, 0700, each name durable. An existing one is left as it is."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        fsync_directory(path.parent)


_PUT_THERE = "Somebody has put something else there: look with `ls -l`, and put a copy of the file back"
_OF_OTHERS = "Run as root, or through the systemd unit"
_OF_ROOT = {
    errno.EPERM: "It may be immutable or append-only: look with `lsattr -d`, and allow it with `chattr -ia`",
    errno.EACCES: "Root may not either: look at how it is mounted (NFS with root_squash, FUSE without allow_root)",
}
_AWAY = "What is mounted there has lost its server or its program: unmount it (umount -l), and mount it again"
_OTHERS_DID = "Something else removes or replaces files there: look at what is there now, then run again"
_UNFIT = "That file system cannot do this: use another one, such as ext4, XFS or btrfs"
_HINTS: Mapping[int | None, str] = {
    errno.EFBIG: "The file is larger than its file system (4 GiB on FAT) or a limit allows: look at `ulimit -f`",
    errno.ENAMETOOLONG: "Give it, or the directories above it, a shorter name",
    **dict.fromkeys((errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ECONNABORTED), _AWAY),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY), _OTHERS_DID),
    **dict.fromkeys((errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK), _UNFIT),
    errno.ELOOP: "Its symbolic links lead in a circle, or there is one where none may be: look with `namei -l`",
    errno.EBUSY: "Something uses it: `fuser -vm` and `findmnt` tell what",
    errno.EMFILE: "Too many files are open: raise the limit (`ulimit -n`, LimitNOFILE= in the unit)",
    errno.ENFILE: "Too many files are open on this machine: look at `sysctl fs.file-nr`",
    errno.ENOMEM: "The memory is short: look at `free -h`, and at MemoryMax= of the unit",
}


def translate(error: OSError, doing: str, *, unwritable: type[BackupError] = DirectoryError) -> BackupError:
    """`error` in our words; `doing` is a clause such as "writing the backup directory /srv/backups".

    `unwritable` is for a disk that is full or read-only: StorageError where that is not the backup directory's.
    """
    why = f"{error.strerror or error}{f': {os.fsdecode(error.filename)}' if error.filename else ''}"
    what = f"{doing[:1].upper()}{doing[1:]} failed"
    if isinstance(error, UnfitFileError):
        return StorageError(what, why, _PUT_THERE)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return unwritable(what, why, "Free some space or prune, then run again")
        case errno.EROFS:
            return unwritable(what, why, "The file system is mounted read-only: look at `dmesg` for the reason")
        case errno.EACCES | errno.EPERM:
            return DeniedError(what, why, _OF_ROOT[error.errno] if os.geteuid() == 0 else _OF_OTHERS)
        case number:
            return StorageError(what, why, _HINTS.get(number, "Look at `dmesg` and the disk's health, then run again"))


@contextlib.contextmanager
def translated(doing: str, *, unwritable: type[BackupError] = DirectoryError) -> Iterator[None]:
    """Turn an OSError from the block into one of our errors, as `translate` does."""
    try:
        yield
    except OSError as error:
        raise translate(error, doing, unwritable=unwritable) from error
