"""`cat`: one file out of a backup."""

import os

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.parameters import BACKUP, absolute
from hiveden_backup.cli.watched import watched
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.restore.content import copy_content


@command("cat")
def cat(
    backup: str = BACKUP,
    path: str = typer.Argument(
        ..., metavar="PATH", help="A file as `show --files` lists it.", autocompletion=completion.files
    ),
) -> None:
    """Print the content of one file of a backup, byte for byte.

    One archive is read to its end for it: unless the exit status is 0, what was printed is worth nothing.
    """
    with watched() as surroundings:
        found = catalog.resolve(surroundings.directory, backup)
        copy_content(surroundings, found, os.fsencode(absolute(path)).lstrip(b"/"), output.write)
