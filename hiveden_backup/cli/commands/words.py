"""The hidden command that shell completions ask for names. It imports little: somebody waits with a finger on Tab."""

from collections.abc import Iterator, Mapping
from enum import Enum

import typer

from hiveden_backup.cli.app import command, options


class Kind(Enum):
    """What names are wanted."""

    JOBS = "jobs"
    BACKUPS = "backups"
    KEYS = "keys"


@command("words", hidden=True)
def words(kind: Kind = typer.Argument(..., help="Which.")) -> None:
    """Print names for a shell to complete, one a line."""
    for name in _names(kind):
        typer.echo(name)


def _names(kind: Kind) -> Iterator[str]:
    if kind is Kind.JOBS:
        yield from options.load().jobs
    elif kind is Kind.KEYS:
        from hiveden_backup.jobs.setup.managed import show

        yield from _keys(show(options.config))
    else:
        directory = options.directory()
        for job in directory.jobs():
            backups = directory.backups(job)
            yield from [f"{job}/latest"] * bool(backups)
            yield from (f"{job}/{backup}" for backup in backups)


def _keys(table: Mapping[str, object], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"
