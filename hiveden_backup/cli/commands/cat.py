"""`cat`: one file out of a backup."""

import os
from pathlib import Path
from typing import Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From
from hiveden_backup.cli.parameters import BACKUP, absolute
from hiveden_backup.cli.watched import watched
from hiveden_backup.jobs.restore.content import copy_content


@command("cat")
def cat(  # noqa: PLR0917 - typer reads it
    backup: str = BACKUP,
    path: str = typer.Argument(
        ..., metavar="PATH", help="A file as `show --files` lists it.", autocompletion=completion.files
    ),
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
) -> None:
    """Print the content of one file of a backup, byte for byte.

    One archive is read to its end for it: unless the exit status is 0, what was printed is worth nothing.
    """
    wanted = os.fsencode(absolute(path)).lstrip(b"/")
    where = From(offsite, identity, as_of, host, rclone_config)
    with watched() as surroundings, where.reading_of(backup) as there:
        found = there.resolve(backup)
        there.bring([found])
        copy_content(there.on(surroundings), found, wanted, output.write)
