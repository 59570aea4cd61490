"""How results look: sizes, spans, moments, tables and JSON. Results go to stdout, and by nothing else than this file.

So it is here alone that a text becomes fit to be seen: a command hands over names as they are.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import typer

from hiveden_backup.core import sizes
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.shown import printable

_TEN = 10
_MINUTE = 60
_HOUR = 3600
_DAY = 86400

size = sizes.text


def count(number: int, singular: str, plural: str = "") -> str:
    """A number of things: `1 path`, `2 paths`."""
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"


def span(seconds: float) -> str:
    """A duration for people: `0.4 s`, `2 min 5 s`, `3 h 4 min`, `5 d 1 h`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < _TEN else f"{seconds:.0f} s"
    whole = round(seconds)
    for large, small, name, smaller in (
        (_DAY, _HOUR, "d", "h"),
        (_HOUR, _MINUTE, "h", "min"),
        (_MINUTE, 1, "min", "s"),
    ):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {name} {rest} {smaller}" if rest else f"{whole // large} {name}"
    raise AssertionError


def roughly(seconds: float) -> str:
    """A duration in its largest unit alone, for columns: `12 s`, `3 h`, `5 d`."""
    return " ".join(span(seconds).split(" ")[:2])


def day(when: datetime) -> str:
    """The day of a moment in the machine's zone: `2026-11-23`."""
    return when.astimezone().strftime("%Y-%m-%d")


def moment(when: datetime) -> str:
    """A moment in the machine's zone: `2026-11-23 02:30`."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def printable_toml(text: str) -> str:
    """As `printable`, for TOML, which knows other escapes: it means the same afterwards."""
    return "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in text)


class Colour(StrEnum):
    """How a terminal shows a text, by the number that tells it."""

    BOLD = "1"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"


def coloured(text: str, colour: Colour) -> str:
    """`text` in a colour when stdout is a terminal that wants it."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def say(text: str, *, head: str = "", colour: Colour | None = None, err: bool = False) -> None:
    """One line of text, `head` before it in a colour, or all of it without one. On stderr with `err`."""
    text, head = printable(text), printable(head)
    if colour is not None:
        head, text = (coloured(head, colour), text) if head else ("", coloured(text, colour))
    typer.echo(f"{head}{text}", err=err)


def say_toml(text: str) -> None:
    """Lines of TOML: what no terminal should get is told as TOML has it."""
    typer.echo("\n".join(printable_toml(line) for line in text.rstrip("\n").split("\n")))


def say_raw(text: str) -> None:
    """A text as it is, for scripts; where nobody but root says what it is."""
    typer.echo(text, nl=False)


def write(piece: bytes) -> None:
    """Bytes on stdout as they are: somebody's file. StorageError when they do not fit.

    The command ends when nobody wants them any more.
    """
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(sys.stdout.fileno(), view) :]
    except BrokenPipeError as error:
        raise typer.Exit(1) from error  # as all that print do
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError("Writing to the standard output failed", why, "What came there is not all of it") from error


def print_json(value: Any) -> None:
    """JSON on stdout, exact: it escapes by itself what is not ASCII."""
    typer.echo(json.dumps(value, indent=2))


def print_json_list(values: Iterable[Any]) -> None:
    """As `print_json` of a list of texts or numbers, however many there are."""
    written = False
    for value in values:
        typer.echo(f"{',' if written else '['}\n  {json.dumps(value)}", nl=False)
        written = True
    typer.echo("\n]" if written else "[]")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns that line up; those numbered in `right` are numbers."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[column]) for row in cells)]) for column, name in enumerate(head)]
    form = "  ".join(f"{{:{'>' if column in right else '<'}{width}}}" for column, width in enumerate(widths))
    lines = (form.format(*row).rstrip() for row in cells)
    typer.echo("\n".join([coloured(form.format(*head).rstrip(), Colour.BOLD), *lines]))  # at once: echo flushes
