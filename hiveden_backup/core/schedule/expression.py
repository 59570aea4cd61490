"""Schedules as people write them, translated to the calendar lines that systemd understands. No I/O.

A cron expression becomes explicit sets, so that what cron(5) means survives systemd's other rules (where a step begins,
how the two day fields combine). Whether systemd accepts a line, and when it elapses, is not judged here.

Read by hand, since libraries for cron tell when an expression is due next; wanted are calendars that mean the same, and
for what has none (`L`, `W`, `?`, `@reboot`) a refusal that says what to write instead.
"""

import contextlib
import re
from collections.abc import Mapping

from hiveden_backup.core.dataclass import dataclass, field

_CRON_WORD = re.compile(r"[0-9A-Za-z*,/#?~-]+")
_MOMENT = re.compile(r"@\d+")
_ELEMENT = re.compile(r"(?P<first>\*|\w{1,9})(?:-(?P<last>\w{1,9}))?(?:/(?P<step>\d{1,9}))?", re.ASCII)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FIELDS_OF_CRON = 5
_APART = "Write a list of two schedules, one for the days of the month and one for the weekdays"

_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class ScheduleError(ValueError):
    """An expression that has no meaning as a schedule: `message` says why, `hint` what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}." if self.hint else f"{self.message}."


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five fields: what numbers it may have, and the names of some of them (lower case)."""

    title: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)})
_WEEKDAY = _Field("day of week", 0, 7, {name.lower(): number % 7 for number, name in enumerate(_WEEKDAYS, 1)})


def to_calendars(expression: str) -> tuple[str, ...]:
    """The systemd calendar lines for `expression`; a timer with all of them elapses when the expression says.

    Cron is what has five words or more made of cron's characters, or begins with `@`; everything else is taken to be a
    systemd calendar and returned as it is, but for the space around it. ScheduleError when cron's rule gives no
    schedule, or one that systemd cannot be told.
    """
    if any(not (character.isprintable() or character == "\t") for character in expression):
        raise ScheduleError("The schedule has a control character in it", "Write it on one line")
    text = " ".join(expression.split())
    if not text:
        raise ScheduleError("The schedule is empty", "Write for example `*-*-* 02:30`, or leave the job without one")
    if text.startswith("@") and not _MOMENT.fullmatch(text):
        return _from_fields(_expand(text))
    words = text.split(" ")
    if len(words) >= _FIELDS_OF_CRON and all(_CRON_WORD.fullmatch(word) for word in words[:_FIELDS_OF_CRON]):
        return _from_fields(words)
    return (expression.strip(),)


def _expand(text: str) -> list[str]:
    shorthand = _SHORTHANDS.get(text.lower())
    if shorthand is not None:
        return shorthand.split(" ")
    if text.lower() == "@reboot":
        raise ScheduleError(
            "systemd has no calendar for @reboot",
            "Write for example `*-*-* 02:30` and leave catch_up on: a run that was missed is made up after the boot",
        )
    raise ScheduleError(f"{text} is no schedule that cron knows", f"cron knows {', '.join(_SHORTHANDS)}")


def _from_fields(words: list[str]) -> tuple[str, ...]:
    if len(words) > _FIELDS_OF_CRON:
        raise _too_many(words)
    _refuse_dialects(words)
    minutes, hours, days, months, weekdays = (
        _numbers(word, kind) for word, kind in zip(words, (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY), strict=True)
    )
    weekdays = frozenset(number % 7 for number in weekdays)
    time = f"{_set(hours, _HOUR)}:{_set(minutes, _MINUTE)}:00"
    month, day, names = _set(months, _MONTH), _set(days, _DAY), _weekday_names(weekdays)
    # cron(5): "restricted" is a field that does not *begin* with an asterisk; only if both are, either day will do.
    either = not words[2].startswith("*") and not words[4].startswith("*")
    by_weekday = f"{names}*-{month}-* {time}"
    if min(days) > max(_DAYS_IN_MONTH[number - 1] for number in months):
        last = f"`*-{month}~01 {time}` is the last day of the month"
        raise ScheduleError(
            f"Day {words[2]} never comes in month {words[3]}",
            f"{last}, `{by_weekday}` the weekday alone" if either else last,
        )
    return (by_weekday, f"*-{month}-{day} {time}") if either else (f"{names}*-{month}-{day} {time}",)


# ---- a field -------------------------------------------------------------------------------------------------------


def _numbers(word: str, kind: _Field) -> frozenset[int]:
    """The numbers that a field's elements (`*`, 5, 1-5, each of the ranges with /step) name together."""
    return frozenset(number for element in word.split(",") for number in _element(element, word, kind))


def _element(element: str, word: str, kind: _Field) -> range:
    match = _ELEMENT.fullmatch(element)
    if match is None or (match["first"] == "*" and match["last"]):
        raise ScheduleError(f"The {kind.title} `{word}` cannot be read", "Write numbers, ranges, lists and steps")
    if match["first"] == "*":
        first, last = kind.low, kind.high
    else:
        first = _number(match["first"], kind)
        last = _number(match["last"], kind) if match["last"] else first
        if match["step"] and not match["last"]:
            raise ScheduleError(
                f"The {kind.title} `{element}` has a step without a range",
                f"Write `{first}-{kind.high}/{match['step']}`",
            )
    if first > last:
        meant = "the numbers one by one" if match["step"] else f"`{_wrapped(first, last, kind)}`"
        raise ScheduleError(f"The {kind.title} `{element}` runs backwards", f"Write {meant}")
    step = int(match["step"] or 1)
    if step == 0:
        raise ScheduleError(f"The {kind.title} `{element}` has a step of 0", "Write a step of 1 or more, or none")
    return range(first, last + 1, step)


def _number(text: str, kind: _Field) -> int:
    number = kind.names.get(text.lower(), int(text) if text.isdecimal() else None)
    known = f"Write {kind.low} to {kind.high}" + (f" or one of {', '.join(kind.names)}" if kind.names else "")
    if number is None:
        raise ScheduleError(f"The {kind.title} `{text}` is not known", known)
    if not kind.low <= number <= kind.high:
        raise ScheduleError(f"The {kind.title} {text} is out of range", known)
    return number


def _wrapped(first: int, last: int, kind: _Field) -> str:
    """Two ranges for one that was meant to run past the field's end (Friday to Monday, 22 to 6 o'clock)."""
    if kind is _WEEKDAY and last == 0:
        return f"{first}-7"
    high = kind.high - 1 if kind is _WEEKDAY else kind.high
    return ",".join(f"{low}-{top}" if low < top else f"{low}" for low, top in ((first, high), (kind.low, last)))


# ---- writing it down -----------------------------------------------------------------------------------------------


def _set(numbers: frozenset[int], kind: _Field) -> str:
    if len(numbers) == kind.high - kind.low + 1:
        return "*"
    return ",".join(f"{number:02}" for number in sorted(numbers))


def _weekday_names(weekdays: frozenset[int]) -> str:
    """The prefix of a line: "" for every day, else `Mon,Sun `."""
    if len(weekdays) == len(_WEEKDAYS):
        return ""
    return ",".join(name for number, name in enumerate(_WEEKDAYS, 1) if number % 7 in weekdays) + " "


# ---- what cannot be said -------------------------------------------------------------------------------------------


def _too_many(words: list[str]) -> ScheduleError:
    """The refusal of more than five fields, with what was probably meant: seconds first, or something behind."""
    what = f"A cron expression has 5 fields, not {len(words)}: no seconds, year, user or command"
    plain = ["*" if word == "?" else word for word in words]
    if plain[0].isdecimal() and int(plain[0][:9]) <= _MINUTE.high:
        with contextlib.suppress(ScheduleError):
            lines = _from_fields(plain[1 : _FIELDS_OF_CRON + 1])
            return ScheduleError(what, _native(*(f"{line[:-2]}{int(plain[0]):02}" for line in lines)))
    with contextlib.suppress(ScheduleError):
        return ScheduleError(what, _native(*_from_fields(plain[:_FIELDS_OF_CRON])))
    return ScheduleError(what, "Write the minute, hour, day of month, month and day of week only")


def _refuse_dialects(words: list[str]) -> None:
    """Raise for what other schedulers added to cron, with systemd's own words for it where it has any."""
    day, weekday = words[2].upper(), words[4].upper()
    if "?" in (day, weekday):
        plain = ["*" if word == "?" else word for word in words]
        raise ScheduleError("cron does not know `?`", _native(*_from_fields(plain)))
    if re.fullmatch(r"(\d{1,2}|L)W", day):
        raise ScheduleError("Neither cron nor systemd knows `W`, the nearest working day", "Write a day of the month")
    if day == "L":
        hint = _native_date(words, "~01", "*") if weekday == "*" else _APART
        raise ScheduleError("cron does not know `L`, the last day of the month", hint)
    if match := re.fullmatch(r"(\w{1,3})#([1-5])", weekday):
        first = int(match[2]) * 7 - 6
        hint = _native_date(words, f"-{first:02}..{min(first + 6, 31):02}", match[1]) if day == "*" else _APART
        raise ScheduleError("cron does not know `#`, the n-th such weekday of the month", hint)
    if match := re.fullmatch(r"([0-7]|[A-Z]{3})L", weekday):
        hint = _native_date(words, "~07/1", match[1]) if day == "*" else _APART
        raise ScheduleError("cron does not know `L`, the last such weekday of the month", hint)


def _native_date(words: list[str], date: str, weekday: str) -> str:
    """The hint for `words` with `date` (`-DD` or `~DD`, as systemd counts) and `weekday` in place of the day fields."""
    (line,) = _from_fields([*words[:2], "*", words[3], weekday])
    dates, _, time = line.rpartition("-* ")
    return _native(f"{dates}{date} {time}")


def _native(*lines: str) -> str:
    """A hint that names the lines; two of them are a list in the configuration."""
    return f"systemd's own words are {' and '.join(f'`{line}`' for line in lines)}"
