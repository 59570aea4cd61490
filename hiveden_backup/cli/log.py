"""The log: fields in the journal where stderr leads there, else lines on stderr, coloured on a terminal.

And the progress line below them, on a terminal.
"""

import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, cast

import structlog

from hiveden_backup.cli import output
from hiveden_backup.core.events import Facts, Level, journal_fields
from hiveden_backup.host.systemd import journal

_COLOURS = {Level.WARNING: "\x1b[33m", Level.ERROR: "\x1b[31m"}
_RESET = "\x1b[0m"
_CLEAR = "\r\x1b[2K"
_QUIET_SECONDS = 1.0
_REFRESH_SECONDS = 0.2
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
    least = Level.WARNING if quiet else Level.DEBUG if verbose else Level.INFO
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    to_journal = journal.is_stderr()

    def render(_logger: object, method: str, entry: MutableMapping[str, Any]) -> str:
        if progress is not None:
            progress.clear()
        level, message, kind = Level[method.upper()], entry.pop("event"), entry.pop("kind", None)
        facts = cast("Facts", entry)
        text = _text(message, facts)
        if to_journal:
            phase = progress.name if progress is not None else None
            if journal.send(journal_fields(level, text, {"phase": phase, **facts}, kind)):
                raise structlog.DropEvent
        return _line(level, text, colour=colour)

    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _text(message: str, facts: Facts) -> str:
    """A line in words: `job: message (facts)`, safe for a terminal."""
    told = ", ".join(
        _FORMATS[name](value)
        for name, value in facts.items()
        if name in _FORMATS and value is not None and (name, value) != ("exit_code", 0)
    )
    job = facts.get("job")
    return output.printable_lines(f"{f'{job}: ' if job else ''}{message}{f' ({told})' if told else ''}")


def _line(level: Level, text: str, *, colour: bool) -> str:
    if level in _COLOURS:
        word = level.name.lower()
        label = f"{_COLOURS[level]}{word}{_RESET}" if colour else word
        return f"{label}: {text}"
    return text
