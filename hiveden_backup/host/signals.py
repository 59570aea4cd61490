"""Signals as exceptions, so that cleanup runs: SIGTERM, SIGINT and SIGHUP end a command, SIGALRM bounds a block.

Only the main thread hears them, and what they raise comes between any two steps of it: what is begun, and is to be
ended whatever happens, is begun and noted within `deferred`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hiveden_backup.core.errors import BackupError, Interrupted

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_RAISING = (*_ENDING, signal.SIGALRM)


class _Held:
    """What was to be raised while `blocks` of them held it back."""

    blocks = 0
    error: BaseException | None = None


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
            _raise(Interrupted(number))

    for ending in _ENDING:
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, interrupt)


@contextmanager
def time_limit(seconds: float, error: BackupError) -> Iterator[None]:
    """Raise `error` in the main thread when the block takes longer than `seconds`."""

    def expired(_number: int, _frame: FrameType | None) -> None:
        _raise(error)

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back what raises here until the block is done, for what must not be broken off half-way.

    Not by the mask of the thread: the programs that are started in the block would take that over, and be deaf.
    """
    if threading.current_thread() is not threading.main_thread():  # nothing raises there
        yield
        return
    _Held.blocks += 1
    try:
        yield
    finally:
        _Held.blocks -= 1
        if not _Held.blocks and (error := _Held.error) is not None:
            _Held.error = None
            raise error


def begin(thread: threading.Thread) -> None:
    """Start a thread that no signal wakes: the kernel would take it for the one to tell, while the main thread waits.

    What it starts is deaf to them as well.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _RAISING)
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raise(error: BaseException) -> None:
    if not _Held.blocks:
        raise error
    if _Held.error is None or isinstance(error, Interrupted):
        _Held.error = error
