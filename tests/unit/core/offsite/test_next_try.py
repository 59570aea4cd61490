"""When a push that failed is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from hiveden_backup.core.offsite.plan import next_try

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("failures", "minutes"), [(1, 15), (2, 30), (3, 60), (4, 120), (7, 960), (8, 1440), (9, 1440), (10_000_000, 1440)]
)
def test_tries_come_soon_and_then_daily(failures: int, minutes: int) -> None:
    assert next_try(NOW, failures) - NOW == timedelta(minutes=minutes)
