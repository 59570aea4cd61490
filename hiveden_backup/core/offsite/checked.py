"""When each object at an offsite was last read back, and how much of a month's budget that has taken."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.offsite.journal import Line

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Checked:
    """Of one job: the `month` that `bytes` were read in, and when each of the `objects` was found to be as sent."""

    month: str = ""
    bytes: int = 0
    objects: Mapping[str, datetime] = field(default_factory=dict)

    def spent(self, now: datetime) -> int:
        """How much was read this month."""
        return self.bytes if self.month == _month(now) else 0

    def when(self, line: Line) -> datetime | None:
        """When an object was read; None when that was never so since it was sent."""
        found = self.objects.get(line.object)
        return found if found is not None and found >= line.at else None

    def and_read(self, now: datetime, size: int, good: Iterable[str], there: Iterable[str]) -> "Checked":
        """As it is after so many bytes were read, and these found good; what is not there any more is forgotten."""
        known = {**self.objects, **dict.fromkeys(good, now)}
        return Checked(_month(now), self.spent(now) + size, {name: known[name] for name in there if name in known})


def _month(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m")
