"""Schedules as five cron fields: what comes out says the same as what went in, or nothing comes out."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveden_backup.core.schedule import to_cron as cron
from hiveden_backup.core.schedule.expression import ScheduleError, to_calendars
from hiveden_backup.host.systemd.calendar import normalized, upcoming

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expressions", "fields"),
    [
        (["*-*-* 02:30"], "30 2 * * *"),
        (["daily"], "0 0 * * *"),
        (["hourly"], "0 * * * *"),
        (["weekly"], "0 0 * * 1"),
        (["@weekly"], "0 0 * * 0"),
        (["quarterly"], "0 0 1 1,4,7,10 *"),
        (["*:0/15"], "*/15 * * * *"),
        (["*:5/20"], "5,25,45 * * * *"),
        (["*-*-* 0/6:00"], "0 */6 * * *"),
        (["Mon..Fri 12:00"], "0 12 * * 1-5"),
        (["Sat..Sun 4:05"], "5 4 * * 0,6"),
        (["Mon..Wed,Sun 3:00"], "0 3 * * 0-3"),
        (["*-1,7-1..7/2 4:5"], "5 4 1,3,5,7 1,7 *"),
        (["*-*-* 22..23:00"], "0 22,23 * * *"),
        (["*-*-* 02:00", "*-*-* 14:00"], "0 2,14 * * *"),
        (["Mon 02:00", "Thu 02:00"], "0 2 * * 1,4"),
    ],
)
def test_calendars_that_cron_can_say(expressions: list[str], fields: str) -> None:
    lines = [line for expression in expressions for line in to_calendars(expression)]
    assert cron.from_calendars(normalized(lines)) == fields
    assert upcoming(to_calendars(fields), 8, NOW) == upcoming(lines, 8, NOW)


@pytest.mark.parametrize(
    "expressions",
    [
        ["*-*~01 3:00"],  # the last day of the month
        ["Mon *-*-01..07 3:00"],  # the first Monday: cron would take either
        ["*-*-* 03:00 Europe/Berlin"],
        ["2027-*-* 3:00"],
        ["*-*-* 02:30:15"],
        ["*-*-* *:00/7:30"],
        ["*-*-* 02:30:15.5"],
        ["@86400"],
        ["*-*-* 02:00", "*-*-* 14:30"],
        ["*-*-* 02:00", "*-*~01 14:00"],
        [],
    ],
)
def test_calendars_that_cron_cannot_say(expressions: list[str]) -> None:
    lines = [line for expression in expressions for line in to_calendars(expression)]
    assert cron.from_calendars(normalized(lines)) is None


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("30 2 * * *", "30 2 * * *"),
        ("  0   4 1,15 * MON ", "0 4 1,15 * MON"),
        ("daily", None),
        ("@daily", None),
        ("*-*-* 02:30", None),
        ("Mon *-*-* 02:30 UTC", None),
    ],
)
def test_cron_stays_as_it_was_written(expression: str, fields: str | None) -> None:
    assert cron.written(expression) == fields


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    pair = st.tuples(one, one).map(sorted)
    return st.one_of(
        st.just("*"),
        one.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(pair, st.integers(1, 20)).map(lambda each: f"{each[0][0]}-{each[0][1]}/{each[1]}"),
        st.lists(one, min_size=1, max_size=4).map(lambda several: ",".join(map(str, several))),
        st.integers(1, 30).map(lambda step: f"*/{step}"),
    )


@settings(max_examples=60)
@given(fields=st.tuples(numbers(0, 59), numbers(0, 23), numbers(1, 31), numbers(1, 12), numbers(0, 7)))
def test_back_and_forth(fields: tuple[str, ...]) -> None:
    """What a cron expression became says the same when it is cron again."""
    try:
        lines = to_calendars(" ".join(fields))
    except ScheduleError:
        return  # a day that never comes
    again = cron.from_calendars(normalized(lines))
    if again is not None:
        assert upcoming(to_calendars(again), 12, NOW) == upcoming(lines, 12, NOW)
    elif "*" in (fields[2], fields[4]):
        pytest.fail(f"{fields} is lost")
