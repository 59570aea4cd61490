"""`run`: a backup of one job, or of several one after another."""

from collections.abc import Sequence
from typing import List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.surroundings import chosen
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BackupError, StorageError, UsageError, common_exit_code
from hiveden_backup.host.disk.durable import translate
from hiveden_backup.host.disk.spool import temporary_spool
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.dry_run import describe
from hiveden_backup.jobs.run.job import exit_code, run_job


@command("run")
def run(
    jobs: Optional[List[str]] = typer.Argument(None, help="Names of jobs.", autocompletion=completion.jobs),  # noqa: UP006
    all_jobs: bool = typer.Option(False, "--all", help="Run every configured job."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print what would be done; change nothing."),
    full: bool = typer.Option(False, "--full", help="Archive every file again."),
) -> None:
    """Back up one job, or several one after another; print the new ids."""
    if bool(jobs) == all_jobs:
        raise UsageError("Say which jobs to run", "", "Name them, or give --all")
    with watched() as installation:
        asked = chosen(installation, jobs or [])
        if dry_run:
            _dry_run(installation, asked, full=full)
            return

        outcomes = []
        unsaid: OSError | None = None
        for job in asked:
            outcome = run_job(installation, job, full=full)
            outcomes.append(outcome)
            if outcome.record.backup is not None and unsaid is None:
                try:
                    output.say(outcome.record.backup)
                except OSError as error:  # nobody reads: no reason to leave out the next job
                    unsaid = error
    if unsaid is not None:
        raise translate(unsaid, "writing the new ids to standard output", unwritable=StorageError) from unsaid
    raise typer.Exit(exit_code(outcomes))


def _dry_run(installation: Installation, jobs: Sequence[Job], *, full: bool) -> None:
    codes = []
    for job in jobs:
        try:
            with temporary_spool() as spool:
                for line in describe(installation, job, spool, full=full):
                    output.say(line)
        except BackupError as error:
            report(error)
            codes.append(error.exit_code)
    raise typer.Exit(common_exit_code(codes))
