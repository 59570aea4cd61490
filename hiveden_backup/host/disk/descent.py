"""Paths beneath a directory that is held, for who asks for many of them in about their order.

The directories on the way to the last path asked for are held too, so that none is walked twice for its entries.
"""

import os
from types import TracebackType
from typing import Self

from hiveden_backup.host.disk import beneath

_HELD = 64
"""As many directories are held; below that, the way is walked anew from the deepest of them."""


class Descent:
    """The way down from `top`, a descriptor. Used as a block, at the end of which nothing is held any more."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._way: list[tuple[bytes, int]] = []
        self._deep: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(0)

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """A descriptor of the directory that a relative path is in, until the next call; and the path's last name.

        OSError when a component is not there, is no directory, or is a link.
        """
        *names, last = path.split(b"/")
        known = 0
        while known < min(len(names), len(self._way)) and self._way[known][0] == names[known]:
            known += 1
        self._close(known)
        for name in names[known:_HELD]:
            self._way.append((name, beneath.open_directory(os.fsdecode(name), self._last)))
        if len(names) > _HELD:
            self._deep = beneath.open_directory(os.fsdecode(b"/".join(names[_HELD:])), self._last)
            return self._deep, last
        return self._last, last

    def find(self, path: bytes) -> os.stat_result | None:
        """What has this path, be it a link; None when nothing has."""
        try:
            directory, name = self.parent(path)
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @property
    def _last(self) -> int:
        return self._way[-1][1] if self._way else self._top

    def _close(self, kept: int) -> None:
        if self._deep is not None:
            os.close(self._deep)
            self._deep = None
        while len(self._way) > kept:
            os.close(self._way.pop()[1])
