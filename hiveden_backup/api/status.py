"""How things are, over HTTP: jobs, their state, their runs."""

import heapq
from itertools import islice

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from hiveden_backup import __version__
from hiveden_backup.api import models
from hiveden_backup.api import unit_runs as acts
from hiveden_backup.api.backups import ACCEPTED, configured, patience, run_and_answer
from hiveden_backup.api.launcher import Launcher, installation_of, launcher_of
from hiveden_backup.core.config.parse import retention_table
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.model import Result, RunKind, Trigger
from hiveden_backup.core.names import is_backup_id, is_job_name, iso
from hiveden_backup.host.state.records import RunRecord
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule import cron_rows as timetable
from hiveden_backup.jobs.schedule.status import statuses

router = APIRouter()
_MOST_RUNS = 500


@router.get("/healthz", response_model=models.Health)
def health() -> models.Health:
    """Whether the API answers; how the backups are is what `/status` says."""
    return models.Health(status="ok", version=__version__)


@router.get("/status", response_model=list[models.Status])
def status(installation: Installation = Depends(installation_of)) -> list[models.Status]:
    """How each job is doing."""
    tables = (row.table() for row in statuses(installation))
    return [models.Status(**{**each, "attention": [_readable(text) for text in each["attention"]]}) for each in tables]


@router.get("/jobs", response_model=list[models.Job])
def list_jobs(installation: Installation = Depends(installation_of)) -> list[models.Job]:
    """The jobs of the configuration."""
    config = installation.config
    crons = timetable.crons(config)
    return [
        models.Job(
            name=job.name,
            schedule=list(job.schedule),
            cron=crons[job.name],
            paths=list(job.paths),
            volumes=list(job.volumes),
            containers=list(job.containers),
            databases=[name for source in job.postgres for name in source.databases],
            retention=retention_table(job.retention),
        )
        for job in config.jobs.values()
    ]


@router.post("/jobs/{job}/run", status_code=201, response_model=models.Made, responses=ACCEPTED)
async def run_job(
    job: str, wait: bool = Query(True, description="Wait up to 30 seconds."), launcher: Launcher = Depends(launcher_of)
) -> JSONResponse:
    """Run a job."""
    until = patience(wait=wait)
    found = await run_in_threadpool(configured, launcher, job)
    return await run_and_answer(launcher, found, None, f"The job {found.name}", until)


@router.get("/runs", response_model=list[models.Run])
def list_runs(
    job: str | None = Query(None),
    limit: int = Query(100, ge=1, le=_MOST_RUNS),
    kind: RunKind = Query(RunKind.RUN, description="In-place restores and undos leave records, too."),
    installation: Installation = Depends(installation_of),
) -> list[models.Run]:
    """The newest runs of all jobs, or of one."""
    known = installation.records.jobs()
    if job is not None and job not in known and job not in installation.config.jobs:
        raise NotFoundError("There is no such job")
    chosen = [job] if job is not None else [name for name in known if is_job_name(name)]
    runs = [islice(installation.records.of(name, kind), limit) for name in chosen]
    newest = heapq.merge(*runs, key=lambda run: run[0].stem, reverse=True)
    return [_run(f"{record.job}.{path.stem}", record) for path, record in islice(newest, limit)]


@router.get("/runs/{run}", response_model=models.Run)
def show_run(run: str, launcher: Launcher = Depends(launcher_of)) -> models.Run:
    """One run, by the name that a listing or a 202 gave."""
    if acts.is_command_run(run):
        ended = acts.command_result(launcher, run)
        if ended is None:
            return models.Run(id=run, result=Result.RUNNING, trigger=Trigger.API)
        result = Result.FAILED if ended.status else Result.SUCCESS
        error = _readable(ended.words) if ended.status else ""
        return models.Run(id=run, result=result, exit_code=ended.status, error=error, trigger=Trigger.API)
    named = acts.job_run_of(run)
    if named is None:
        raise NotFoundError("There is no such run", "", "See what there is at /runs")
    job, name = named
    if not is_backup_id(name) and acts.goes_on(acts.JobRun(job, name)):  # its unit cannot be started again before
        return models.Run(id=run, job=job, result=Result.RUNNING)
    found = next(
        (each for path, each in launcher.installation.records.all(job) if name in (path.stem, each.invocation)), None
    )
    if found is not None:
        return _run(run, found)
    raise NotFoundError("There is no such run", "", "See what there is at /runs")


def _run(name: str, record: RunRecord) -> models.Run:
    return models.Run(
        id=name,
        job=record.job,
        started=iso(record.started),
        finished=iso(record.finished) if record.finished else None,
        result=record.result,
        exit_code=record.exit_code,
        error=_readable(record.error),
        backup=record.backup,
        bytes=record.bytes,
        downtime_seconds=record.downtime_seconds,
        prune=record.prune,
        trigger=record.trigger,
        warnings=[_readable(warning) for warning in record.warnings],
        kind=record.kind,
    )


def _readable(text: str) -> str:
    """A text that JSON can carry: what is no UTF-8 in a file's name is written out."""
    return text.encode("utf-8", "backslashreplace").decode()
