"""The log: fields in the journal where stderr leads there, else lines on stderr, coloured on a terminal.

And the progress line below them, on a terminal.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

from hiveden_backup.cli import output
from hiveden_backup.core.events import journal_fields
from hiveden_backup.host.systemd import journal

_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_RESET = "\x1b[0m"
_CLEAR = "\r\x1b[2K"
_LEVELS = {"debug": 10, "info": 20, "warning": 30}
_QUIET_SECONDS = 1.0
_REFRESH_SECONDS = 0.2
_IN_THE_MESSAGE = ("event", "job", "kind", "backup", "phase", "container", "artifact", "result")
_FORMATS: dict[str, Callable[[Any], str]] = {
    "bytes": output.size,
    "seconds": output.span,
    "downtime_seconds": lambda value: f"down for {output.span(value)}",
    "exit_code": lambda value: f"exit code {value}",
}


class Phase:
    """Progress that nobody watches; the log says which phase an event belongs to."""

    def __init__(self) -> None:
        self.name: str | None = None

    def begin(self, phase: str) -> None:
        """A new phase begins."""
        self.name = phase

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""

    def clear(self) -> None:
        """There is nothing to take away."""


class ProgressLine(Phase):
    """One line that is rewritten: phase, bytes, rate. Shown once a phase takes longer than a second."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0
        self._began = 0.0
        self._drawn = 0.0

    def begin(self, phase: str) -> None:
        """A new phase begins."""
        self.clear()
        super().begin(phase)
        self._bytes, self._began = 0, time.monotonic()

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        self._bytes += count
        now = time.monotonic()
        if now - self._began < _QUIET_SECONDS or now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        rate = output.size(int(self._bytes / (now - self._began)))
        sys.stderr.write(f"{_CLEAR}  {self.name}  {output.size(self._bytes)}  {rate}/s")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = 0.0


def configure(*, verbose: bool, quiet: bool, progress: Phase | None = None) -> None:
    """Send structlog's events to the journal where stderr leads there, else to stderr as lines; never to both."""
    level = "warning" if quiet else "debug" if verbose else "info"
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    to_journal = journal.is_stderr()

    def render(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        if progress is not None:
            progress.clear()
        if to_journal:
            phase = {"phase": progress.name} if progress is not None else {}
            if journal.send(journal_fields(method, _text(event), phase | dict(event))):
                raise structlog.DropEvent
        return _line(method, _text(event), colour=colour)

    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _text(event: Mapping[str, Any]) -> str:
    """An event in words: `job: message (facts)`, safe for a terminal."""
    facts = ", ".join(
        _FORMATS[key](value) if key in _FORMATS else f"{key} {output.printable(str(value))}"
        for key, value in event.items()
        if key not in _IN_THE_MESSAGE and (key, value) != ("exit_code", 0)
    )
    job = event.get("job")
    return output.printable_lines(f"{f'{job}: ' if job else ''}{event['event']}{f' ({facts})' if facts else ''}")


def _line(method: str, text: str, *, colour: bool) -> str:
    if method in _COLOURS:
        label = f"{_COLOURS[method]}{method}{_RESET}" if colour else method
        return f"{label}: {text}"
    return text
