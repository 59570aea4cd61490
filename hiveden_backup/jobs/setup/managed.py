"""The effective configuration, and changes to the managed drop-in alone: `config` for people, settings for the API."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.backup.layout import MARKER
from hiveden_backup.core.config.keys import Key, join, quoted, split
from hiveden_backup.core.config.layers import overlay, replace
from hiveden_backup.core.config.parse import complete_table, effective_table
from hiveden_backup.core.config.values import Config
from hiveden_backup.core.errors import DirectoryError, NotFoundError, UsageError
from hiveden_backup.core.names import did_you_mean
from hiveden_backup.host import config_files
from hiveden_backup.host.disk.repository import initialise
from hiveden_backup.host.state.records import Records


def show(path: Path) -> dict[str, object]:
    """The effective configuration of the file at `path`, defaults too, ready for TOML or JSON."""
    return effective_table(config_files.load(path))


def get(path: Path, key: str) -> object:
    """The effective value at a dotted key; a table for a key that names one. NotFoundError when it has none."""
    parts = _parts(key)
    config = config_files.load(path)
    if _find(complete_table(config), parts) is None:
        raise NotFoundError(f"{join(parts)} is not set", "It has no fixed default", f"See `config set {join(parts)}`")
    return _find(effective_table(config), parts)


def set_value(path: Path, key: str, value: str) -> Config:
    """Set a dotted key in the managed drop-in to `value` read as TOML, or to the string itself where it is none.

    Returns the configuration that follows. ConfigError, and nothing is written, when that would not be valid.
    """
    parts, parsed = _parts(key), config_files.value_from(value)
    return config_files.update_managed(path, lambda managed: replace(managed, parts, parsed))


def merge(path: Path, table: Mapping[str, object]) -> Config:
    """Merge a table (`{"jobs": {"immich": {"schedule": []}}}`) into the managed drop-in, like `set_value` else."""
    return config_files.update_managed(path, lambda managed: overlay(managed, table))


def text(value: object) -> str:
    """What `get` or `show` gave, for people and scripts: a table as TOML, a string bare, all else as a TOML value."""
    match value:
        case Mapping():
            return config_files.to_toml(value)
        case [Mapping(), *_]:
            return "\n".join(text(element) for element in value)
        case str():
            return f"{value}\n"
        case _:
            return config_files.to_toml({"value": value}).removeprefix("value = ")


def _parts(key: str) -> Key:
    try:
        return split(key)
    except ValueError as error:
        raise UsageError(f"{quoted(key)} is no key", "", "Write it with dots: jobs.NAME.schedule") from error


def _find(table: Mapping[str, object], parts: Key) -> object:
    at: object = table
    for number, part in enumerate(parts):
        known = list(at) if isinstance(at, Mapping) else []
        if not isinstance(at, Mapping) or part not in at:
            raise _unknown(parts[: number + 1], known)
        at = at[part]
    return at


def _unknown(parts: Key, known: list[str]) -> NotFoundError:
    place = join(parts[:-1]) or "the configuration"
    hint = did_you_mean(parts[-1], known, "See `hiveden-backup config show`", lambda name: join((*parts[:-1], name)))
    if not known:
        return NotFoundError(f"There is no {join(parts)}", f"{place} is empty or no table", hint)
    return NotFoundError(f"There is no {join(parts)}", f"{place} has no such key", hint)


# ---- the two settings of the whole installation that a dashboard changes


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
