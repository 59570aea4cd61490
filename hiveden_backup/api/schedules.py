"""Schedules over HTTP: one row per job, five cron fields."""

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from hiveden_backup.api import models
from hiveden_backup.api import unit_runs as acts
from hiveden_backup.api.backups import configured
from hiveden_backup.api.launcher import Launcher, installation_of, launcher_of
from hiveden_backup.api.targets import job_of, wanted_of
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule import cron_rows as timetable

router = APIRouter()
_SECONDS = 120.0


@router.get("/backups/schedules", response_model=list[models.Schedule])
def list_schedules(installation: Installation = Depends(installation_of)) -> list[models.Schedule]:
    """The jobs that run by themselves, as far as cron can say when; `/jobs` has all of them."""
    return [_schedule(row) for row in timetable.rows(installation.config)]


@router.post("/backups/schedules", status_code=201, response_model=models.Schedule)
async def set_schedule(body: models.NewSchedule, launcher: Launcher = Depends(launcher_of)) -> models.Schedule:
    """Give the job that the target belongs to this schedule instead of what it had; a new target gets a new job."""
    wanted = wanted_of(body)
    await run_in_threadpool(timetable.refuse_impossible, body.cron, launcher.installation.now())
    job, _ = await job_of(launcher, wanted)
    await _schedule_command(launcher, "set", job.name, body.cron.strip())
    return await run_in_threadpool(_as_set, launcher, job.name, body.cron.strip())


@router.delete("/backups/schedules/{job}", response_model=models.Done)
async def drop_schedule(job: str, launcher: Launcher = Depends(launcher_of)) -> models.Done:
    """Take a job's schedule away. The job and its backups stay."""
    found = await run_in_threadpool(configured, launcher, job)
    if not found.schedule:
        raise NotFoundError(f"The job {found.name} has no schedule")
    run = await _schedule_command(launcher, "unset", found.name)
    return models.Done(message=f"The job {found.name} does not run by itself any more.", run=run)


async def _schedule_command(launcher: Launcher, verb: str, job: str, *expression: str) -> str:
    arguments = ["schedule", verb, "--", job, *expression]
    what = f"Schedule of {job}: {verb}"
    run, _ = await acts.command(launcher, acts.CommandKind.SCHEDULE, arguments, _SECONDS, description=what, job=job)
    return run


def _as_set(launcher: Launcher, job: str, asked: str) -> models.Schedule:
    """A job's schedule as it is now: in five fields, else as it was asked for."""
    config = launcher.installation.config
    return _schedule(timetable.row(config, configured(launcher, job), timetable.crons(config)[job] or asked))


def _schedule(row: timetable.CronRow) -> models.Schedule:
    return models.Schedule(
        id=row.job,
        cron=row.cron,
        type=row.type,
        target=row.target,
        container_name=row.container,
        source_dirs=list(row.source_dirs) or None,
    )
