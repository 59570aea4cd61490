"""What a signal raises, wherever it comes: what runs is known to somebody, who ends it."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hiveden_backup.core.errors import BackupError, Interrupted
from hiveden_backup.host.signals import begin, deferred, raise_on_signals, time_limit


@pytest.fixture(autouse=True)
def raising() -> Iterator[None]:
    ours = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in ours}
    raise_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def tell(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_what_is_deferred_raises_at_the_end_of_the_outermost_block() -> None:
    steps: list[str] = []
    with pytest.raises(Interrupted) as caught, deferred():  # noqa: PT012 - the steps are what is tried
        with deferred():
            tell()
            steps.append("inner")
        steps.append("outer")
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert steps == ["inner", "outer"]
    with deferred():  # it is told once
        pass


def test_the_end_of_all_comes_before_the_end_of_the_time() -> None:
    with pytest.raises(Interrupted), time_limit(0.01, BackupError("too long")), deferred():  # noqa: PT012
        time.sleep(0.05)
        tell()


def test_time_that_is_up_in_a_deferred_block_is_told_behind_it() -> None:
    done: list[str] = []
    with pytest.raises(BackupError, match="too long"), time_limit(0.01, BackupError("too long")):  # noqa: PT012
        with deferred():
            time.sleep(0.05)
            done.append("all of it")
        done.append("never")
    assert done == ["all of it"]


def test_programs_that_are_started_in_a_deferred_block_are_not_deaf() -> None:
    with deferred():
        child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM


def test_threads_hear_nothing() -> None:
    """However early a signal comes: the kernel would take a thread for the one to wake."""
    masks: list[Any] = []
    thread = threading.Thread(target=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    begin(thread)
    thread.join()
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM} <= masks[0]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
