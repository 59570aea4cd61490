"""When calendars elapse: systemd-analyze is asked, and its answer read in the machine's zone."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.host.systemd.calendar import _moments, upcoming


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def test_upcoming_merges_several_lines_each_moment_once() -> None:
    """Friday the 13th belongs to both lines."""
    moments = upcoming(["Fri *-*-* 00:00", "*-*-13"], 4, datetime(2026, 11, 6, tzinfo=UTC))
    assert moments == tuple(datetime(2026, *day, tzinfo=UTC) for day in ((11, 13), (11, 20), (11, 27), (12, 4)))


def test_upcoming_is_after_now_not_at_it() -> None:
    moments = upcoming(["02:30"], 1, datetime(2026, 11, 23, 2, 30, 0, 500_000, tzinfo=UTC))
    assert moments == (datetime(2026, 11, 24, 2, 30, tzinfo=UTC),)


def test_upcoming_from_the_clock() -> None:
    (moment,) = upcoming(["*:*:*"], 1)
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=30)


@pytest.mark.parametrize(("zone", "utc"), [("UTC", 2), ("Europe/Berlin", 1), ("Africa/Abidjan", 2), ("Asia/Tokyo", 17)])
def test_upcoming_reads_the_machines_zone_and_answers_in_utc(
    zone: str, utc: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    now = datetime(2026, 11, 25, 6, tzinfo=timezone(timedelta(hours=9)))  # 21:00 UTC of the day before
    hours = [moment.hour for moment in upcoming(["02:00"], 3, now)]
    assert hours == [utc] * 3
    assert upcoming(["02:00 UTC"], 1, now) == (datetime(2026, 11, 25, 2, tzinfo=UTC),)


def test_newer_systemd_counts_iterations_in_full() -> None:
    """Later versions write "Iteration #2" where 252 writes "Iter. #2"."""
    output = """\
  Original form: 02:00
Normalized form: *-*-* 02:00:00
    Next elapse: Tue 2026-11-24 02:00:00 CET
       (in UTC): Tue 2026-11-24 01:00:00 UTC
       From now: 2h 15min left
   Iteration #2: Wed 2026-11-25 02:00:00 CET
       (in UTC): Wed 2026-11-25 01:00:00 UTC
       From now: 1 day 2h left
"""
    assert list(_moments(output)) == [datetime(2026, 11, day, 1, tzinfo=UTC) for day in (24, 25)]


def test_upcoming_skips_the_hour_that_spring_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    moments = upcoming(["02:30"], 2, datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert [moment.day for moment in moments] == [30, 31]


def test_upcoming_of_what_never_comes_or_ends() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert upcoming(["*-02-30"], 3, now) == ()
    assert upcoming(["2020-01-01"], 3, now) == ()
    assert upcoming(["2027-01-01", "2020-01-01"], 3, now) == (datetime(2027, 1, 1, tzinfo=UTC),)
    assert upcoming([], 3, now) == ()
    assert upcoming(["daily"], 0, now) == ()


@pytest.mark.parametrize("line", ["*-*-* 25:00", "", "--help", "Fri..Mon 02:30"])
def test_upcoming_refuses_with_systemds_reason(line: str) -> None:
    with pytest.raises(BackupError) as refusal:
        upcoming([line], 1)
    assert refusal.value.what == f"'{line}' is not a systemd calendar"
    assert f"'{line}'" in refusal.value.why
    assert "systemd-analyze calendar" in refusal.value.hint


def test_upcoming_refuses_one_bad_line_among_good_ones() -> None:
    with pytest.raises(BackupError, match=r"are not all systemd calendars.* 'x y'"):
        upcoming(["daily", "x y"], 1)


def test_upcoming_refuses_control_characters() -> None:
    with pytest.raises(BackupError, match="control character"):
        upcoming(["daily\0"], 1)


def test_without_systemd_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match=r"systemd-analyze is not installed.*apt-get install systemd") as error:
        upcoming(["daily"], 1)
    assert error.value.exit_code == 69
