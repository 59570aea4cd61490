"""What Tab offers for names. It imports little, since somebody waits; whatever goes wrong, it says nothing."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer
from typer.completion import get_completion_inspect_parameters

from hiveden_backup.host import guides as guide_files
from hiveden_backup.host.config_files import load
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.setup.managed import show

_ASKED = "_HIVEDEN_BACKUP_COMPLETE"
"""By it a shell's script, which is what its value `source_bash` prints, asks with `complete_bash`."""


def prepare() -> None:
    """Have typer answer a shell that asks, without the options by which typer would install the scripts."""
    if _ASKED in os.environ:
        get_completion_inspect_parameters()  # as typer does for its own options: it knows the shells only after that
        if os.environ[_ASKED].startswith("complete_"):
            sys.excepthook = lambda *_: None  # it would be said in the middle of somebody's line


def jobs(ctx: typer.Context) -> list[str]:
    """The configured jobs."""
    return list(load(_config(ctx)).jobs)


def offsites(ctx: typer.Context) -> list[str]:
    """The configured offsites."""
    return list(load(_config(ctx)).offsites)


def backups(ctx: typer.Context) -> list[str]:
    """The backups that are there, with their job before the id."""
    directory = BackupDirectory.open(Path(load(_config(ctx)).directory))
    found = {job: directory.backups(job) for job in directory.jobs()}
    return [f"{job}/{name}" for job, names in found.items() if names for name in ("latest", *names)]


def keys(ctx: typer.Context) -> list[str]:
    """The keys of the configuration, dotted."""
    return list(_keys(show(_config(ctx))))


def guides() -> list[str]:
    """The topics of the guides."""
    return list(guide_files.topics())


def files() -> list[str]:
    """Nothing, so that the shell offers files: typer 0.7 would offer what was typed."""
    return []


def _config(ctx: typer.Context) -> Path:
    return Path(ctx.find_root().params["config"])


def _keys(table: Mapping[str, object], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"
