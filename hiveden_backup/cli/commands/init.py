"""`init`: a directory becomes a backup directory."""

from pathlib import Path

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, options
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.jobs.setup.init import initialise


@command("init")
def init(
    directory: Path = typer.Option(
        ..., "--directory", help="Where the backups are to be.", metavar="DIR", autocompletion=completion.files
    ),
    as_json: bool = JSON,
) -> None:
    """Create and mark a backup directory.

    A marked one is adopted. A starter configuration is written if there is none.
    """
    done = initialise(directory, options.config, installation().now())
    if as_json:
        output.print_json(
            {
                "directory": str(done.directory),
                "id": done.id,
                "created": done.created,
                "configuration": done.configuration,
            }
        )
        return
    typer.echo(f"{'Marked' if done.created else 'Adopted'} the backup directory {done.directory}.")
    if done.configuration:
        typer.echo(
            f"Wrote a starter configuration to {options.config}. Next: add a job to it, then hiveden-backup check"
        )
    elif done.other_directory:
        typer.echo(f"{options.config} names another directory ({done.other_directory}): change `directory` there.")
    if done.backups:
        typer.echo(f"It holds {output.count(done.backups, 'backup')}: hiveden-backup list")
