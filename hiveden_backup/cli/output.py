"""How results look: sizes, spans, moments, tables and JSON. Results go to stdout."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import typer

from hiveden_backup.core import sizes

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


def moment(when: datetime) -> str:
    """A moment in the machine's zone: `2026-11-23 02:30`."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M")


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes escaped, so that a name cannot drive the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_toml(text: str) -> str:
    """As `printable`, for TOML, which knows other escapes: it means the same afterwards."""
    return "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, for a text whose own line breaks stand."""
    return "\n".join(printable(line) for line in text.split("\n"))


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


def print_json(value: Any) -> None:
    """JSON on stdout."""
    typer.echo(json.dumps(value, indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns that line up; those numbered in `right` are numbers."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[column]) for row in cells)]) for column, name in enumerate(head)]
    typer.echo(coloured(_line(head, widths, right), Colour.BOLD))
    for row in cells:
        typer.echo(_line(row, widths, right))


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if number in right else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
