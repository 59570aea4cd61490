"""An offsite that is a directory of this machine: what is written, read and removed there is so beneath descriptors.

Who may write there, such as who takes the disk home, may put a link in our way at any moment. None is followed, and
what is new grows under a name that reconcile takes for what an upload that was broken off has left.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import IO

from hiveden_backup.core.errors import DeniedError, FullError, NotFoundError
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.durable import reopened, translate

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_NOFOLLOW | os.O_CLOEXEC
_GROWS = ".hiveden.partial"
_LONGEST_NAME = 255
_KEPT, _TAIL = 180, 32
_PIECE = 1 << 20


@contextmanager
def growing(root: str, name: str) -> Iterator[int]:
    """A descriptor for the block, of a new file; when that ends well, it is durable and has its name, whatever had."""
    folder, last = _split(name)
    with (
        _translated(f"writing {root}/{name}"),
        _top(root) as top,
        beneath.made_way(folder, top) as directory,
    ):
        temporary = _temporary(last)
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        descriptor = os.open(temporary, os.O_WRONLY | _NEW, 0o600, dir_fd=directory)
        try:
            yield descriptor
            os.fsync(descriptor)
            os.rename(temporary, last, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise
        finally:
            os.close(descriptor)
        beneath.sync(directory)


def content(root: str, name: str, most: int) -> Iterator[bytes]:
    """A file in pieces, no more than `most` bytes of it. NotFoundError; StorageError when it is no regular file."""
    folder, last = _split(name)
    with _translated(f"reading {root}/{name}"):
        try:
            with _top(root) as top, beneath.opened(folder, top) as above, _file(above, last) as file:
                while most > 0 and (piece := file.read(min(most, _PIECE))):
                    most -= len(piece)
                    yield piece
        except FileNotFoundError as error:
            raise NotFoundError(f"{name} is not there", "", "Look at what is there") from error


def _file(directory: int, name: str) -> IO[bytes]:
    place = os.open(name, os.O_PATH | _PLACE, dir_fd=directory)
    try:
        return reopened(place, name)
    finally:
        os.close(place)


def remove(root: str, names: Iterable[str]) -> None:
    """Remove files in their order, durably; what is not there is no failure."""
    with _translated(f"removing from {root}"), _top(root) as top:
        for folder, each in groupby(map(_split, names), key=lambda name: name[0]):
            with suppress(FileNotFoundError), beneath.opened(folder, top) as directory:
                for _, last in each:
                    with suppress(FileNotFoundError):
                        os.unlink(last, dir_fd=directory)
                beneath.sync(directory)


@contextmanager
def _top(root: str) -> Iterator[int]:
    with beneath.opened(os.path.normpath(root)) as descriptor:
        yield descriptor


def _split(name: str) -> tuple[str, str]:
    folder, _, last = name.rpartition("/")
    return folder, last


def _temporary(name: str) -> str:
    found = f"{name}{_GROWS}"
    if len(os.fsencode(found)) <= _LONGEST_NAME:
        return found
    return f"{name[:_KEPT]}{name[-_TAIL:]}{_GROWS}"


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """OSErrors in our words; what is full is so there, not here."""
    try:
        yield
    except OSError as error:
        unwritable = DeniedError if error.errno == errno.EROFS else FullError
        raise translate(error, doing, unwritable=unwritable) from error
