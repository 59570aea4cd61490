"""One run of a job, from its lock to its prune, with a record of how it went."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hiveden_backup.core import events
from hiveden_backup.core.backup.layout import RECIPE
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, StorageError, common_exit_code
from hiveden_backup.core.model import PruneResult, RunKind
from hiveden_backup.host.disk.durable import make_directory, translated
from hiveden_backup.host.disk.recipe import renew_recipe
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import ExclusiveJob, job_lock
from hiveden_backup.host.state.records import RunRecord
from hiveden_backup.jobs.backups.catalog import backup_size
from hiveden_backup.jobs.backups.ownership import owned
from hiveden_backup.jobs.backups.prune import prune
from hiveden_backup.jobs.backups.recording import Recording, done
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery.expiry import expire
from hiveden_backup.jobs.recovery.heal import settle, sweep
from hiveden_backup.jobs.run.broken_off import settle_pass
from hiveden_backup.jobs.run.dumps import end_leftovers
from hiveden_backup.jobs.run.execution import Execution, Published
from hiveden_backup.jobs.run.onward import send
from hiveden_backup.jobs.run.validate import drafted


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `record` is what is remembered, `errors` what went wrong."""

    record: RunRecord
    errors: tuple[BackupError, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit status of this job."""
        return self.record.exit_code or 0


def run_job(installation: Installation, job: Job, *, full: bool = False) -> Outcome:
    """Run one job. Our errors come back in the outcome; a signal is recorded and raised again."""
    recording = Recording(installation, RunKind.RUN, job.name)
    started = recording.record.started
    log.event(events.Started(job.name))
    try:
        with (
            recording,
            job_lock(installation.state, job.name) as locked,
            recording.begun(locked),
            translated(f"running the job {job.name}", unwritable=StorageError),
        ):
            outcome = _locked(installation, job, locked, recording.record, full=full)
            recording.record = outcome.record
    except BackupError as error:
        outcome = Outcome(recording.record, (error,))
    _tell(outcome, (installation.now() - started).total_seconds())
    if outcome.record.backup is not None:
        send(installation, job)
    return outcome


def _tell(outcome: Outcome, seconds: float) -> None:
    record = outcome.record
    job, code = record.job, outcome.exit_code
    if record.backup is not None:
        log.event(events.Finished(job, record.backup, record.bytes, seconds, record.result, code))
    for error in outcome.errors:
        log.event(events.Failed(str(error), code, job, record.backup, result=record.result))


def _locked(installation: Installation, job: Job, locked: ExclusiveJob, record: RunRecord, *, full: bool) -> Outcome:
    failpoint("lock")
    debts = settle(installation, locked, start_timeout=job.start_timeout).problems
    try:
        _settle_pass(installation, job, locked)
    except BackupError as error:
        if not full:
            raise
        log.warning(str(error), job=job.name)
    sweep(installation, locked, anew=full)
    failpoint("heal")
    spool = installation.spool(job.name)
    try:
        with translated(f"making the spool {spool}", unwritable=StorageError):
            make_directory(spool)
        finished = _execute(installation, locked, job, record.started, spool, full=full)
    finally:
        _tidy(installation, job, locked)
    _renew_recipe(installation)
    problems = [*debts, *finished.problems]
    pruned = _prune(installation, locked, job, problems)
    expire(installation, installation.config.jobs, held=locked)
    record = replace(
        done(record, problems),
        backup=finished.manifest.id,
        bytes=backup_size(finished.manifest),
        downtime_seconds=finished.manifest.downtime_seconds,
        prune=pruned,
        warnings=finished.manifest.warnings,
    )
    return Outcome(record, tuple(problems))


def _execute(
    installation: Installation, locked: ExclusiveJob, job: Job, started: datetime, spool: Path, *, full: bool
) -> Published:
    with drafted(installation, job, spool, full=full) as draft:
        failpoint("validate")
        for finding in draft.findings.all:
            log.debug(f"{finding.name}: {finding.message}", job=job.name)
        for warning in draft.findings.warnings:
            log.warning(warning, job=job.name)
        plan = draft.passed()
        if plan.servers:
            end_leftovers(plan)
        return Execution(installation, locked, plan, started).execute()


def _tidy(installation: Installation, job: Job, locked: ExclusiveJob) -> None:
    """Sweep behind a run; what cannot be removed now is left to the next one, which must.

    What a pass had archived when it failed is kept; where the backup directory is away, it waits in the spool.
    """
    try:
        _settle_pass(installation, job, locked)
        sweep(installation, locked)
    except BackupError as error:
        log.warning(str(error), job=job.name)


def _settle_pass(installation: Installation, job: Job, locked: ExclusiveJob) -> None:
    """Keep what a pass that was broken off had archived. BackupError when that cannot be now: nothing is swept then."""
    if installation.broken_off(job.name).exists():
        settle_pass(installation, installation.directory, job, locked)


def _renew_recipe(installation: Installation) -> None:
    """Let the recipe for stock tools be the one of these backups, in directories of older versions, too."""
    path = installation.directory.path
    try:
        with translated(f"writing {path / RECIPE}"):
            renew_recipe(path)
    except BackupError as error:
        log.warning(str(error))


def _prune(installation: Installation, locked: ExclusiveJob, job: Job, problems: list[BackupError]) -> PruneResult:
    """Whatever becomes of it, a finished backup stays finished."""
    try:
        pruned = prune(installation, owned(installation, installation.directory, locked), job.retention)
    except BackupError as error:
        problems.append(error)
        return PruneResult.FAILED
    gone = sum(not decision.keep for decision in pruned.decisions)
    if gone or pruned.archives:
        log.event(events.Pruned(job.name, gone, len(pruned.archives)))
    return PruneResult.DONE


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """The exit status for several runs."""
    return common_exit_code(outcome.exit_code for outcome in outcomes)
