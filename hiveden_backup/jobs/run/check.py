"""`check`: a job's validation without a run, and what does not matter to a run but to whoever waits for it."""

from datetime import datetime

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BackupError, DeniedError, UnreachableError
from hiveden_backup.core.model import Check, Finding, Status
from hiveden_backup.core.schedule.expression import to_calendars
from hiveden_backup.host.clock import local_zone
from hiveden_backup.host.disk.spool import temporary_spool
from hiveden_backup.host.systemd.calendar import upcoming
from hiveden_backup.jobs.backups.signing import reasons
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.in_place import check_in_place
from hiveden_backup.jobs.run.plan import Draft
from hiveden_backup.jobs.run.validate import drafted
from hiveden_backup.jobs.schedule.survey import skipped


def validate(installation: Installation, job: Job) -> tuple[Finding, ...]:
    """What `check` prints of one job."""
    with (
        temporary_spool() as spool,
        drafted(installation, job, spool, thorough=True) as draft,
    ):
        _check_chain(draft, installation)
        _check_door(draft)
        _check_zone(draft)
        check_in_place(draft, installation)
        _check_schedule(draft, installation.now())
        return tuple(draft.findings.all)


def _check_chain(draft: Draft, installation: Installation) -> None:
    """The backups of the job are as this host left them. A run does not ask."""
    if draft.directory is None:
        return
    with draft.findings.check(Check.DIRECTORY):
        for sentence in reasons(installation, draft.job):
            draft.findings.warn(Check.DIRECTORY, sentence)


def _check_door(draft: Draft) -> None:
    """What stands before Docker lets containers be stopped and started. A run finds that out by itself."""
    if draft.docker is None or not draft.containers:
        return
    try:
        draft.docker.check_allowed()
    except DeniedError as error:
        draft.findings.warn(
            Check.DOCKER,
            f"Docker at {draft.docker.address} may forbid to stop and start containers. {error.why}",
            error.hint,
        )
    except BackupError as error:
        draft.findings.fail(Check.DOCKER, error)


def _check_zone(draft: Draft) -> None:
    """The machine's time zone is to be had: schedules and retention go by it."""
    fault = local_zone().fault
    if fault:
        draft.findings.warn(
            Check.SCHEDULE, f"{fault}; UTC is used instead", "Set it: timedatectl set-timezone Europe/Berlin"
        )


def _check_schedule(draft: Draft, now: datetime) -> None:
    """Each calendar of the schedule elapses some day."""
    for expression in draft.job.schedule:
        try:
            moments = [upcoming([line], 1, now) for line in to_calendars(expression)]
        except UnreachableError as error:
            draft.findings.warn(Check.SCHEDULE, str(error))
        except BackupError as error:
            draft.findings.fail(Check.SCHEDULE, error)
        else:
            if not all(moments):
                never = BackupError(f'The schedule "{expression}" never elapses', "", "Look at its date")
                draft.findings.fail(Check.SCHEDULE, never)
            else:
                draft.findings.ok(
                    Check.SCHEDULE, f'"{expression}" elapses next at {min(moments)[0]:%Y-%m-%d %H:%M} UTC'
                )
    _check_clock_changes(draft, now)


def _check_clock_changes(draft: Draft, now: datetime) -> None:
    """Warn of a day on which the schedule names an hour that the clocks skip: systemd leaves that time out."""
    if any(finding.name is Check.SCHEDULE and finding.status is not Status.OK for finding in draft.findings.all):
        return
    for line, gap in skipped(draft.job, now):
        draft.findings.warn(
            Check.SCHEDULE,
            f'"{line}" is left out on {gap.start:%Y-%m-%d}, when clocks go from {gap.start:%H:%M} to {gap.end:%H:%M}',
            f"Choose a time before {gap.start:%H:%M} or from {gap.end:%H:%M} on, or end it with UTC",
        )
