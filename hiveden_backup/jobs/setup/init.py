"""A backup directory made, or adopted on a new machine; and a configuration to begin with."""

from collections.abc import Sequence
from pathlib import Path

from hiveden_backup.core.config.starter import starter_configuration
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import NotFoundError, UsageError
from hiveden_backup.core.model import Owner
from hiveden_backup.host import config_files
from hiveden_backup.host.disk import repository as directory
from hiveden_backup.host.disk.durable import make_directory, translated, write_durably
from hiveden_backup.host.state.key import this_key
from hiveden_backup.jobs.backups.ownership import others, taken_over
from hiveden_backup.jobs.installation import Installation


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` did. `other_directory` is the one that an existing configuration names instead, "" if none.

    `taken_over` are jobs and whose they were; `foreign` are those that still belong to other hosts.
    """

    directory: Path
    id: str
    created: bool
    configuration: bool
    other_directory: str
    backups: int
    taken_over: tuple[tuple[str, Owner | None], ...]
    foreign: tuple[tuple[str, Owner], ...]


def initialise(path: Path, installation: Installation, take_over: Sequence[str] = ()) -> Initialised:
    """Create and mark the backup directory, or adopt a marked one; write the configuration when there is none.

    The backups of the jobs of `take_over`, which must be there, are this host's from now on. NotFoundError.
    """
    config = installation.config_file
    place = Path(path).absolute()
    if any(not character.isprintable() for character in str(place)):
        raise UsageError("The directory's name has characters that cannot be printed", "", "Choose a plain name")
    opened, created = directory.initialise(place, installation.now())
    this_key(installation.state)
    for job in take_over:
        if job not in opened.jobs():
            known = ", ".join(opened.jobs()) or "none"
            raise NotFoundError(f"There are no backups of a job {job} in {place}", f"There are some of: {known}")
    taken = tuple((job, taken_over(installation, opened, job)) for job in dict.fromkeys(take_over))
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
    return Initialised(place, opened.id, created, written, other, backups, taken, others(installation, opened))
