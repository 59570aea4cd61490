"""One installed program as every act on it sees it: configuration, state, clock, and who watches."""

import functools
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

from hiveden_backup.core.config.offsites import offsite_name, remote_fault
from hiveden_backup.core.config.values import Config
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, NotFoundError
from hiveden_backup.core.model import Trigger
from hiveden_backup.core.progress import Progress, Silence
from hiveden_backup.host import config_files
from hiveden_backup.host.disk import archives
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.ledger import Ledger
from hiveden_backup.host.state.records import Records

DEFAULT_CONFIG = Path("/etc/hiveden-backup/config.toml")
BROKEN_OFF = "broken-off"


def away(what: str, said: Sequence[str]) -> BackupError:
    """The error for what this machine has not, and the offsites or places have of which a stub has `said` so.

    Whoever can write to the backup directory can write a stub, and people paste what they are told to.
    """
    offsites = [each for each in said if each.isprintable() and None in (offsite_name(each), remote_fault(each))]
    return NotFoundError(
        f"{what} is not on this machine",
        f"It lies at the offsite {' and at '.join(offsites)}" if offsites else "Its stub names no offsite",
        f"Add to the command: --from {shlex.quote(offsites[0]) if offsites else 'OFFSITE'} --identity FILE",
    )


class Written(Protocol):
    """What was written of an archive or a dump."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """Its digest."""


class Elsewhere(Protocol):
    """Where backups are read from, when that is not the configured backup directory."""

    @property
    def directory(self) -> BackupDirectory:
        """A backup directory with what is small of the backups."""

    def left_out(self, job: str, backup: str) -> Collection[str]:
        """The files of a backup that are not in there."""

    def at_hand(self, job: str, path: str, written: Written, brake: Brake | None) -> AbstractContextManager[Path]:
        """As the installation's own."""


@dataclass(frozen=True)  # no slots: what is read once is remembered
class Installation:
    """What belongs together on a machine, handed in by the doors. `now` reads the clock.

    `invocation` is systemd's id of the unit's run that this is, "" outside of units. The configuration is read when it
    is first asked for, and never again: one act sees one configuration. With `elsewhere`, backups are read from there.
    """

    config_file: Path
    state: Path
    now: Callable[[], datetime]
    progress: Progress = Silence()
    trigger: Trigger = Trigger.MANUAL
    invocation: str = ""
    elsewhere: Elsewhere | None = None

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
        """The backup directory, the configuration's by default, seen to be there. DirectoryError without its marker."""
        return self.elsewhere.directory if self.elsewhere is not None else self.own_directory

    @property
    def own_directory(self) -> BackupDirectory:
        """As `directory`, of the configuration, wherever backups are read from."""
        return BackupDirectory.open(Path(self.config.directory))

    @contextmanager
    def at_hand(self, job: str, path: str, written: Written, brake: Brake | None = None) -> Iterator[Path]:
        """Where an archive, or a dump, lies while the block lasts; `path` is relative to the job's directory.

        What is fetched for it is digested, and gone afterwards. Whoever reads it looks at its digest all the same.
        """
        if self.elsewhere is None:
            place = self.directory.job_path(job) / path
            if not place.exists() and (stub := archives.stub_at(place)) is not None:
                raise away(f"{job}/{path}", stub.offsites)
            yield place
            return
        with self.elsewhere.at_hand(job, path, written, brake) as place:
            yield place

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
