"""`list`: the artifacts of finished backups."""

from pathlib import Path
from typing import Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.errors import common_exit_code
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.jobs.backups import catalog


@command("list")
def list_backups(  # noqa: PLR0917 - typer reads it
    job: Optional[str] = typer.Option(
        None, "--job", metavar="JOB", help="Only this job's.", autocompletion=completion.jobs
    ),
    kind: Optional[ArtifactType] = typer.Option(None, "--type", help="Only artifacts of this type."),
    target: Optional[str] = typer.Option(None, "--target", help="Only this database's or application's."),
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """List the artifacts of finished backups, newest first."""
    with From(offsite, identity, as_of, host, rclone_config).reading(job) as there:
        incomplete = there.bring(whole=False)
        surroundings = there.installation
        rows, damaged = catalog.rows(surroundings, surroundings.directory, job=job, kind=kind, target=target)
    if as_json:
        output.print_json([row.table() for row in rows])
    elif rows:
        head = ("BACKUP", "CREATED", "JOB", "TYPE", "TARGET", "SERVER", "ADDED", "DOWNTIME", "VERIFIED", "SIGNED")
        elsewhere = any(row.where is not Place.HERE for row in rows)
        cells = [
            (
                row.id,
                output.moment(row.created),
                row.job,
                row.type.value,
                row.target,
                row.server or "-",
                output.size(row.size),
                output.span(row.downtime_seconds) if row.downtime_seconds else "-",
                row.verified.result if row.verified else "-",
                row.signature.short,
                *([row.where.value] if elsewhere else []),
            )
            for row in rows
        ]
        output.print_table((*head, *(["WHERE"] if elsewhere else [])), cells, right=(6,))
    else:
        output.say("There are no backups yet." if not (job or kind or target) else "No backup fits.")
    errors = (*incomplete, *damaged)
    for error in errors:
        report(error)
    raise typer.Exit(common_exit_code(error.exit_code for error in errors))
