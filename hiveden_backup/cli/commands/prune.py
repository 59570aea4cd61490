"""`prune`: what the retention policy lets go."""

from contextlib import nullcontext
from typing import Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command, now, options, report, state_directory
from hiveden_backup.cli.parameters import JOBS, JSON
from hiveden_backup.cli.surroundings import chosen, context
from hiveden_backup.core.errors import BackupError, common_exit_code


@command("prune")
def prune(
    jobs: Optional[List[str]] = JOBS,  # noqa: UP006
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go and why; remove nothing."),
    as_json: bool = JSON,
) -> None:
    """Remove what the retention policy lets go.

    The archives that nothing needs any more go with it.
    """
    from hiveden_backup.host.clock import local_zone
    from hiveden_backup.host.state.locks import job_lock
    from hiveden_backup.jobs.backups import prune as pruning

    config = options.load()
    directory = options.directory()
    rows: list[tuple[str, dict[str, Any]]] = []
    codes = []
    for job in chosen(config, jobs or []):
        try:
            with nullcontext() if dry_run else job_lock(state_directory(), job.name):
                apply = pruning.plan if dry_run else pruning.prune
                pruned = apply(
                    directory, options.records(), job.name, policy=job.retention, now=now(), zone=local_zone()
                )
        except BackupError as error:  # the other jobs have their turn
            report(error)
            codes.append(error.exit_code)
        else:
            rows.extend((job.name, each) for each in pruned.table())
    if not dry_run:
        from hiveden_backup.jobs.recovery.mover import Mover, expire

        with context(config):
            expire(Mover(state_directory(), config.docker, now), config.jobs)
    if as_json:
        output.print_json([row for _, row in rows])
    else:
        cells = [(job, row["id"], "keep" if row["keep"] else "remove", ", ".join(row["reasons"])) for job, row in rows]
        output.print_table(("JOB", "BACKUP", "DECISION", "WHY"), cells)
    raise typer.Exit(common_exit_code(codes))
