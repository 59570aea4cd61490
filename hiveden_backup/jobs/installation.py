"""One installed program as every act on it sees it: configuration, state, clock, and who watches."""

import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Self

from hiveden_backup.core.config.values import Config
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import Trigger
from hiveden_backup.core.progress import Progress, Silence
from hiveden_backup.host import config_files
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.ledger import Ledger
from hiveden_backup.host.state.records import Records

DEFAULT_CONFIG = Path("/etc/hiveden-backup/config.toml")
BROKEN_OFF = "broken-off"


@dataclass(frozen=True)  # no slots: what is read once is remembered
class Installation:
    """What belongs together on a machine, handed in by the doors. `now` reads the clock.

    `invocation` is systemd's id of the unit's run that this is, "" outside of units. The configuration is read when it
    is first asked for, and never again: one act sees one configuration.
    """

    config_file: Path
    state: Path
    now: Callable[[], datetime]
    progress: Progress = Silence()
    trigger: Trigger = Trigger.MANUAL
    invocation: str = ""

    def anew(self) -> Self:
        """The same installation with nothing read yet, for the next act."""
        return replace(self)

    @functools.cached_property
    def config(self) -> Config:
        """The effective configuration. ConfigError with all its problems."""
        return config_files.load(self.config_file)

    @property
    def docker(self) -> str | None:
        """The address of Docker's Engine. Its default place, None, when the configuration says none or cannot be read.

        Debts must be paid even then.
        """
        try:
            return self.config.docker
        except BackupError:
            return None

    @property
    def directory(self) -> BackupDirectory:
        """The backup directory of the configuration, seen to be there. DirectoryError when its marker is not."""
        return BackupDirectory.open(Path(self.config.directory))

    @property
    def records(self) -> Records:
        """The state directory's records."""
        return Records(self.state)

    @property
    def ledger(self) -> Ledger:
        """What is owed to containers."""
        return Ledger(self.state)

    def spool(self, job: str) -> Path:
        """Where a job keeps what a run needs only while it goes on."""
        return self.state / "spool" / job

    def broken_off(self, job: str) -> Path:
        """Where it says how far a pass has come, which may have been broken off: see `jobs/run/broken_off.py`."""
        return self.spool(job) / BROKEN_OFF
