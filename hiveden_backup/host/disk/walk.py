"""Ways down the tree by descriptors: each directory is opened beneath the one above it, and no link is followed.

A path that the kernel resolves leads elsewhere as soon as somebody puts a link in the place of one of its directories,
and then root reads there. What is opened here lies where its path says, or is not opened.
"""

import errno
import os
import stat
from types import TracebackType
from typing import Self

from hiveden_backup.host.disk import beneath

GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
"""What the system says of a path of which some part went, or became something else, since it was listed."""

_HELD = 128
"""Descriptors at a time: a path can be two thousand directories deep. What was let go of is walked to again."""
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FILE = _READING | os.O_NOFOLLOW


class Way:
    """The directories from `/` down to the one that was asked for last. It is fast where one follows the tree.

    Where a descriptor is given for the `top`, that is what `/` is here. Paths are bytes relative to `/`.
    OSError of `GONE` when some part of a path is no directory (ELOOP: it is a link).
    """

    def __init__(self, top: int | None = None) -> None:
        self._top = top
        self._steps: list[tuple[bytes, int, bool]] = []  # path with its `/`, descriptor (-1: let go), to be read from
        self._let_go = 0  # how many of the first ones

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._steps:
            self._back()

    def directory(self, path: bytes, *, read: bool = False) -> int:
        """A descriptor of a directory, to `read` its entries if need be. It stays open until another one is asked for.

        Where that is allowed, its time of access stays.
        """
        wanted = path + b"/" if path else b""
        steps = self._steps
        while steps:
            name, descriptor, readable = steps[-1]
            if descriptor >= 0 and wanted.startswith(name) and (readable or not read or name != wanted):
                break
            self._back()
        else:
            top = b"/" if self._top is None else b"."
            self._step(b"", _open(top, self._top, read=read and not path), read and not path)
        at = len(steps[-1][0])
        while at < len(wanted):
            end = wanted.index(b"/", at) + 1
            reading = read and end == len(wanted)
            self._step(wanted[:end], _open(wanted[at : end - 1], steps[-1][1], read=reading), reading)
            at = end
        return steps[-1][1]

    def status(self, path: bytes) -> os.stat_result:
        """What lies at a path."""
        above, _, name = path.rpartition(b"/")
        return os.stat(name or b".", dir_fd=self.directory(above), follow_symlinks=False)

    def place(self, path: bytes) -> int:
        """A new descriptor that stands for what lies at a path, be it a link, and can do no more."""
        above, _, name = path.rpartition(b"/")
        return os.open(name or b".", _PLACE, dir_fd=self.directory(above))

    def file(self, path: bytes) -> int:
        """A new descriptor of what lies at a path, for reading; it waits for nobody."""
        above, _, name = path.rpartition(b"/")
        return os.open(name or b".", _FILE, dir_fd=self.directory(above))

    def content(self, path: bytes) -> int:
        """As `file`, of a regular file, to read it all: where that is allowed, its time of access stays.

        OSError for anything else, which is not even opened: to open a device may do something.
        """
        place = self.place(path)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            try:
                return os.open(f"/proc/self/fd/{place}", _READING | os.O_NOATIME)
            except PermissionError:  # that is for the owner and root alone
                return os.open(f"/proc/self/fd/{place}", _READING)
        finally:
            os.close(place)

    def _step(self, name: bytes, descriptor: int, readable: bool) -> None:  # noqa: FBT001 - a field of the step
        self._steps.append((name, descriptor, readable))
        if len(self._steps) - self._let_go > _HELD:
            first, oldest, _ = self._steps[self._let_go]
            self._steps[self._let_go] = first, -1, False
            self._let_go += 1
            os.close(oldest)

    def _back(self) -> None:
        _, descriptor, _ = self._steps.pop()
        if descriptor >= 0:
            os.close(descriptor)
        else:
            self._let_go -= 1


def _open(name: bytes, above: int | None, *, read: bool) -> int:
    try:
        if not read:  # a directory that one may pass through need not be one that one may list
            return os.open(name, _DIRECTORY | os.O_PATH, dir_fd=above)
        try:
            return os.open(name, _DIRECTORY | os.O_RDONLY | os.O_NOATIME, dir_fd=above)  # reading is not to be seen
        except PermissionError:  # that is for the owner and root alone
            return os.open(name, _DIRECTORY | os.O_RDONLY, dir_fd=above)
    except NotADirectoryError as error:
        if above is not None and beneath.is_link(above, os.fsdecode(name)):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from error
        raise
