"""`config show`, `get` and `set`: the effective configuration, and changes to the managed drop-in alone."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from hiveden_backup.core.config.keys import Key, join, quoted, split
from hiveden_backup.core.config.layers import overlay, replace
from hiveden_backup.core.config.parse import complete_table, effective_table
from hiveden_backup.core.errors import NotFoundError, UsageError
from hiveden_backup.core.model import Config
from hiveden_backup.host import config_files


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
    close = difflib.get_close_matches(parts[-1], known, n=1)
    place = join(parts[:-1]) or "the configuration"
    hint = f"Did you mean {join((*parts[:-1], close[0]))}?" if close else "See `hiveden-backup config show`"
    if not known:
        return NotFoundError(f"There is no {join(parts)}", f"{place} is empty or no table", hint)
    return NotFoundError(f"There is no {join(parts)}", f"{place} has no such key", hint)
