"""The effective configuration, and changes to the managed drop-in alone: `config` for people, settings for the API."""

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.backup.layout import MARKER
from hiveden_backup.core.config.gone import GONE
from hiveden_backup.core.config.keys import Key, join, quoted, split
from hiveden_backup.core.config.layers import Overridden, overlay, replace, without
from hiveden_backup.core.config.parse import complete_table, effective_table
from hiveden_backup.core.config.values import Config, Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DirectoryError, NotFoundError, UsageError
from hiveden_backup.core.model import Check, Finding, Status
from hiveden_backup.core.names import did_you_mean
from hiveden_backup.host import config_files
from hiveden_backup.host.disk.repository import initialise
from hiveden_backup.host.state.records import Records
from hiveden_backup.jobs.installation import Installation

_JOBS_KEY = 3  # jobs, its name, and what of it
_SCHEDULING = frozenset({"schedule", "catch_up", "jitter", "timeout"})


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


def unset(path: Path, key: str) -> tuple[Key, object]:
    """Take a dotted key out of the managed drop-in again; the key, and what is in effect now, None when nothing is.

    NotFoundError when it is not in there. ConfigError, and nothing is changed, when the rest would not be valid.
    """
    parts = _parts(key)

    def change(managed: Mapping[str, object]) -> Mapping[str, object]:
        try:
            return without(managed, parts)
        except KeyError as error:
            raise NotFoundError(
                f"{join(parts)} is not in {config_files.managed_file(path)}",
                "Nothing else is changed by this program",
                "If another file says it, change it there",
            ) from error

    table = effective_table(config_files.update_managed(path, change))
    try:
        return parts, _find(table, parts)
    except NotFoundError:
        return parts, None


def hidden(path: Path, jobs: Collection[str]) -> list[Finding]:
    """What `check` says of values in the configuration's files that have no effect: of these jobs, and of no job."""
    found = []
    for each in config_files.read(path).overridden:
        job = each.key[1] if each.key[0] == "jobs" and len(each.key) > 1 else ""
        if not job or job in jobs:
            hint = "Leave it in one of the two"
            if each.by == config_files.MANAGED:
                hint = f"To let {each.layer} say it again: hiveden-backup config unset {join(each.key)}"
            found.append(Finding(job, Check.CONFIGURATION, Status.WARN, said(each), hint))
    for key in config_files.outlived(path):
        if key[1] in jobs:
            message = f"{join(key)} in {config_files.MANAGED} has no effect any more: {GONE[key[-1]]}"
            hint = f"Take it out: hiveden-backup config unset {join(key)}"
            found.append(Finding(key[1], Check.CONFIGURATION, Status.WARN, message, hint))
    return found


def said(hidden: Overridden) -> str:
    """That a value has no effect, in words."""
    return f"{join(hidden.key)} in {hidden.layer} has no effect: {hidden.by} overrides it"


def hidden_schedules(path: Path) -> list[Overridden]:
    """Values of a person's files about when jobs run that have no effect."""
    keys = [each for each in config_files.read(path).overridden if each.key[0] == "jobs"]
    return [each for each in keys if len(each.key) < _JOBS_KEY or each.key[2] in _SCHEDULING]


def silenced(installation: Installation, job: Job) -> Iterator[str]:
    """That a job which a person gave a schedule runs by itself no more, since something of ours took it away."""
    if job.schedule:
        return
    for each in config_files.read(installation.config_file).overridden:
        if each.key == ("jobs", job.name, "schedule") and each.by == config_files.MANAGED:
            yield (
                f"It does not run by itself: `schedule unset` or the API took its schedule in {each.layer} away, "
                f"in {each.by}. To have it again: hiveden-backup config unset {join(each.key)}, "
                "then hiveden-backup schedule apply"
            )


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
