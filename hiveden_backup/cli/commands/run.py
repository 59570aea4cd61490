"""Commands around the main job: run, check, prune, recover, status."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command, now, options, report, state_directory, trigger
from hiveden_backup.core.errors import (
    BackupError,
    NotFoundError,
    StorageError,
    UnreachableError,
    UsageError,
    common_exit_code,
)

if TYPE_CHECKING:
    from hiveden_backup.core.model import Config, Job
    from hiveden_backup.jobs.installation import Context

_JOBS = typer.Argument(None, help="Names of jobs; all when none is given.")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_BOOT_SECONDS = 300.0


@command("run")
def run(
    jobs: Optional[List[str]] = typer.Argument(None, help="Names of jobs."),  # noqa: UP006
    all_jobs: bool = typer.Option(False, "--all", help="Run every configured job."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print what would be done; change nothing."),
    full: bool = typer.Option(False, "--full", help="Archive every file again."),
) -> None:
    """Back up one job, or several one after another; print the new ids."""
    if bool(jobs) == all_jobs:
        raise UsageError("Say which jobs to run", "", "Name them, or give --all")
    config = options.load()
    chosen = _chosen(config, jobs or [])
    with context(config) as surroundings:
        if dry_run:
            _dry_run(surroundings, chosen, full=full)
            return
        from hiveden_backup.host.disk.durable import translate
        from hiveden_backup.jobs.run.job import exit_code, run_job

        outcomes = []
        unsaid: OSError | None = None
        for job in chosen:
            outcome = run_job(surroundings, job, full=full)
            outcomes.append(outcome)
            if outcome.record.backup is not None and unsaid is None:
                try:
                    print(outcome.record.backup, flush=True)
                except OSError as error:  # nobody reads: no reason to leave out the next job
                    unsaid = error
    if unsaid is not None:
        raise translate(unsaid, "writing the new ids to standard output", unwritable=StorageError) from unsaid
    raise typer.Exit(exit_code(outcomes))


def _dry_run(surroundings: "Context", jobs: "Sequence[Job]", *, full: bool) -> None:
    from hiveden_backup.jobs.run.dry_run import describe

    codes = []
    for job in jobs:
        try:
            with TemporaryDirectory(prefix="hiveden-backup-") as spool:
                for line in describe(surroundings, job, Path(spool), full=full):
                    typer.echo(line)
        except BackupError as error:
            report(error)
            codes.append(error.exit_code)
    raise typer.Exit(common_exit_code(codes))


@command("check")
def check(jobs: Optional[List[str]] = _JOBS, as_json: bool = _JSON) -> None:  # noqa: UP006
    """Look at everything that a run needs.

    Nothing is changed. Exit 1 if anything would prevent a run.
    """
    from hiveden_backup.core.model import Status
    from hiveden_backup.jobs.run.validate import validate
    from hiveden_backup.jobs.schedule.survey import Setting, timer_findings

    config = options.load()
    with context(config) as surroundings:
        chosen = _chosen(config, jobs or [])
        findings = [finding for job in chosen for finding in validate(surroundings, job)]
    findings += timer_findings(Setting(config, options.config, state_directory(), now), chosen)
    if as_json:
        output.print_json(
            [
                {
                    "job": each.job,
                    "name": each.name,
                    "status": each.status.value,
                    "message": each.message,
                    "hint": each.hint,
                }
                for each in findings
            ]
        )
    else:
        colours = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}
        for each in findings:
            typer.echo(
                f"{output.coloured(f'{each.status.value:4}', colours[each.status])}  {each.job}: {each.name}: "
                f"{output.printable(each.message)}"
            )
            if each.hint and each.status is not Status.OK:
                typer.echo(f"      {output.printable(each.hint)}")
    raise typer.Exit(1 if any(each.status is Status.FAIL for each in findings) else 0)


@command("prune")
def prune(
    jobs: Optional[List[str]] = _JOBS,  # noqa: UP006
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go and why; remove nothing."),
    as_json: bool = _JSON,
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
    for job in _chosen(config, jobs or []):
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


@command("recover")
def recover(job: Optional[str] = typer.Option(None, "--job", metavar="JOB", help="Only what this job owes.")) -> None:
    """Put right what a killed run or restore left: finish or take back the restore, start the containers.

    What in-place restores replaced is removed when its time is over.
    """
    from hiveden_backup.cli import log
    from hiveden_backup.host.state.ledger import Ledger
    from hiveden_backup.host.systemd import journal
    from hiveden_backup.jobs.recovery import mover as acts
    from hiveden_backup.jobs.services.debts import recover as pay_all
    from hiveden_backup.jobs.services.debts import tell

    config = _config_if_any()
    address = config.docker if config is not None else None

    def connect():  # type: ignore[no-untyped-def] # noqa: ANN202 - the door to Docker, opened only when something is owed
        from hiveden_backup.host.docker.engine import connect as dial

        return dial(address)

    log.configure(verbose=options.verbose, quiet=options.quiet)
    mover = acts.Mover(state_directory(), address, now)
    # A person can try again, a unit after a boot cannot: but first comes what can be done at once.
    for patience in (0.0, _BOOT_SECONDS) if journal.is_stderr() else (0.0,):
        settled = list(acts.settle_each(mover, job, patience))
        for each in settled:
            if journal.is_stderr():
                acts.tell(each)
            else:
                typer.echo(output.printable(f"{each.job}: {each}"))
        waiting = {each.job for each in settled if each.error is not None and (each.act is None or each.act.half_done)}
        payments = pay_all(connect, Ledger(state_directory()), job, waiting=waiting)
        for payment in payments:
            if journal.is_stderr():
                tell(payment)
                continue
            detail = f" ({payment.detail})" if payment.detail else ""
            typer.echo(f"{payment.job}: container {payment.container}: {payment.outcome}{detail}")
        if not any(isinstance(each.error, UnreachableError) for each in settled):
            break
    acts.expire(mover, config.jobs if config is not None else {})
    if not payments and not settled and not options.quiet:
        typer.echo("Nothing is owed.")
    codes = [each.error.exit_code for each in settled if each.error is not None]
    codes += (payment.exit_code for payment in payments)
    raise typer.Exit(common_exit_code(codes))


def _config_if_any() -> "Optional[Config]":
    """The configuration. Debts must be paid even when it is broken: then Docker is at its default place."""
    try:
        return options.load()
    except BackupError as error:
        report(error)
        return None


@command("status")
def status(as_json: bool = _JSON) -> None:
    """How each job is doing; exit 1 if anything failed or is overdue."""
    from hiveden_backup.jobs.backups.status import job_status
    from hiveden_backup.jobs.schedule.survey import Setting, idle_jobs

    config = options.load()
    idle = idle_jobs(Setting(config, options.config, state_directory(), now))
    with context(config) as surroundings:
        rows = [job_status(surroundings, job, idle=job.name in idle) for job in config.jobs.values()]
    if as_json:
        output.print_json([row.table() for row in rows])
    else:
        colours = {"ok": "green", "running": "green", "never": "yellow"}
        head = ("JOB", "STATE", "LAST RUN", "LAST SUCCESS", "SIZE", "DOWNTIME", "NEXT RUN", "VERIFIED")
        cells = [
            (
                row.job,
                row.state,
                output.moment(row.last_run) if row.last_run else "-",
                f"{output.span(row.age_seconds)} ago" if row.age_seconds is not None else "-",
                output.size(row.size) if row.size is not None else "-",
                output.span(row.downtime_seconds) if row.downtime_seconds else "-",
                output.moment(row.next_run) if row.next_run else "-",
                f"{row.verified.result} {output.moment(row.verified.at)}" if row.verified else "-",
            )
            for row in rows
        ]
        output.print_table(head, cells)
        for row in rows:
            if row.error:
                typer.echo(
                    output.coloured(output.printable_lines(f"{row.job}: {row.error}"), colours.get(row.state, "red"))
                )
    raise typer.Exit(1 if any(row.needs_attention for row in rows) else 0)


def _chosen(config: "Config", names: Sequence[str]) -> "list[Job]":
    unknown = [name for name in names if name not in config.jobs]
    if unknown:
        raise NotFoundError(
            f"There is no job {unknown[0]}",
            f"The configuration has: {', '.join(config.jobs) or 'none'}",
            "Name one of these",
        )
    if not config.jobs:
        raise NotFoundError("There is no job in the configuration", "", f"Add one to {options.config}")
    return [config.jobs[name] for name in dict.fromkeys(names)] or list(config.jobs.values())


@contextmanager
def context(config: "Config") -> "Iterator[Context]":
    """What jobs need around them; while the block lasts, stderr has the log and, on a terminal, the progress line."""
    import os
    import sys

    from hiveden_backup.cli import log
    from hiveden_backup.host.clock import local_zone
    from hiveden_backup.jobs.installation import Context

    progress = log.ProgressLine() if sys.stderr.isatty() and not options.quiet else log.Phase()
    log.configure(verbose=options.verbose, quiet=options.quiet, progress=progress)
    try:
        invocation = os.environ.get("INVOCATION_ID", "")
        yield Context(config, state_directory(), now, local_zone(), progress, trigger(), invocation)
    finally:
        progress.clear()
