"""How long, and how far, a server is heard out: none holds us for ever, and none fills our memory.

A server is not trusted: it may freeze, and send without end. Its own timeouts bind only one that is well. psycopg
leaves it to us how its questions and connections wait, so whatever is asked is bounded here.
"""

import errno
import fcntl
import resource
import selectors
import struct
import termios
import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from hiveden_backup.host.postgres.patience import ANSWER_BYTES, ANSWER_MEMORY, ANSWER_SECONDS

_PIECE = 8192
"""libpq makes room for so much, at least, before it reads."""

_SMALL = 1 << 20
_LONGEST_WAIT = 3600.0  # the kernel counts no more than 24 days in one call; then it is asked again


class Connection(psycopg.Connection[TupleRow]):
    """A connection whose server has `patience` seconds for each answer, None for as long as it takes."""

    patience: float | None = ANSWER_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *_: object, **__: object) -> Any:
        """What psycopg asks with; its OperationalError, and the end of the connection, beyond the bounds."""
        try:
            return _heard(gen, self.pgconn.socket, self.patience)
        except _EnoughError as error:
            self.pgconn.finish()  # so that no rollback asks it again
            raise psycopg.OperationalError(str(error)) from None

    @classmethod
    def _connect_gen(cls, *arguments: object, **keywords: object) -> Generator[Any, Any, Any]:
        """What psycopg connects with, in all its versions; it bounds each wait at most, and no bytes."""
        gen = super()._connect_gen(*arguments, **keywords)  # type: ignore[arg-type] # they differ with the version
        bounds = _Bounds(cls.patience)
        try:
            socket, wanted = next(gen)
            while True:
                ready = yield socket, wanted
                bounds.left()
                before = _queued(socket)
                following = gen.send(ready)
                bounds.count(before, _queued(socket))
                socket, wanted = following
        except _EnoughError as error:
            gen.close()
            raise psycopg.OperationalError(str(error)) from None
        except StopIteration as end:
            return end.value


class _EnoughError(Exception):
    """The server took too long, or said too much."""


class _Bounds:
    """What is left of the time and the bytes of one answer."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._bytes = 0
        self._peak = _peak()

    def left(self) -> float | None:
        """How long to wait; _EnoughError when it is over."""
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _EnoughError(f"the server did not answer within {self._seconds:g} seconds")
        return min(left, _LONGEST_WAIT)

    def count(self, before: int, after: int) -> None:
        """Count what was read: at least this. It may be many times as much, since more comes meanwhile.

        That is seen by our memory, of which small answers are innocent: something else needs it then.
        """
        self._bytes += max(min(before, _PIECE), before - after)
        grown = self._bytes > _SMALL and _peak() - self._peak > ANSWER_MEMORY
        if self._bytes > ANSWER_BYTES or grown:
            raise _EnoughError(f"the server's answer has no end: it was cut off after {self._bytes >> 20} MiB or more")


def _heard(gen: Generator[Any, Any, Any], descriptor: int, seconds: float | None) -> Any:
    """What the generator returns, which says what it waits for and is told what is ready."""
    bounds = _Bounds(seconds)
    try:
        wanted = next(gen)
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, wanted)
            while True:
                for _, ready in selector.select(bounds.left()):
                    before = _queued(descriptor)
                    following = gen.send(ready)
                    bounds.count(before, _queued(descriptor))
                    if following != wanted:
                        selector.modify(descriptor, following)
                    wanted = following
    except StopIteration as end:
        return end.value


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _queued(descriptor: int) -> int:
    """How many bytes wait to be read; none where libpq has closed it by now."""
    try:
        found: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    except OSError as error:
        if error.errno == errno.EBADF:
            return 0
        raise
    return found
