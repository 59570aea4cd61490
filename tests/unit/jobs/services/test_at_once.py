"""Several things at once: each after what it needs, and none left undone."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from hiveden_backup.jobs.services.at_once import Errand, do_all


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
