"""The log: fields in the journal where stderr leads there, else lines on stderr, coloured on a terminal.

And the progress line below them, on a terminal.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hiveden_backup.cli import output
from hiveden_backup.core.events import Entry, Level, journal_fields
from hiveden_backup.core.progress import Step
from hiveden_backup.core.shown import printable_lines
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.systemd import journal

if TYPE_CHECKING:
    import structlog
else:
    # It takes long to import: who says nothing does without. Most of that is asyncio, for logging in coroutines.
    structlog = Later("structlog", without=("asyncio",))

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


class Unwatched:
    """Progress that nobody watches; the log says which step an entry belongs to."""

    def __init__(self) -> None:
        self.step: Step | None = None

    def begin(self, step: Step, total: int = 0) -> None:  # noqa: ARG002 - nobody sees it
        """Something else is done from now on."""
        self.step = step

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""

    def clear(self) -> None:
        """There is nothing to take away."""


class ProgressLine(Unwatched):
    """One line that is rewritten: step, bytes (of how many), rate. Shown once a step takes longer than a second."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0
        self._total = 0
        self._began = 0.0
        self._drawn = 0.0

    def begin(self, step: Step, total: int = 0) -> None:
        """Something else is done from now on."""
        self.clear()
        super().begin(step, total)
        self._bytes, self._total, self._began = 0, total, time.monotonic()

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        self._bytes += count
        now = time.monotonic()
        if now - self._began < _QUIET_SECONDS or now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        rate = output.size(int(self._bytes / (now - self._began)))
        of = f" of {output.size(self._total)}" if self._total else ""
        sys.stderr.write(f"{_CLEAR}  {self.step}  {output.size(self._bytes)}{of}  {rate}/s")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = 0.0


def configure(*, verbose: bool, quiet: bool, progress: Unwatched | None = None) -> None:
    """From now on the log is written, from a level on, with the step that it belongs to."""
    least = Level.WARNING if quiet else Level.DEBUG if verbose else Level.INFO

    def write(entry: Entry) -> None:
        if entry.level < least:
            return
        step: Step | None = None
        if progress is not None:
            progress.clear()
            step = progress.step
        put(replace(entry, message=_text(entry), facts={"phase": step, **entry.facts}))

    log.write = write


def put(entry: Entry) -> None:
    """Write an entry: to the journal where stderr leads there, else to stderr as a line; never to both."""
    printer = structlog.PrintLogger(sys.stderr)
    logger = structlog.wrap_logger(printer, processors=[_to_journal, _as_line], wrapper_class=structlog.BoundLogger)
    write = {Level.DEBUG: logger.debug, Level.WARNING: logger.warning, Level.ERROR: logger.error}
    text = printable_lines(entry.message)  # safe for a terminal
    write.get(entry.level, logger.info)(text, entry=replace(entry, message=text))


def _to_journal(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The end of an entry that the journal takes; any other goes on."""
    if journal.is_stderr() and journal.send(journal_fields(event["entry"])):
        raise structlog.DropEvent
    return event


def _as_line(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    level: Level = event["entry"].level
    if level not in _COLOURS:
        return str(event["event"])
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    return f"{f'{_COLOURS[level]}{method}{_RESET}' if colour else method}: {event['event']}"


def _text(entry: Entry) -> str:
    """An entry in words: `job: message (facts)`."""
    told = ", ".join(
        _FORMATS[name](value)
        for name, value in entry.facts.items()
        if name in _FORMATS and value is not None and (name, value) != ("exit_code", 0)
    )
    job = entry.facts.get("job")
    return f"{f'{job}: ' if job else ''}{entry.message}{f' ({told})' if told else ''}"
