"""Signals as exceptions, so that cleanup runs: SIGTERM, SIGINT and SIGHUP end a command, SIGALRM bounds a block."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hiveden_backup.core.errors import BackupError, Interrupted

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def raise_on_signals() -> None:
    """From now on the first ending signal raises Interrupted in the main thread; later ones are ignored.

    A second signal must not break off the cleanup that the first one began.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for ending in _ENDING:
            signal.signal(ending, signal.SIG_IGN)
        raise Interrupted(number)

    for ending in _ENDING:
        signal.signal(ending, interrupt)


@contextmanager
def time_limit(seconds: float, error: BackupError) -> Iterator[None]:
    """Raise `error` in the main thread when the block takes longer than `seconds`."""

    def expired(_number: int, _frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back ending signals until the block is done, for what must not be broken off half-way."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
