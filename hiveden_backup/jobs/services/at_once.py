"""Several things done at once, each in a thread of its own, some of them after others."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.host.process import Brake
from hiveden_backup.host.signals import begin, deferred

_MOST_WORKERS = 4
_LOOK_SECONDS = 1.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Errand:
    """Something to be done beside other things, after those that it `needs` have come far enough.

    `do` fails by what it leaves behind; what it raises all the same is a defect, and raised by `join`.
    """

    do: "Callable[[Errand], None]"
    needs: "Sequence[Errand]" = ()
    _far_enough: threading.Event = field(default_factory=threading.Event)
    _ended: bool = False
    _bell: threading.Lock = field(default_factory=threading.Lock)
    _begun: bool = False
    _defect: BaseException | None = None

    def begin(self) -> None:
        """Begin it."""
        thread = threading.Thread(target=self._go, name="errand", daemon=True)
        try:
            with deferred():
                self._bell.acquire()
                begin(thread)
                self._begun = True  # before a signal can raise: somebody has to wait for it
        except RuntimeError:  # there may be no more threads; it has to be done all the same
            self._go()

    def others_may_go(self) -> None:
        """Let those begin that need it; its end does so, too."""
        self._far_enough.set()

    def wait(self) -> None:
        """Wait for its end, if it ever began.

        Not by the thread's `join`: when a signal breaks that off, Python takes the thread for one that has ended. Nor
        by an Event, whose own lock is held for ever when a signal raises at the wrong step.
        """
        while self._begun and not self._ended:
            if self._bell.acquire(timeout=_LOOK_SECONDS):
                self._bell.release()

    def join(self) -> None:
        """As `wait`, and raise what was no failure, but a defect."""
        self.wait()
        if self._defect is not None:
            raise self._defect

    def _go(self) -> None:
        try:
            for other in self.needs:
                other._far_enough.wait()  # noqa: SLF001 - another one of this class
            self.do(self)
        except BaseException as defect:  # noqa: BLE001 - it is raised by who waits
            self._defect = defect
        finally:
            self._far_enough.set()
            self._ended = True
            if self._bell.locked():
                self._bell.release()


def do_all(errands: Iterable[Errand]) -> None:
    """Begin them all and wait until all are done. What one needs must come before it."""
    with ExitStack() as stack:
        for errand in errands:
            stack.callback(errand.join)
            errand.begin()


def workers() -> int:
    """How many things to do at a time that each keep a processor, and a disk, busy."""
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


def several(items: Sequence[T], act: Callable[[T, Brake], R], most: int, *, within: Brake | None = None) -> list[R]:
    """What `act` makes of each of the items, which begin in their order, `most` of them at a time in threads.

    The first failure, or what is raised in the main thread meanwhile, pulls the brake, lets no further one begin, and
    is raised when all have ended. `within` is the brake of what this is a part of.
    """
    brake, waiting = Brake(within), iter(enumerate(items))
    results: dict[int, R] = {}
    failures: list[BaseException] = []

    def work(_: Errand) -> None:
        try:
            for number, item in waiting:  # which is one step: each item is one thread's
                results[number] = act(item, brake)
                if brake.pulled:
                    return
        except BaseException as failure:  # noqa: BLE001 - it is raised by who waits
            failures.append(failure)
            brake.pull()

    errands = [Errand(work) for _ in range(min(most, len(items)))]
    try:
        for errand in errands:
            errand.begin()
        for errand in errands:
            errand.join()
    except BaseException:
        brake.pull()
        for errand in errands:
            errand.wait()
        raise
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(items))]
