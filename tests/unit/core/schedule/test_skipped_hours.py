"""Hours that clocks skip."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.schedule.skipped_hours import gaps
from hiveden_backup.host.systemd.calendar import upcoming
from hiveden_backup.jobs.schedule.survey import skipped

NOW = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "found"),
    [
        ("Europe/Berlin", ["2027-03-28 02:00 03:00"]),
        ("America/New_York", ["2027-03-14 02:00 03:00"]),
        ("Asia/Beirut", ["2027-03-28 00:00 01:00"]),
        ("Australia/Lord_Howe", ["2027-10-03 02:00 02:30"]),
        ("Asia/Kolkata", []),
        ("UTC", []),
    ],
)
def test_gaps_of_a_year(zone: str, found: list[str]) -> None:
    told = [f"{gap.start:%Y-%m-%d %H:%M} {gap.end:%H:%M}" for gap in gaps(ZoneInfo(zone), NOW, 365)]
    assert told == found


@pytest.mark.parametrize(
    ("zone", "schedule", "left_out"),
    [
        ("Europe/Berlin", ["*-*-* 02:30"], True),
        ("Europe/Berlin", ["30 2 * * *"], True),
        ("Europe/Berlin", ["Sun 02:00"], True),
        ("Europe/Berlin", ["Mon 02:30"], False),
        ("Europe/Berlin", ["*-*-* 03:00"], False),
        ("Europe/Berlin", ["*-*-* 02:30 UTC"], False),
        ("Europe/Berlin", ["hourly"], False),
        ("Europe/Berlin", ["*:0/15"], False),
        ("Europe/Berlin", ["*-*-* 02:30", "*-*-* 03:30"], False),
        ("Europe/Berlin", ["@1900000000"], False),
        ("Asia/Beirut", ["daily"], True),
        ("UTC", ["*-*-* 02:30"], False),
        ("UTC", ["*-*-* 02:30 America/New_York"], True),
    ],
)
def test_schedules_that_lose_a_run_are_known(
    monkeypatch: pytest.MonkeyPatch, zone: str, schedule: list[str], *, left_out: bool
) -> None:
    """What systemd itself does is just that: around the gap it lets more than a day pass."""
    monkeypatch.setenv("TZ", zone)
    found = list(skipped(Job("a", schedule=tuple(schedule)), NOW))
    assert bool(found) is left_out
    for line, gap in found:
        before = gap.moment - timedelta(seconds=1)
        assert upcoming([line], 1, before)[0] - before > timedelta(hours=20)
