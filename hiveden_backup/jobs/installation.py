"""What every job needs around it, handed in by the doors: configuration, state, clock, zone, progress."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from hiveden_backup.core.model import Config, Trigger
from hiveden_backup.core.progress import Progress
from hiveden_backup.host.state.records import Records


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of a job. `now` reads the clock.

    `invocation` is systemd's id of the unit's run that this is, "" outside of units.
    """

    config: Config
    state: Path
    now: Callable[[], datetime]
    zone: tzinfo
    progress: Progress
    trigger: Trigger = Trigger.MANUAL
    invocation: str = ""

    @property
    def records(self) -> Records:
        """The state directory's records."""
        return Records(self.state)

    def spool(self, job: str) -> Path:
        """Where a job keeps what a run needs only while it goes on."""
        return self.state / "spool" / job
