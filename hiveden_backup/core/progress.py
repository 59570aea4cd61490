"""How long work tells somebody that it goes on."""

from typing import Protocol


class Progress(Protocol):
    """Told what is being done and how many bytes have gone through."""

    def begin(self, phase: str) -> None:
        """A new phase begins, such as "hot pass"."""

    def advance(self, count: int) -> None:
        """`count` more bytes of the phase are done."""


class Silence:
    """Progress that nobody watches."""

    def begin(self, phase: str) -> None:
        """Do nothing."""

    def advance(self, count: int) -> None:
        """Do nothing."""
