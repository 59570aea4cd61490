"""Hours that clocks skip: where a zone's summer time begins, what is written on the wall jumps. No I/O."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from hiveden_backup.core.dataclass import dataclass

_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Gap:
    """At `moment` (UTC) the clock on the wall jumps from `start` to `end`; both are without a zone."""

    moment: datetime
    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How much is skipped."""
        return self.end - self.start


def gaps(zone: tzinfo, begin: datetime, days: int) -> Iterator[Gap]:
    """The gaps of a zone in the `days` after `begin`, in order."""
    moment = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    before = _offset(zone, moment)
    for _ in range(days * 24):
        after = _offset(zone, moment + _HOUR)
        if after > before:
            jump = moment
            while _offset(zone, jump) == before:  # to the minute: some zones jump at half past
                jump += _MINUTE
            wall = jump.replace(tzinfo=None)
            yield Gap(jump, wall + before, wall + after)
        moment, before = moment + _HOUR, after


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
