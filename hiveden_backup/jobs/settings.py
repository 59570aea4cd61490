"""The two settings of the whole installation that a dashboard changes: where backups go, and how many are kept."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.config.layers import overlay
from hiveden_backup.core.errors import DirectoryError
from hiveden_backup.host import config_files
from hiveden_backup.host.disk.repository import MARKER, initialise
from hiveden_backup.host.state.records import Records


@dataclass(frozen=True, slots=True)
class Settings:
    """The backup directory, and `keep_last` of the retention policy for all jobs; None where it is not set."""

    directory: str | None
    keep_last: int | None


def current(path: Path) -> Settings:
    """What is in effect."""
    config = config_files.load(path)
    return Settings(config.directory, config.retention.keep_last)


def change(path: Path, records: Records, wanted: Settings, now: datetime) -> bool:
    """Put into the managed drop-in what `wanted` sets; whether the backup directory is another one now.

    A directory without marker must be empty or absent, and is initialised. One that has had backups is not: its disk
    is not mounted. ConfigError or DirectoryError, and nothing is changed, when it cannot be.
    """
    table = {
        **({"directory": wanted.directory} if wanted.directory is not None else {}),
        **({"retention": {"keep_last": wanted.keep_last}} if wanted.keep_last is not None else {}),
    }
    before = config_files.load(path).directory
    after = config_files.preview(path, lambda managed: overlay(managed, table)).directory
    place = Path(after)
    if not os.path.lexists(place / MARKER) and (after != before or not _has_had_backups(records)):
        _refuse_links(place)
        initialise(place, now)
    config_files.update_managed(path, lambda managed: overlay(managed, table))
    return after != before


def _has_had_backups(records: Records) -> bool:
    return any(record.backup is not None for job in records.jobs() for _, record in records.runs(job))


def _refuse_links(place: Path) -> None:
    if place.is_symlink():
        raise DirectoryError(f"{place} is a link", "What it leads to may change", "Name the directory itself")
