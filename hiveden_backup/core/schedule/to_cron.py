"""A schedule as five cron fields, where cron can say the same: the way back from systemd's calendars. No I/O.

By hand, as the way there is, in `expression`: no library goes it.

What cron cannot say (seconds, years, a time zone, the last day of a month, a weekday *and* a date) has no answer here.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.schedule.expression import to_calendars

_FIELDS = 5
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_CALENDAR = re.compile(
    r"(?:(?P<weekdays>[A-Z][A-Za-z.,]*) )?\*-(?P<months>[\d*.,/]+)-(?P<days>[\d*.,/]+) "
    r"(?P<hours>[\d*.,/]+):(?P<minutes>[\d*.,/]+):00"
)
_ELEMENT = re.compile(r"(?P<first>\d+)(?:\.\.(?P<last>\d+))?(?:/(?P<step>\d+))?")


@dataclass(frozen=True, slots=True)
class _Times:
    """The numbers of each field, in cron's order."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


_ALL = _Times(*(frozenset(range(*bounds)) for bounds in ((60,), (24,), (1, 32), (1, 13), (7,))))


def written(expression: str) -> str | None:
    """The five fields of an expression that was written as cron; None for systemd's own words and for `@daily`."""
    words = expression.split()
    if len(words) != _FIELDS or to_calendars(expression) == (expression.strip(),):
        return None
    return " ".join(words)


def from_calendars(lines: Sequence[str]) -> str | None:
    """The five fields that elapse exactly when a timer with all of `lines` does; None when cron cannot say that.

    `lines` are systemd's calendars in its normalized form (`Mon..Fri *-*-* 12:00:00`).
    """
    parsed = [_parse(line) for line in lines]
    known = [times for times in parsed if times is not None]
    if not known or len(known) < len(parsed):
        return None
    times = _union(known)
    if times is None or (times.days != _ALL.days and times.weekdays != _ALL.weekdays):
        return None  # where both are given, cron means either, systemd both
    return " ".join(_field(numbers, whole) for numbers, whole in zip(astuple(times), astuple(_ALL), strict=True))


def _union(several: Sequence[_Times]) -> _Times | None:
    """Calendars as one; possible when they differ in no more than one field."""
    one = several[0]
    for name in _Times.__slots__:
        wider = replace(one, **{name: frozenset[int]().union(*(getattr(times, name) for times in several))})
        if all(replace(times, **{name: getattr(wider, name)}) == wider for times in several):
            return wider
    return None


def _parse(line: str) -> _Times | None:
    match = _CALENDAR.fullmatch(line)
    if match is None:
        return None
    return _Times(
        minutes=_numbers(match["minutes"], _ALL.minutes),
        hours=_numbers(match["hours"], _ALL.hours),
        days=_numbers(match["days"], _ALL.days),
        months=_numbers(match["months"], _ALL.months),
        weekdays=_weekdays(match["weekdays"]),
    )


def _numbers(text: str, whole: frozenset[int]) -> frozenset[int]:
    """The numbers that one field of a calendar names: `*`, or a list of 05, 01..05, 00/15."""
    if text == "*":
        return whole
    found: set[int] = set()
    for element in text.split(","):
        match = _ELEMENT.fullmatch(element)
        if match is None:
            return frozenset()
        first, step = int(match["first"]), int(match["step"] or 0)
        last = int(match["last"]) if match["last"] else max(whole) if step else first
        found.update(range(first, last + 1, step or 1))
    return whole & found


def _weekdays(text: str | None) -> frozenset[int]:
    if not text:
        return _ALL.weekdays
    found: set[int] = set()
    for element in text.split(","):
        first, _, last = element.partition("..")
        number = _WEEKDAYS.index(first)
        end = _WEEKDAYS.index(last) if last else number
        found.update(day % 7 for day in range(number, (end if end >= number else end + 7) + 1))  # Mon..Sun
    return frozenset(found)


def _field(numbers: frozenset[int], whole: frozenset[int]) -> str:
    """The numbers as cron writes them: `*`, `*/15`, `1-5`, `1,3,7`."""
    if numbers == whole:
        return "*"
    if len(whole) > len(_ALL.weekdays) and len(numbers) > 2:  # noqa: PLR2004 - `0,12` reads better than `*/12`
        low, step, *_ = sorted(numbers)
        if low == 0 and numbers == frozenset(range(0, max(whole) + 1, step)):
            return f"*/{step}"
    return ",".join(f"{first}-{last}" if last > first + 1 else _pair(first, last) for first, last in _runs(numbers))


def _pair(first: int, last: int) -> str:
    return str(first) if first == last else f"{first},{last}"


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
