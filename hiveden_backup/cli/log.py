"""The log on stderr: short coloured lines on a terminal, plain ones elsewhere; and the progress line below them."""

import os
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from hiveden_backup.cli import output

_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_RESET = "\x1b[0m"
_CLEAR = "\r\x1b[2K"
_LEVELS = {"debug": 10, "info": 20, "warning": 30}
_QUIET_SECONDS = 1.0
_REFRESH_SECONDS = 0.2
_FORMATS: dict[str, Callable[[Any], str]] = {
    "bytes": output.size,
    "seconds": output.span,
    "downtime_seconds": lambda value: f"down for {output.span(value)}",
    "exit_code": lambda value: f"exit code {value}",
}


class ProgressLine:
    """One line that is rewritten: phase, bytes, rate. Shown once a phase takes longer than a second."""

    def __init__(self) -> None:
        self._phase = ""
        self._bytes = 0
        self._began = 0.0
        self._drawn = 0.0

    def begin(self, phase: str) -> None:
        """A new phase begins."""
        self.clear()
        self._phase, self._bytes, self._began = phase, 0, time.monotonic()

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        self._bytes += count
        now = time.monotonic()
        if now - self._began < _QUIET_SECONDS or now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        rate = output.size(int(self._bytes / (now - self._began)))
        sys.stderr.write(f"{_CLEAR}  {self._phase}  {output.size(self._bytes)}  {rate}/s")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = 0.0


def configure(*, verbose: bool, quiet: bool, progress: ProgressLine | None) -> None:
    """Send structlog's events to stderr, as lines."""
    level = "warning" if quiet else "debug" if verbose else "info"
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ

    def render(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        if progress is not None:
            progress.clear()
        return _line(method, event, colour=colour)

    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _line(method: str, event: MutableMapping[str, Any], *, colour: bool) -> str:
    message = str(event.pop("event"))
    job = event.pop("job", None)
    event.pop("kind", None)
    shown = ", ".join(
        _FORMATS[key](value) if key in _FORMATS else f"{key} {output.printable(str(value))}"
        for key, value in event.items()
    )
    text = f"{f'{job}: ' if job else ''}{message}{f' ({shown})' if shown else ''}"
    text = "\n".join(output.printable(line) for line in text.splitlines())
    if method in _COLOURS:
        label = f"{_COLOURS[method]}{method}{_RESET}" if colour else method
        return f"{label}: {text}"
    return text
