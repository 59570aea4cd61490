"""Where a command reads backups from: the backup directory, or with `--from` an offsite."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from hiveden_backup.cli import completion
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, UsageError
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.installation import Installation

if TYPE_CHECKING:
    from hiveden_backup.jobs.offsite.adopt import Adopted
    from hiveden_backup.jobs.offsite.asked import Asked

FROM = typer.Option(
    None,
    "--from",
    metavar="OFFSITE",
    help="Read from this offsite, or from any REMOTE:PATH or directory.",
    autocompletion=completion.offsites,
)
IDENTITY = typer.Option(
    None, "--identity", metavar="FILE", help="With --from: the key that decrypts.", autocompletion=completion.files
)
AS_OF = typer.Option(None, "--as-of", metavar="TIME", help="With --from: as a bucket with versions was then.")
HOST = typer.Option(None, "--host", metavar="HOST", help="With --from: whose backups, where several hosts send there.")
RCLONE_CONFIG = typer.Option(
    None,
    "--rclone-config",
    metavar="FILE",
    help="With --from REMOTE:PATH: what `rclone config` wrote, if not where it usually does.",
    autocompletion=completion.files,
)


@dataclass(frozen=True, slots=True)
class From:
    """What was said of where to read from."""

    place: Optional[str] = None
    identity: Optional[Path] = None
    as_of: Optional[str] = None
    host: Optional[str] = None
    rclone_config: Optional[Path] = None

    def asked(self) -> "Optional[Asked]":
        """An offsite, None for the backup directory. UsageError for what says something of an offsite that is none."""
        if self.place is None:
            given = {"--identity": self.identity, "--as-of": self.as_of, "--host": self.host}
            for option, value in {**given, "--rclone-config": self.rclone_config}.items():
                if value is not None:
                    raise UsageError(f"{option} goes with --from", "", "Say which offsite to read from")
            return None
        from hiveden_backup.jobs.offsite.asked import Asked  # noqa: PLC0415 - who reads here need not wait for it

        return Asked(self.place, self.identity, self.as_of or "", self.rclone_config, self.host or "")

    @contextmanager
    def reading(self, job: Optional[str] = None) -> "Iterator[Source]":
        """What is read from, for the block; one job of it, where one is named."""
        surroundings, asked = installation(), self.asked()
        if asked is None:
            yield Source(surroundings)
            return
        from hiveden_backup.jobs.offsite.adopt import reading  # noqa: PLC0415 - as above

        with reading(surroundings, asked, job) as adopted:
            yield Source(replace(surroundings, elsewhere=adopted), adopted)

    def reading_of(self, backup: str) -> "AbstractContextManager[Source]":
        """The same for a BACKUP of the command line, which may name its job."""
        return self.reading(backup.strip("/").rpartition("/")[0] or None)


@dataclass(frozen=True, slots=True)
class Source:
    """What backups are read from; `adopted` where that is an offsite."""

    installation: Installation
    adopted: "Optional[Adopted]" = None

    def on(self, watched: Installation) -> Installation:
        """Another view of the same machine, that reads from here as well."""
        return replace(watched, elsewhere=self.adopted)

    def resolve(self, text: str) -> Backup:
        """The backup that a person means, and what is small of it is there."""
        if self.adopted is None:
            return catalog.resolve(self.installation.directory, text)
        return self.adopted.resolve(text)

    def bring(self, backups: Optional[Iterable[Backup]] = None, *, whole: bool = True) -> list[BackupError]:
        """Have what is small of backups at hand, or their manifests alone; of all, why some of them are left out."""
        return self.adopted.bring(backups, whole=whole) if self.adopted is not None else []
