"""What every request needs around it. Nothing is kept between requests: the configuration is read anew each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from fastapi import Request

from hiveden_backup.core.model import Config, Trigger
from hiveden_backup.core.progress import Silence
from hiveden_backup.host import config_files
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.records import Records
from hiveden_backup.host.systemd.last_words import LastWords
from hiveden_backup.jobs.installation import Context
from hiveden_backup.jobs.schedule.survey import Setting


@dataclass(frozen=True, slots=True)
class Site:
    """The installation that the API speaks for.

    `runtime` is where the units of jobs look for what they are told. `program` and `environment` are for commands in
    units of their own.
    """

    config: Path
    state: Path
    now: Callable[[], datetime]
    zone: tzinfo
    runtime: Path | None
    program: tuple[str, ...]
    environment: Mapping[str, str]

    def load(self) -> Config:
        """The configuration. ConfigError with all its problems."""
        return config_files.load(self.config)

    def directory(self) -> BackupDirectory:
        """The opened backup directory of the configuration."""
        return BackupDirectory.open(Path(self.load().directory))

    @property
    def last_words(self) -> LastWords:
        """How what requests started ended."""
        return LastWords(self.state / "requests")

    @property
    def records(self) -> Records:
        """The state directory's records."""
        return Records(self.state)

    def context(self, config: Config) -> Context:
        """What jobs need around them."""
        return Context(config, self.state, self.now, self.zone, Silence(), trigger=Trigger.API)

    def setting(self, config: Config) -> Setting:
        """What schedules depend on."""
        return Setting(config, self.config, self.state, self.now)


def site_of(request: Request) -> Site:
    """The site of a request, for endpoints to depend on."""
    site: Site = request.app.state.site
    return site
