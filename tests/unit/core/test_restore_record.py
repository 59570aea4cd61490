"""What an in-place restore's phase says: what must be finished, and when what it replaced may go."""

from datetime import UTC, datetime, timedelta

import pytest

from hiveden_backup.core.restore_record import Act, Phase

FINISHED = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("phase", "pending", "half_done"),
    [
        (Phase.STAGING, True, False),
        (Phase.COMMITTED, True, True),
        (Phase.DONE, False, False),
        (Phase.UNDOING, True, True),
        (Phase.UNDONE, False, False),
    ],
)
def test_phases(phase: Phase, *, pending: bool, half_done: bool) -> None:
    """What an undo that was broken off has to put back never goes, whatever time has passed since the restore."""
    act = Act("1", "app", "2", FINISHED, phase, finished=FINISHED)
    assert (act.pending, act.half_done) == (pending, half_done)
    assert act.expired(FINISHED + timedelta(days=8), keep=7 * 86400) is not pending


def test_what_was_replaced_is_kept_for_its_time() -> None:
    act = Act("1", "app", "2", FINISHED - timedelta(days=30), Phase.DONE, finished=FINISHED)
    kept = timedelta(days=7)
    assert not act.expired(FINISHED + kept - timedelta(seconds=1), kept.total_seconds())
    assert act.expired(FINISHED + kept, kept.total_seconds())
    assert not Act("1", "app", "2", FINISHED, Phase.STAGING).expired(FINISHED + kept, 0)
