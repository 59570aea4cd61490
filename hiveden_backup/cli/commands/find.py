"""`find`: the versions of a path in all backups."""

from pathlib import Path
from typing import Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.core.errors import NotFoundError, common_exit_code
from hiveden_backup.jobs.backups.catalog import jobs_of, show_path
from hiveden_backup.jobs.backups.versions import Version, versions


@command("find")
def find(  # noqa: PLR0917 - typer reads it
    glob: str = typer.Argument(..., metavar="GLOB", help="A path, its end, or a pattern, as for `restore --only`."),
    job: Optional[str] = typer.Option(
        None, "--job", metavar="JOB", help="Only in this job's backups.", autocompletion=completion.jobs
    ),
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """Find every version of a path in the backups.

    The newest version of a path comes first, each with the backups that have it.
    """
    with From(offsite, identity, as_of, host, rclone_config).reading(job) as there:
        incomplete = there.bring()
        directory = there.installation.directory
        found, damaged = versions(directory, glob, jobs_of(directory, job))
        damaged = (*incomplete, *damaged)
    if as_json:
        output.print_json_list(version.table() for version in found)
    elif found:
        output.print_table(("SIZE", "CHANGED", "BACKUPS", "PATH"), [_row(each) for each in found], right=(0,))
    for error in damaged:
        report(error)
    if not found and not damaged:
        raise NotFoundError(
            f"No backup has a path that matches {glob}", "", "List the paths of one: hiveden-backup show BACKUP --files"
        )
    raise typer.Exit(common_exit_code(error.exit_code for error in damaged))


def _row(version: Version) -> tuple[str, str, str, str]:
    newest, *older = version.backups
    more = f" and {len(older)} older" if older else ""
    return (
        output.size(version.record.size) if version.record.type == "f" else "-",
        output.moment(version.mtime) if version.mtime is not None else "-",
        f"{version.job}/{newest}{more}",
        show_path(version.record.path),
    )
