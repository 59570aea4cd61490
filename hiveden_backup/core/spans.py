"""Spans of time as systemd writes them ("7d", "1h 30min", "90"), to seconds and back.

The syntax is systemd.time(7)'s: what `systemd-analyze timespan` accepts is accepted, with the same value. Read by hand,
since no library reads it, and a configuration must be readable where systemd is not, without a process for each span.
"""

import math
import re
from functools import cache

_MICROSECONDS = 1_000_000
_SECOND = _MICROSECONDS
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_INFINITY = 2**64 - 1

_UNITS = {
    **dict.fromkeys(("seconds", "second", "sec", "s"), _SECOND),
    **dict.fromkeys(("minutes", "minute", "min", "m"), _MINUTE),
    **dict.fromkeys(("months", "month", "M"), 2_629_800 * _SECOND),  # a twelfth of a year
    **dict.fromkeys(("msec", "ms"), 1000),
    **dict.fromkeys(("hours", "hour", "hr", "h"), _HOUR),
    **dict.fromkeys(("days", "day", "d"), _DAY),
    **dict.fromkeys(("weeks", "week", "w"), 7 * _DAY),
    **dict.fromkeys(("years", "year", "y"), 31_557_600 * _SECOND),  # 365.25 days
    **dict.fromkeys(("usec", "us", "µs", "μs"), 1),  # the micro sign and the Greek mu
}
_WRITTEN = (("d", _DAY), ("h", _HOUR), ("min", _MINUTE), ("s", _SECOND), ("ms", 1000), ("us", 1))

_NOT_A_SPAN = "it is no span of time"
_BLANKS = " \t\n\r"
_SPACE = f"[{_BLANKS}]*"
_MOST = 2**63 - 1
_MOST_DIGITS = len(str(_MOST))  # looked at first: Python refuses to convert thousands of digits


@cache
def _token() -> re.Pattern[str]:
    """A number and its unit. It takes long to compile, and few configurations have one."""
    return re.compile(
        rf"{_SPACE}(?P<whole>\+?[0-9]+|(?=\.))(?:\.(?P<fraction>[0-9]+))?(?P<gap>{_SPACE})"
        rf"(?P<unit>{'|'.join(sorted(_UNITS, key=len, reverse=True))})?"
    )


def parse(text: str) -> float:
    """The seconds that `text` stands for, never negative; `infinity` is math.inf. ValueError with the reason."""
    stripped = text.strip(_BLANKS)
    if stripped == "infinity":
        return math.inf
    if not stripped:
        raise ValueError("it is empty")
    total = at = 0
    while at < len(stripped):
        token = _token().match(stripped, at)
        if token is None:
            raise ValueError("it is negative" if stripped[at:].lstrip(_BLANKS).startswith("-") else _NOT_A_SPAN)
        at = token.end()
        if at < len(stripped) and not token["gap"] and not token["unit"]:
            raise ValueError(_NOT_A_SPAN)
        total += _microseconds(token)
        if total >= _INFINITY:
            raise ValueError("it is too long")
    return total / _MICROSECONDS


def _microseconds(token: re.Match[str]) -> int:
    whole = token["whole"].lstrip("+").lstrip("0")
    if len(whole) > _MOST_DIGITS or int(whole or "0") > _MOST:
        raise ValueError("it is too long")
    multiplier = _UNITS[token["unit"] or "s"]
    total = int(whole or "0") * multiplier
    for digit in token["fraction"] or "":
        multiplier //= 10
        if not multiplier:
            break
        total += int(digit) * multiplier
    return total


def rounded(seconds: float) -> float:
    """`seconds` to the microsecond, as `parse(text(seconds))` gives them back. ValueError unless finite and >= 0."""
    return _whole(seconds) / _MICROSECONDS


def text(seconds: float) -> str:
    """`seconds` as a span ("7d", "1h 30min", "0"), to the microsecond. ValueError unless finite and >= 0."""
    rest = _whole(seconds)
    parts = []
    for unit, size in _WRITTEN:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0"


def _whole(seconds: float) -> int:
    """Microseconds, rounded half up; in integers, since a float would lose some of them above 285 years."""
    if not 0 <= seconds < math.inf:
        raise ValueError(f"not a span of time: {seconds}")
    numerator, denominator = seconds.as_integer_ratio()
    return (2 * numerator * _MICROSECONDS + denominator) // (2 * denominator)
