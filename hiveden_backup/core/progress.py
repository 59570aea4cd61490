"""How long work tells somebody that it goes on."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol


class Step(StrEnum):
    """What is being done; the journal's HIVEDEN_PHASE."""

    SCAN = "scan"
    PROVE = "comparison with archives"
    HOT = "hot pass"
    STOP = "stop"
    COLD = "cold pass"
    START = "start"
    DUMP = "dump"
    RESTORE = "restore"
    VERIFY = "verify"
    OFFSITE = "offsite"


Advance = Callable[[int], None]
"""Told of each so many bytes more that have gone through."""


class Progress(Protocol):
    """Told what is being done and how many bytes have gone through."""

    def begin(self, step: Step, total: int = 0) -> None:
        """Something else is done from now on, with so many bytes to go through; 0 where that is not known."""

    def advance(self, count: int) -> None:
        """`count` more bytes of the step are done."""


class Silence:
    """Progress that nobody watches."""

    def begin(self, step: Step, total: int = 0) -> None:
        """Do nothing."""

    def advance(self, count: int) -> None:
        """Do nothing."""
