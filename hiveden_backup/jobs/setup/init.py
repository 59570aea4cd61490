"""A backup directory made, or adopted on a new machine; and a configuration to begin with."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.config.starter import starter_configuration
from hiveden_backup.core.errors import UsageError
from hiveden_backup.host import config_files
from hiveden_backup.host.disk import repository as directory
from hiveden_backup.host.disk.durable import make_directory, translated, write_durably


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` did. `other_directory` is the one that an existing configuration names instead, "" if none."""

    directory: Path
    id: str
    created: bool
    configuration: bool
    other_directory: str
    backups: int


def initialise(path: Path, config: Path, now: datetime) -> Initialised:
    """Create and mark the backup directory, or adopt a marked one; write `config` when there is none."""
    place = Path(path).absolute()
    if any(not character.isprintable() for character in str(place)):
        raise UsageError("The directory's name has characters that cannot be printed", "", "Choose a plain name")
    opened, created = directory.initialise(place, now)
    written, other = False, ""
    if config.exists():
        named = config_files.load(config).directory
        other = named if named != str(place) else ""
    else:
        with translated(f"writing {config}"):
            make_directory(config.parent)
            write_durably(config, starter_configuration(str(place)).encode())
        written = True
    backups = sum(len(opened.backups(job)) for job in opened.jobs())
    return Initialised(place, opened.id, created, written, other, backups)
