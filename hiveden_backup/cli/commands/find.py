"""`find`: the versions of a path in all backups."""

from typing import Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.errors import NotFoundError, common_exit_code
from hiveden_backup.jobs.backups.catalog import jobs_of, show_path
from hiveden_backup.jobs.backups.versions import Version, versions


@command("find")
def find(
    glob: str = typer.Argument(..., metavar="GLOB", help="A path, its end, or a pattern, as for `restore --only`."),
    job: Optional[str] = typer.Option(
        None, "--job", metavar="JOB", help="Only in this job's backups.", autocompletion=completion.jobs
    ),
    as_json: bool = JSON,
) -> None:
    """Find every version of a path in the backups.

    The newest version of a path comes first, each with the backups that have it.
    """
    directory = installation().directory
    found, damaged = versions(directory, glob, jobs_of(directory, job))
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
