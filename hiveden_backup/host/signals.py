"""Signals as exceptions, so that cleanup runs: SIGTERM, SIGINT and SIGHUP end a command, SIGALRM bounds a block."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hiveden_backup.core.errors import BackupError, Interrupted

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_RAISING = (*_ENDING, signal.SIGALRM)


def raise_on_signals() -> None:
    """From now on the first ending signal raises Interrupted in the main thread; later ones do nothing.

    A second signal must not break off the cleanup that the first one began. What whoever started us wants ignored
    (nohup the end of the session, a shell Ctrl-C for what is in the background) stays ignored.
    """
    raised = False

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal raised
        if not raised:  # SIG_IGN instead would make Python complain about one that is pending already
            raised = True
            raise Interrupted(number)

    for ending in _ENDING:
        if signal.getsignal(ending) is not signal.SIG_IGN:
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
    """Hold back what raises here until the block is done, for what must not be broken off half-way."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _RAISING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
