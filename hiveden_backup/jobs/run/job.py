"""One run of a job, from its lock to its prune, with a record of how it went."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from hiveden_backup.core.errors import BackupError, BusyError, CorruptError, Interrupted, StorageError, common_exit_code
from hiveden_backup.core.model import Job
from hiveden_backup.core.restore_record import Act
from hiveden_backup.host.disk.durable import make_directory, translated
from hiveden_backup.host.disk.repository import MARKER, BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.state.ledger import Ledger
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.host.state.records import Result, RunRecord
from hiveden_backup.jobs.backups.catalog import backup_size
from hiveden_backup.jobs.backups.prune import prune
from hiveden_backup.jobs.installation import Context
from hiveden_backup.jobs.recovery.mover import Mover, expire, unfinished
from hiveden_backup.jobs.recovery.mover import tell as tell_settled
from hiveden_backup.jobs.run.execution import Execution, Finished
from hiveden_backup.jobs.run.plan import ValidationError
from hiveden_backup.jobs.run.validate import planned
from hiveden_backup.jobs.services.debts import pay, tell

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `record` is what is remembered, `errors` what went wrong."""

    record: RunRecord
    errors: tuple[BackupError, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit status of this job."""
        return self.record.exit_code or 0


def run_job(context: Context, job: Job, *, full: bool = False) -> Outcome:
    """Run one job. Our errors come back in the outcome; a signal is recorded and raised again."""
    started = context.now()
    record = RunRecord(job.name, started, trigger=context.trigger, invocation=context.invocation)
    path: Path | None = None
    try:
        with translated(f"running the job {job.name}", unwritable=StorageError):
            path = context.records.begin(record)
            log.info("Started", job=job.name, kind="started", result=Result.RUNNING)
            outcome = _locked(context, job, record, path, full=full)
    except BackupError as error:
        outcome = Outcome(_failed(record, error), (error,))
    except Interrupted as interrupted:
        ended = f"The run was ended by signal {interrupted.signal_number}."
        _close(context, path, replace(record, result=Result.INTERRUPTED, exit_code=interrupted.exit_code, error=ended))
        log.error(ended, job=job.name, kind="failed", result=Result.INTERRUPTED, exit_code=interrupted.exit_code)
        raise
    except BaseException as error:  # a defect of ours: record it, then let it show itself
        _close(
            context, path, replace(record, result=Result.FAILED, exit_code=1, error=f"{type(error).__name__}: {error}")
        )
        raise
    _close(context, path, outcome.record)
    _tell(outcome, (context.now() - started).total_seconds())
    return outcome


def _tell(outcome: Outcome, seconds: float) -> None:
    record = outcome.record
    facts = {"job": record.job, "backup": record.backup, "result": record.result, "exit_code": outcome.exit_code}
    if record.backup is not None:
        log.info(f"Finished backup {record.backup}", kind="finished", bytes=record.bytes, seconds=seconds, **facts)
    for error in outcome.errors:
        log.error(str(error), kind="failed", **facts)


def _failed(record: RunRecord, error: BackupError) -> RunRecord:
    result = Result.BUSY if isinstance(error, BusyError) else Result.FAILED
    return replace(record, result=result, exit_code=error.exit_code, error=str(error))


def _close(context: Context, path: Path | None, record: RunRecord) -> None:
    if path is None:
        return
    try:
        context.records.write(path, replace(record, finished=context.now()))
    except BackupError as error:  # the run's own result matters more
        log.error(str(error), job=record.job)


def _locked(context: Context, job: Job, record: RunRecord, path: Path, *, full: bool) -> Outcome:
    with job_lock(context.state, job.name):
        failpoint("lock")
        debts = heal(context, job, path)
        failpoint("heal")
        spool = context.spool(job.name)
        try:
            with translated(f"making the spool {spool}", unwritable=StorageError):
                make_directory(spool)
            finished = _execute(context, job, record.started, spool, full=full)
        finally:
            _tidy(context, job)
        problems = [*debts, *finished.problems]
        pruned = _prune(context, job, problems)
        expire(Mover(context.state, context.config.docker, context.now), context.config.jobs, held=job.name)
    record = replace(
        record,
        result=Result.PARTIAL if problems else Result.SUCCESS,
        exit_code=1 if problems else 0,
        error=" ".join(str(problem) for problem in problems),
        backup=finished.manifest.id,
        bytes=backup_size(finished.manifest),
        downtime_seconds=finished.manifest.downtime_seconds,
        prune=pruned,
        warnings=finished.manifest.warnings,
    )
    return Outcome(record, tuple(problems))


def heal(context: Context, job: Job, current: Path | None = None) -> tuple[BackupError, ...]:
    """Finish what a killed restore left, pay what is owed, sweep what killed runs left; the debts that stay.

    The caller holds the job's lock. `current` is the record of the run that heals. BackupError when an in-place restore
    is half done and cannot be finished: a mixture of old and new is not to be backed up.
    """
    context.records.mark_killed(job.name, context.now(), current)
    settled = settle(context, job.name, start_timeout=job.start_timeout)
    _sweep(context, job)
    return settled.problems


@dataclass(frozen=True, slots=True)
class Settled:
    """In-place restores that were finished or taken back; and what could not be: debts, or to take one back."""

    acts: tuple[Act, ...]
    problems: tuple[BackupError, ...]


def settle(context: Context, job: str, *, start_timeout: float = 60.0) -> Settled:
    """Finish the job's in-place restores that were broken off, then pay the ledger. The caller holds the job's lock.

    BackupError when one is half done and cannot be finished; one that cannot be taken back is a problem.
    """
    acts: list[Act] = []
    problems: list[BackupError] = []
    for act in Mover(context.state, context.config.docker, context.now).settle_all(job):
        if act.error is not None or act.act is None:
            error = act.error or BackupError(str(act))
            if act.act is not None and not act.act.half_done:
                problems.append(error)
                continue
            raise unfinished(act.act, error) if act.act is not None else error
        tell_settled(act)
        acts.append(act.act)

    def connect():  # type: ignore[no-untyped-def] # noqa: ANN202
        from hiveden_backup.host.docker.engine import connect  # noqa: PLC0415 - only when something is owed

        return connect(context.config.docker)

    payments = pay(connect, Ledger(context.state), job, start_timeout=start_timeout)
    for payment in payments:
        tell(payment)
    problems += (payment.error for payment in payments if payment.error is not None)
    return Settled(tuple(acts), tuple(problems))


def _sweep(context: Context, job: Job) -> None:
    """Remove what only a run in progress needs: its spool, and in the backup directory what no backup names.

    Archives that a failed run left without a checkpoint go too: on a full disk they would stand in their own way.
    """
    spool = context.spool(job.name)
    with translated(f"clearing the spool {spool}", unwritable=StorageError), suppress(FileNotFoundError):
        shutil.rmtree(spool)
    with translated(f"sweeping the leftovers of {job.name}"):
        if not (Path(context.config.directory) / MARKER).exists():
            return
        directory = BackupDirectory(Path(context.config.directory), "")
        for name in directory.sweep(job.name):
            log.info(f"Swept {name}", job=job.name)
        with suppress(CorruptError):  # then none goes; the prune at the end says so
            for name in directory.collect_garbage(job.name):
                log.info(f"Swept {name}", job=job.name)


def _execute(context: Context, job: Job, started: datetime, spool: Path, *, full: bool) -> Finished:
    with planned(context, job, spool, full=full) as plan:
        failpoint("validate")
        for finding in plan.findings.all:
            log.debug(f"{finding.name}: {finding.message}", job=job.name)
        for warning in plan.findings.warnings:
            log.warning(warning, job=job.name)
        if plan.findings.failed:
            raise ValidationError(job.name, tuple(plan.findings.all))
        if plan.servers:
            from hiveden_backup.jobs.run.dumps import end_leftovers  # noqa: PLC0415 - psycopg is slow to import

            end_leftovers(plan)
        return Execution(context, plan, started).execute()


def _tidy(context: Context, job: Job) -> None:
    """Sweep behind a run; what cannot be removed now is left to the next one, which must."""
    try:
        _sweep(context, job)
    except BackupError as error:
        log.warning(str(error), job=job.name)


def _prune(context: Context, job: Job, problems: list[BackupError]) -> str:
    """`done` or `failed`: a finished backup stays finished."""
    try:
        directory = BackupDirectory.open(Path(context.config.directory))
        pruned = prune(directory, context.records, job.name, policy=job.retention, now=context.now(), zone=context.zone)
    except BackupError as error:
        problems.append(error)
        return "failed"
    gone = sum(not decision.keep for decision in pruned.decisions)
    if gone or pruned.archives:
        log.info(f"Pruned {gone} backups and {len(pruned.archives)} archives", job=job.name, kind="pruned")
    return "done"


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """The exit status for several runs."""
    return common_exit_code(outcome.exit_code for outcome in outcomes)
