"""Schedules as clients of the API see them: one row per job, in five cron fields."""

from collections.abc import Mapping
from datetime import datetime

from hiveden_backup.core.api_targets import Wanted, matching
from hiveden_backup.core.config.values import Config, Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, UnfitError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.schedule import to_cron as cron
from hiveden_backup.core.schedule.expression import ScheduleError, to_calendars
from hiveden_backup.host.systemd.calendar import normalized
from hiveden_backup.jobs.schedule.survey import problem_of
from hiveden_backup.jobs.setup.targets import dumped


@dataclass(frozen=True, slots=True)
class CronRow:
    """When a job runs. The target leads back to the job, whoever asks for it."""

    job: str
    cron: str
    type: ArtifactType
    target: str
    container: str | None
    source_dirs: tuple[str, ...]


def rows(config: Config) -> tuple[CronRow, ...]:
    """The jobs whose schedule cron can say."""
    fields = crons(config)
    return tuple(row(config, job, said) for job in config.jobs.values() if (said := fields[job.name]) is not None)


def crons(config: Config) -> Mapping[str, str | None]:
    """Each job's schedule as five cron fields; None where there is none, or cron cannot say it."""
    return {job.name: _cron(job) for job in config.jobs.values()}


def row(config: Config, job: Job, said: str) -> CronRow:
    """A job's row."""
    if job.has_files:
        container = job.containers[0] if job.containers else None
        return CronRow(job.name, said, ArtifactType.APPLICATION, job.name, container, job.paths)
    databases = [name for source in job.postgres for name in source.databases]
    target, container = job.name, job.postgres[0].container
    if len(databases) == 1 and len(job.postgres) == 1:
        wanted = Wanted(ArtifactType.DATABASE, databases[0], container=container)
        if len(matching(wanted, config.jobs.values(), dumped(config))) == 1:
            target = databases[0]
    return CronRow(job.name, said, ArtifactType.DATABASE, target, container, ())


def refuse_impossible(expression: str, now: datetime) -> None:
    """UnfitError, with what to write instead, for a schedule that cannot be said or never elapses."""
    try:
        problem = problem_of(expression, now)
    except ScheduleError as error:
        raise UnfitError(error.message, "", error.hint) from error
    if problem is not None:
        raise UnfitError(problem.what, problem.why, problem.hint) from problem


def _cron(job: Job) -> str | None:
    if not job.schedule:
        return None
    if len(job.schedule) == 1 and (fields := cron.written(job.schedule[0])) is not None:
        return fields
    try:
        return cron.from_calendars(normalized([line for each in job.schedule for line in to_calendars(each)]))
    except BackupError:
        return None  # `check` says what is wrong with it
