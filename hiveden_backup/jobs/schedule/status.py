"""How each job is doing: the last run, the last success, what comes next, and whether somebody must look."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.backup.signature import Signature
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, BusyError
from hiveden_backup.core.model import Manifest, Result, Verdict
from hiveden_backup.core.names import backup_time, iso
from hiveden_backup.core.schedule.expression import ScheduleError, to_calendars
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.host.state.records import RunRecord, Verification
from hiveden_backup.host.state.restore_records import Acts
from hiveden_backup.host.systemd.calendar import upcoming
from hiveden_backup.host.systemd.unit_files import timer_since
from hiveden_backup.jobs.backups import signing, unusual
from hiveden_backup.jobs.backups.catalog import backup_size, verified_table
from hiveden_backup.jobs.backups.counted import one_by_one
from hiveden_backup.jobs.backups.signing import signatures
from hiveden_backup.jobs.backups.whereabouts import Places
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule.offsite_status import OffsiteStatus, offsite_statuses
from hiveden_backup.jobs.schedule.survey import idle_jobs
from hiveden_backup.jobs.setup.managed import silenced

_ELAPSES = 8
_NO_TIMER = "No timer of systemd starts it: hiveden-backup schedule apply"


def _left_down(installation: Installation, job: Job) -> Iterable[str]:
    """Containers that the ledger owes a start, unless a run or restore goes on, which pays them itself."""
    if not installation.ledger.debts(job.name):
        return ()
    try:
        with job_lock(installation.state, job.name, shared=True):
            return tuple(
                f"The container {debt.name} may still be stopped, since {iso(debt.owed_at)}."
                f" Start it: hiveden-backup recover --job {job.name}"
                for debt in installation.ledger.debts(job.name)
            )
    except BusyError:
        return ()


def _stuck(installation: Installation, job: Job) -> Iterable[str]:
    """What in-place restores replaced that is to be gone, and could not be removed."""
    return tuple(
        f"What the in-place restore of {act.backup} replaced was to be gone, and could not be removed: {act.stuck}"
        for act in Acts(installation.state).of(job.name)
        if act.stuck
    )


def _lost(installation: Installation, job: Job) -> Iterable[str]:
    """Backups that need archives which are neither here nor at any offsite."""
    if not installation.config.offsites:
        return ()  # what is missing here is for a run, or `verify`, to notice
    directory = installation.directory
    places = Places(installation, directory, job.name)
    lost = [backup for backup in directory.backups(job.name) if places.of(backup) is Place.LOST]
    if not lost:
        return ()
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    told = (
        f"What {lost[0]}{more} needs is partly neither here nor at an offsite. The next run archives again what is"
        f" still in the live tree. See what is there: hiveden-backup offsite reconcile, hiveden-backup verify --all"
    )
    return (told,)


_REASONS: Sequence[Callable[[Installation, Job], Iterable[str]]] = (
    *(_left_down, unusual.reasons, signing.reasons, silenced, _stuck, _lost),
)
"""What may need a person's attention, each in one sentence; a line of `status` for each, and exit 1."""


class JobState(StrEnum):
    """How a job is doing. `never` is one without a backup that is not overdue yet.

    `attention` is one whose backups are made, while something about them waits for a person.
    """

    OK = "ok"
    ATTENTION = "attention"
    RUNNING = "running"
    FAILED = "failed"
    OVERDUE = "overdue"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job; sizes and times are of the newest backup that counts."""

    job: str
    state: JobState
    result: Result | None
    last_run: datetime | None
    last_success: datetime | None
    age_seconds: float | None
    size: int | None
    downtime_seconds: float | None
    next_run: datetime | None
    verified: Verification | None
    error: str = ""
    attention: tuple[str, ...] = ()
    signature: Signature | None = None
    offsite: tuple[OffsiteStatus, ...] = ()
    where: Place | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether `status` ends with 1 for it."""
        return bool(self.attention) or self.state in (JobState.FAILED, JobState.OVERDUE)

    def table(self) -> dict[str, Any]:
        """The row as `status --json` prints it."""
        return {
            "job": self.job,
            "state": self.state,
            "result": self.result,
            "last_run": iso(self.last_run) if self.last_run else None,
            "last_success": iso(self.last_success) if self.last_success else None,
            "age_seconds": self.age_seconds,
            "size": self.size,
            "downtime_seconds": self.downtime_seconds,
            "next_run": iso(self.next_run) if self.next_run else None,
            "verified": verified_table(self.verified),
            "signature": self.signature.table() if self.signature is not None else None,
            "offsite": [each.table() for each in self.offsite],
            "where": self.where,
            "attention": list(self.attention),
        }


def statuses(installation: Installation) -> Sequence[JobStatus]:
    """How each job of the configuration is doing, in its order."""
    idle = idle_jobs(installation)
    return [job_status(installation, job, idle=job.name in idle) for job in installation.config.jobs.values()]


def job_status(installation: Installation, job: Job, *, idle: bool = False) -> JobStatus:
    """The status of one job; `idle` when it has a schedule, but no timer that starts it.

    A backup directory that is not there is the job's failure, not the command's.
    """
    last = _last_run(installation, job)
    signature = None
    try:
        directory = installation.directory
        known = next(one_by_one(installation, directory, job.name), None)
        newest = known.manifest(*known.backups) if known is not None else None
        verified = installation.records.verification(job.name, newest.id) if newest is not None else None
        if newest is not None:
            signature = signatures(installation, directory, job.name).of(newest.id, verified)
        trouble = ""
    except BackupError as error:
        newest, verified, trouble = None, None, str(error)
    next_run, interval = _next_run(installation, job)
    if idle:
        next_run = None
    success = newest.finished if newest is not None else None
    age = (installation.now() - success).total_seconds() if success is not None else None
    status = JobStatus(
        job=job.name,
        state=JobState.OK,
        result=last.result if last is not None else None,
        last_run=last.started if last is not None else None,
        last_success=success,
        age_seconds=age,
        size=backup_size(newest) if newest is not None else None,
        downtime_seconds=newest.downtime_seconds if newest is not None else None,
        next_run=next_run,
        verified=verified,
        signature=signature,
        error=trouble or (last.error if last is not None else "") or (_NO_TIMER if idle else ""),
    )
    state = _state(installation, job, status, last, interval, trouble=bool(trouble))
    elsewhere = _elsewhere(installation, job, newest, interval)
    attention = (*_attention(installation, job, trouble), *(text for each in elsewhere for text in each.attention))
    if attention and state is JobState.OK:
        state = JobState.ATTENTION
    where = Places(installation, installation.directory, job.name).of(newest.id) if newest is not None else None
    return replace(status, state=state, attention=attention, offsite=elsewhere, where=where)


def _elsewhere(
    installation: Installation, job: Job, newest: Manifest | None, interval: float | None
) -> tuple[OffsiteStatus, ...]:
    """How far the job's backups are at its offsites; what waits for twice its interval is late, as a run would be."""
    if not installation.config.offsites_of(job):
        return ()
    patience = job.max_age if job.max_age is not None else (2 * interval if interval is not None else None)
    backups = installation.directory.backups(job.name) if newest is not None else ()
    return offsite_statuses(installation, job, backups, newest, patience)


def _attention(installation: Installation, job: Job, told: str) -> Iterator[str]:
    """All that needs a person's attention; also why something could not be looked at, unless that is `told` already."""
    for reasons in _REASONS:
        try:
            yield from reasons(installation, job)
        except BackupError as error:
            if str(error) != told:
                yield str(error)


def _state(
    installation: Installation,
    job: Job,
    status: JobStatus,
    last: RunRecord | None,
    interval: float | None,
    *,
    trouble: bool,
) -> JobState:
    if last is not None and last.result is Result.RUNNING:
        return JobState.RUNNING
    if trouble or (last is not None and last.result is not Result.SUCCESS):
        return JobState.FAILED
    if status.verified is not None and status.verified.result is not Verdict.OK:
        return JobState.FAILED
    limit = job.max_age if job.max_age is not None else (2 * interval if interval is not None else None)
    since = status.last_success or _first_known(installation, job)
    if limit is not None and since is not None and installation.now() - since > timedelta(seconds=limit):
        return JobState.OVERDUE
    return JobState.OK if status.last_success is not None else JobState.NEVER


def _first_known(installation: Installation, job: Job) -> datetime | None:
    """When the job first tried to run, else since when a timer should: without a success, it is overdue from there."""
    moments = [backup_time(path.stem) for path, _ in installation.records.runs(job.name)]
    return min(moments, default=timer_since(job.name))


def _last_run(installation: Installation, job: Job) -> RunRecord | None:
    """The record of the last run that was not turned away, with the truth about one that says `running`.

    Records are begun and ended by who has the job's lock: while nobody has, the one of a run that ended says so.
    """
    last = _newest(installation, job)
    if last is None or last.result is not Result.RUNNING:
        return last
    try:
        with job_lock(installation.state, job.name, shared=True):
            last = _newest(installation, job)
    except BusyError:
        return last
    if last is None or last.result is not Result.RUNNING:
        return last
    return replace(last, result=Result.KILLED, error="The run was killed, or the machine went down.")


def _newest(installation: Installation, job: Job) -> RunRecord | None:
    records = (record for _, record in installation.records.runs(job.name))
    return next((record for record in records if record.result is not Result.BUSY), None)


def _next_run(installation: Installation, job: Job) -> tuple[datetime | None, float | None]:
    """The schedule's next elapse, and the longest of its next intervals; None without systemd or a schedule."""
    if not job.schedule:
        return None, None
    try:
        calendars = [line for expression in job.schedule for line in to_calendars(expression)]
        moments = upcoming(calendars, _ELAPSES, installation.now())
    except (ScheduleError, BackupError):
        return None, None  # `check` says what is wrong with it
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    return (moments[0] if moments else None), (max(gaps) if gaps else None)
