"""`prune`: what the retention policy lets go."""

from typing import Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.parameters import JOBS, JSON
from hiveden_backup.cli.surroundings import chosen
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.errors import BackupError, common_exit_code
from hiveden_backup.jobs.backups import prune as pruning
from hiveden_backup.jobs.recovery.expiry import expire


@command("prune")
def prune(
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go and why; remove nothing."),
    as_json: bool = JSON,
) -> None:
    """Remove what the retention policy lets go.

    The archives that nothing needs any more go with it.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    codes = []
    with watched() as installation:
        directory = installation.directory
        for job in chosen(installation, jobs or []):
            try:
                if dry_run:
                    pruned = pruning.plan(installation, directory, job.name, job.retention)
                else:
                    pruned = pruning.prune_job(installation, job)
            except BackupError as error:  # the other jobs have their turn
                report(error)
                codes.append(error.exit_code)
            else:
                rows.extend((job.name, each) for each in pruned.table())
        if not dry_run:
            expire(installation, installation.config.jobs)
    if as_json:
        output.print_json([row for _, row in rows])
    else:
        cells = [(job, row["id"], "keep" if row["keep"] else "remove", ", ".join(row["reasons"])) for job, row in rows]
        output.print_table(("JOB", "BACKUP", "DECISION", "WHY"), cells)
    raise typer.Exit(common_exit_code(codes))
