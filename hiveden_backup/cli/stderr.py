"""The error output for a program that must not fail because nobody takes what it says."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Deaf(io.RawIOBase):
    """A descriptor to write to. What it does not take (its disk is full, its reader gone) is lost, and no error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError:
            return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


def install() -> None:
    """Make `sys.stderr` one that takes everything. Containers may be down while something is said."""
    if sys.stderr is not None:  # as in a process that begins without one
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Deaf(sys.stderr.fileno())),
            encoding=sys.stderr.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=True,
        )
