"""Schedules: cron's rule read a second time by brute force, and systemd itself as the judge of every line."""

import calendar
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.schedule.expression import ScheduleError, to_calendars
from hiveden_backup.host.systemd.calendar import upcoming

ELAPSES = 12
HORIZON = datetime(2101, 1, 1, tzinfo=UTC)
BASES = [
    datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC),
    datetime(2027, 2, 28, 23, 59, tzinfo=UTC),
    datetime(2028, 2, 28, 0, 0, tzinfo=UTC),
    datetime(2029, 12, 31, 23, 58, 59, tzinfo=UTC),
    datetime(2030, 3, 31, 1, 30, tzinfo=UTC),
]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


# ---- cron(5), read naively -----------------------------------------------------------------------------------------


def matches(word: str, value: int, low: int, high: int) -> bool:
    """Whether a field's word names `value`, by cron(5)'s words: star, number, range, `/step`, list."""
    for element in word.split(","):
        span, _, step = element.partition("/")
        start, _, end = (f"{low}-{high}" if span == "*" else span).partition("-")
        if int(start) <= value <= int(end or start) and (value - int(start)) % int(step or 1) == 0:
            return True
    return False


def unnamed(expression: str) -> list[str]:
    fields = expression.lower().split()
    for number, name in enumerate(MONTHS, 1):
        fields[3] = fields[3].replace(name, str(number))
    for number, name in enumerate(WEEKDAYS):
        fields[4] = fields[4].replace(name, str(number))
    return fields


def cron_runs_on(fields: list[str], day: date) -> bool:
    """The rule on days: if both fields are restricted, either will do; a field that begins with * is not."""
    by_day = matches(fields[2], day.day, 1, 31)
    number = day.isoweekday() % 7
    by_weekday = matches(fields[4], number, 0, 7) or (number == 0 and matches(fields[4], 7, 0, 7))
    restricted = fields[2][0] != "*" and fields[4][0] != "*"
    in_month = matches(fields[3], day.month, 1, 12)
    return in_month and (by_day or by_weekday if restricted else by_day and by_weekday)


def cron_elapses(expression: str, base: datetime) -> Iterator[datetime]:
    """All moments after `base` and before HORIZON at which cron would start the command."""
    fields = unnamed(expression)
    hours = [hour for hour in range(24) if matches(fields[1], hour, 0, 23)]
    minutes = [minute for minute in range(60) if matches(fields[0], minute, 0, 59)]
    midnight = base.replace(hour=0, minute=0, second=0)
    while midnight < HORIZON:
        if cron_runs_on(fields, midnight.date()):
            times = (midnight.replace(hour=hour, minute=minute) for hour in hours for minute in minutes)
            yield from (time for time in times if time > base)
        midnight += timedelta(days=1)


# ---- systemd, asked about many lines at once ---------------------------------------------------------------------


def systemd_elapses(lines: list[str], base: datetime) -> list[list[datetime]]:
    """The first ELAPSES of each line, as systemd-analyze tells them."""
    done = subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={ELAPSES}", f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", *lines],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split("\n\n")
    assert len(answers) == len(lines)
    return [[moment_in(row) for row in answer.splitlines() if row.endswith(" UTC")] for answer in answers]


def moment_in(row: str) -> datetime:
    words = row.split()
    return datetime.strptime(" ".join(words[-3:]), "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)


# ---- generated expressions -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: its range, the names of the numbers from its low end on, how often it is a bare star."""

    low: int
    high: int
    star: float
    names: Sequence[str] = ()


FIELDS = [
    Field(0, 59, 0.1),
    Field(0, 23, 0.2),
    Field(1, 31, 0.35),
    Field(1, 12, 0.6, MONTHS),
    Field(0, 7, 0.35, WEEKDAYS),
]


def some_number(dice: random.Random, number: int, field: Field) -> str:
    if number - field.low < len(field.names) and dice.random() < 0.4:
        return dice.choice([str.lower, str.upper, str.capitalize])(field.names[number - field.low])
    return dice.choice([f"{number}", f"{number:02}"])


def some_element(dice: random.Random, field: Field) -> str:
    ends = sorted(dice.randint(field.low, field.high) for _ in range(2))
    first, last = (some_number(dice, number, field) for number in ends)
    forms = [first, last, f"{first}-{last}", f"{first}-{last}/{dice.randint(1, 9)}"]
    return dice.choice([*forms, f"*/{dice.choice([1, 2, 3, 5, 7, 10, 15, field.high + 9])}"])


def some_word(dice: random.Random, field: Field) -> str:
    if dice.random() < field.star:
        return "*"
    elements = [some_element(dice, field) for _ in range(dice.choice([1, 1, 1, 2, 3]))]
    return ",".join([*elements, *dice.choices([[], ["*"]], [19, 1])[0]])


def some_expressions(count: int) -> list[str]:
    dice = random.Random(20261123)
    return [dice.choice([" ", "\t", "  "]).join(some_word(dice, field) for field in FIELDS) for _ in range(count)]


BY_HAND = [
    "* * * * *",
    "*/15 * * * *",
    "0 0 29 2 *",
    "0 0 31 * *",
    "0 0 29 2 */7",
    "30 2 1 * mon",
    "30 2 */2 * mon",
    "30 2 1-7 * */2",
    "30 2 * * 7",
    "30 2 * * 0",
    "30 2 * * 5-7",
    "30 2 * * 0-6",
    "30 2 13 * 0-7",
    "30 2 1-31 * fri",
    "30 2 5,* * fri",
    "30 2 *,5 * fri",
    "59 23 31 12 *",
    "0 0 30 jan-mar *",
    "*/70 */30 1 * *",
]


@pytest.mark.parametrize("number", range(len(BASES)))
def test_generated_expressions_elapse_when_cron_would_run_them(number: int) -> None:
    """Each over a dozen elapses, by systemd's own reckoning; what is refused must be a date that never comes."""
    base = BASES[number]
    lines: list[tuple[str, str]] = []
    refused: list[str] = []
    for expression in [*BY_HAND, *some_expressions(600)][number :: len(BASES)]:
        try:
            lines += [(expression, line) for line in to_calendars(expression)]
        except ScheduleError:
            refused.append(expression)
    told: dict[str, set[datetime]] = {expression: set() for expression, _ in lines}
    answers = systemd_elapses([line for _, line in lines], base)
    for (expression, _), elapses in zip(lines, answers, strict=True):
        told[expression].update(elapse for elapse in elapses if elapse < HORIZON)
    for expression, elapses_told in told.items():
        expected = list(islice(cron_elapses(expression, base), ELAPSES))
        assert expected, expression
        assert sorted(elapses_told)[:ELAPSES] == expected, expression
    assert len(told) > 100
    for expression in refused:
        with pytest.raises(ScheduleError, match="never comes"):
            to_calendars(expression)
        assert not any(cron_elapses(" ".join([*expression.split()[:4], "*"]), base)), expression


# ---- what the lines look like --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "calendars"),
    [
        ("30 2 * * *", ["*-*-* 02:30:00"]),
        ("*/15 * * * *", ["*-*-* *:00,15,30,45:00"]),
        ("0 3 * * MON-Wed,7", ["Mon,Tue,Wed,Sun *-*-* 03:00:00"]),
        ("0 0 1,15 * 5", ["Fri *-*-* 00:00:00", "*-*-01,15 00:00:00"]),
        ("0 0 */10 jan,Jul 5", ["Fri *-01,07-01,11,21,31 00:00:00"]),
        ("@hourly", ["*-*-* *:00:00"]),
        ("@daily", ["*-*-* 00:00:00"]),
        ("@midnight", ["*-*-* 00:00:00"]),
        ("@weekly", ["Sun *-*-* 00:00:00"]),
        ("@monthly", ["*-*-01 00:00:00"]),
        ("@yearly", ["*-01-01 00:00:00"]),
        ("@annually", ["*-01-01 00:00:00"]),
        (" @Daily ", ["*-*-* 00:00:00"]),
    ],
)
def test_cron_becomes_explicit_sets(expression: str, calendars: list[str]) -> None:
    assert list(to_calendars(expression)) == calendars


@pytest.mark.parametrize(
    "expression",
    [
        "*-*-* 02:30",
        "daily",
        "Mon..Fri 02:30",
        "Mon,Thu *-*-* 02:30:00 Europe/Berlin",
        "Sun *-*~07/1 03:00",
        "*:0/15",
        "02:30",
        "*-*-01",
        "@1900000000",
    ],
)
def test_a_systemd_calendar_is_left_as_it_is(expression: str) -> None:
    assert to_calendars(f"  {expression} ") == (expression,)
    assert upcoming([expression], 1, BASES[0])


@pytest.mark.parametrize("expression", ["30 2 * *", "nonsense", "Mon *-*-* 02:30 Europe/Berlin and more"])
def test_what_is_neither_is_for_systemd_to_refuse(expression: str) -> None:
    with pytest.raises(BackupError, match="is not a systemd calendar"):
        upcoming(to_calendars(expression), 1)


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "message", "native"),
    [
        ("0 2 L * *", "`L`", "*-*~01 02:00:00"),
        ("0 2 l 6 ?", "`L`", "*-06~01 02:00:00"),
        ("0 2 * * 5L", "`L`", "Fri *-*~07/1 02:00:00"),
        ("0 2 * * sunl", "`L`", "Sun *-*~07/1 02:00:00"),
        ("0 2 * * 5#3", "`#`", "Fri *-*-15..21 02:00:00"),
        ("0 2 ? 1-3 MON#5", "`#`", "Mon *-01,02,03-29..31 02:00:00"),
        ("0 2 ? * *", "`?`", "*-*-* 02:00:00"),
        ("0 2 1 * ?", "`?`", "*-*-01 02:00:00"),
        ("15 30 2 * * *", "5 fields, not 6", "*-*-* 02:30:15"),
        ("0 0 12 ? * MON-FRI", "5 fields, not 6", "Mon,Tue,Wed,Thu,Fri *-*-* 12:00:00"),
        ("0 0 12 * * ? 2030", "5 fields, not 7", "*-*-* 12:00:00"),
        ("30 2 * * * root", "5 fields, not 6", "*-*-* 02:30:00"),
        ("30 2 * * 1 /usr/local/bin/backup --all", "5 fields, not 7", "Mon *-*-* 02:30:00"),
        ("@reboot", "@reboot", "*-*-* 02:30"),
        ("0 0 30 2 *", "Day 30 never comes in month 2", "*-02~01 00:00:00"),
        ("0 0 31 4,jun *", "Day 31 never comes in month 4,jun", "*-04,06~01 00:00:00"),
    ],
)
def test_a_refusal_gives_systemds_own_words(expression: str, message: str, native: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        to_calendars(expression)
    assert message in refusal.value.message
    assert refusal.value.hint.split("`")[1::2] == [native]
    assert len(upcoming([native], 3, BASES[0])) == 3


def test_two_lines_are_named_when_it_takes_two() -> None:
    with pytest.raises(ScheduleError) as refusal:
        to_calendars("0 0 30 2 mon")
    assert refusal.value.hint.split("`")[1::2] == ["*-02~01 00:00:00", "Mon *-02-* 00:00:00"]
    with pytest.raises(ScheduleError) as refusal:
        to_calendars("0 0 2 13 * 5")
    assert refusal.value.hint.split("`")[1::2] == ["Fri *-*-* 02:00:00", "*-*-13 02:00:00"]


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("", "empty", "`*-*-* 02:30`"),
        (" \t ", "empty", "`*-*-* 02:30`"),
        ("daily\nExecStart=/bin/true", "control character", "one line"),
        ("30 2\n* * *", "control character", "one line"),
        ("30 2 * * *\0", "control character", "one line"),
        ("@every 1h", "@every 1h is no schedule", "@hourly"),
        ("@", "no schedule", "@hourly"),
        ("*/0 * * * *", "step of 0", "1 or more"),
        ("0 1-5/00 * * *", "step of 0", "1 or more"),
        ("5/15 * * * *", "step without a range", "`5-59/15`"),
        ("0 0 * * mon/2", "step without a range", "`1-7/2`"),
        ("0 22-6 * * *", "runs backwards", "`22-23,0-6`"),
        ("0 0 * * fri-mon", "runs backwards", "`5-6,0-1`"),
        ("0 0 * * fri-sun", "runs backwards", "`5-7`"),
        ("0 0 * * 7-1", "runs backwards", "`7,0-1`"),
        ("0 22-6/2 * * *", "runs backwards", "one by one"),
        ("60 * * * *", "minute 60 is out of range", "0 to 59"),
        ("0 24 * * *", "hour 24 is out of range", "0 to 23"),
        ("0 0 0 * *", "day of month 0 is out of range", "1 to 31"),
        ("0 0 * 13 *", "month 13 is out of range", "1 to 12 or one of jan"),
        ("0 0 * * 8", "day of week 8 is out of range", "0 to 7 or one of mon"),
        ("0 0 * * sunday", "`sunday` is not known", "0 to 7 or one of mon"),
        ("0 0 * mon *", "`mon` is not known", "1 to 12 or one of jan"),
        ("H 2 * * *", "`H` is not known", "0 to 59"),
        ("0~59 2 * * *", "cannot be read", "ranges"),
        ("0 0 1, * *", "cannot be read", "ranges"),
        ("0 0 *-5 * *", "cannot be read", "ranges"),
        ("0 0 -5 * *", "cannot be read", "ranges"),
        ("0 0 1-2-3 * *", "cannot be read", "ranges"),
        ("0 0 ** * *", "cannot be read", "ranges"),
        ("0 0 * * 5#6", "cannot be read", "ranges"),
        (f"0 0 * * {'9' * 5000}", "cannot be read", "ranges"),
        ("0 0 15W * *", "`W`", "day of the month"),
        ("0 0 LW * *", "`W`", "day of the month"),
        ("0 0 L * 5", "`L`", "list of two"),
        ("0 0 13 * 5L", "`L`", "list of two"),
        ("0 0 13 * 5#2", "`#`", "list of two"),
        ("0 99 * * 5#2", "hour 99 is out of range", "0 to 23"),
        ("75 30 2 * * *", "5 fields, not 6", "month and day of week only"),
        ("99 99 * * * *", "5 fields, not 6", "month and day of week only"),
    ],
)
def test_what_is_no_schedule_is_refused_with_a_way_out(expression: str, message: str, hint: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        to_calendars(expression)
    assert message in refusal.value.message
    assert hint in refusal.value.hint
    assert str(refusal.value) == f"{refusal.value.message}. {refusal.value.hint}."


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("0 2 L * *", lambda day: day.day == calendar.monthrange(day.year, day.month)[1]),
        ("0 2 * * 5L", lambda day: day.isoweekday() == 5 and (day + timedelta(days=7)).month != day.month),
        ("0 2 * * 5#3", lambda day: day.isoweekday() == 5 and (day.day - 1) // 7 == 2),
        ("0 2 * * 7#5", lambda day: day.isoweekday() == 7 and (day.day - 1) // 7 == 4),
    ],
)
def test_the_native_words_mean_what_the_dialect_meant(expression: str, meant: Callable[[date], bool]) -> None:
    with pytest.raises(ScheduleError) as refusal:
        to_calendars(expression)
    start = BASES[0].replace(hour=2, minute=0, second=0)
    days = (start + timedelta(days=number) for number in range(1, 3000))
    expected = list(islice((day for day in days if meant(day.date())), ELAPSES))
    assert list(upcoming([refusal.value.hint.split("`")[1]], ELAPSES, start)) == expected
