"""Several things at once: each after what it needs, and none left undone."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from hiveden_backup.core.errors import BackupError, Interrupted
from hiveden_backup.host.process import Brake, Command, Pipeline
from hiveden_backup.jobs.services.at_once import Errand, do_all, several


@pytest.fixture
def no_threads() -> Iterator[None]:
    """No thread can be had: each would need more memory for its stack than there are addresses."""
    before = threading.stack_size(1 << 46)
    yield
    threading.stack_size(before)


def test_they_are_done_at_once() -> None:
    together = threading.Barrier(3, timeout=30)

    def meets(_: Errand) -> None:
        together.wait()

    do_all([Errand(meets) for _ in range(3)])


def test_each_begins_after_the_end_of_what_it_needs() -> None:
    done: list[str] = []

    def slow(_: Errand) -> None:
        time.sleep(0.2)
        done.append("slow")

    first = Errand(slow)
    do_all([first, Errand(lambda _: done.append("second"), [first])])
    assert done == ["slow", "second"]


def test_what_it_needs_may_let_it_begin_before_its_end() -> None:
    begun = threading.Event()

    def waits(errand: Errand) -> None:
        errand.others_may_go()
        assert begun.wait(30)

    first = Errand(waits)
    do_all([first, Errand(lambda _: begun.set(), [first])])


def test_a_defect_is_raised_when_all_is_done() -> None:
    done: list[str] = []

    def fails(_: Errand) -> None:
        raise KeyError("a defect")

    first = Errand(fails)
    with pytest.raises(KeyError, match="a defect"):
        do_all([first, Errand(lambda _: done.append("second"), [first])])
    assert done == ["second"]


@pytest.mark.usefixtures("no_threads")
def test_without_threads_one_after_another() -> None:
    done: list[str] = []
    first = Errand(lambda _: done.append("first"))
    do_all([first, Errand(lambda _: done.append("second"), [first])])
    assert done == ["first", "second"]


def test_signals_are_for_the_main_thread_alone() -> None:
    """However early one comes: it must not be answered while that one holds it back."""
    held: list[bool] = []
    do_all([Errand(lambda _: held.append(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])))])
    assert held == [True]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_several_meet_and_their_results_are_in_order() -> None:
    together = threading.Barrier(2, timeout=30)

    def act(item: int, _: Brake) -> int:
        together.wait()
        time.sleep(0.01 * (4 - item))
        return item * item

    assert several([1, 2, 3, 4], act, 2) == [1, 4, 9, 16]
    assert several([], act, 2) == []


def waits(seconds: str, brake: Brake, begun: threading.Event) -> None:
    with Pipeline(Command(("sleep", seconds)), stdin=subprocess.DEVNULL, brake=brake) as pipeline:
        begun.set()
        pipeline.stdout.read()


def test_the_first_failure_ends_the_others_and_what_they_run() -> None:
    begun = threading.Event()
    acted: list[int] = []

    def act(item: int, brake: Brake) -> None:
        acted.append(item)
        if item == 0:
            waits("1000", brake, begun)
        assert begun.wait(30)
        raise BackupError("the first one")

    before = time.monotonic()
    with pytest.raises(BackupError, match="the first one"):
        several([0, 1, 2, 3], act, 2)
    assert acted == [0, 1]
    assert time.monotonic() - before < 30


def test_what_is_raised_here_ends_what_the_others_run() -> None:
    begun = threading.Event()

    def interrupt(number: int, _: object) -> None:
        raise Interrupted(number)

    def act(item: int, brake: Brake) -> None:
        if item == 0:
            waits("1000", brake, begun)
        assert begun.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(0.01)
            brake.insist()

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Interrupted):
            several([0, 1], act, 2)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_begins_after_the_brake_was_pulled_is_ended() -> None:
    brake = Brake()
    brake.pull()
    with pytest.raises(BackupError, match="signal 9"):
        waits("1000", brake, threading.Event())
