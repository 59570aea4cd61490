"""Backups over HTTP: list, make, restore, verify, remove."""

import os
import shlex
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from hiveden_backup.api import models
from hiveden_backup.api import unit_runs as acts
from hiveden_backup.api.launcher import Launcher, installation_of, launcher_of
from hiveden_backup.api.targets import job_of, wanted_of
from hiveden_backup.api.unit_runs import PATIENCE, CommandKind
from hiveden_backup.core.api_places import unrestorable
from hiveden_backup.core.api_targets import Wanted
from hiveden_backup.core.config import rules as config_rules
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BeyondError, NotFoundError, UsageError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.names import is_job_name, iso
from hiveden_backup.core.schedule.units import service
from hiveden_backup.host.disk.repository import no_such_backup
from hiveden_backup.host.state.records import RunRecord
from hiveden_backup.host.systemd import transient_units as transient
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.database import check_scope
from hiveden_backup.jobs.schedule.survey import is_current
from hiveden_backup.jobs.setup.targets import leads_to, own_directories

router = APIRouter()
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": models.Accepted, "description": "It goes on; ask for it at `/runs/{run}`"}
}
_WAIT = Query(True, description="Wait up to 30 seconds for the end.")


@router.get("/backups", response_model=list[models.Artifact])
def list_backups(
    kind: ArtifactType | None = Query(None, alias="type"),
    target: str | None = Query(None),
    installation: Installation = Depends(installation_of),
) -> list[models.Artifact]:
    """All artifacts of finished backups, newest first."""
    rows, _ = catalog.rows(installation, installation.directory, kind=kind, target=target)
    return [_artifact(row) for row in rows]


@router.post("/backups", status_code=201, response_model=models.Made, responses=ACCEPTED)
async def make_backup(
    body: models.Target, wait: bool = _WAIT, launcher: Launcher = Depends(launcher_of)
) -> JSONResponse:
    """Run the whole job that the target belongs to; a target that no job has gets a job of its own, unscheduled."""
    until = patience(wait=wait)
    wanted = wanted_of(body)
    job, new = await job_of(launcher, wanted)
    said = f"The new job {job.name}" if new else f"The job {job.name}"
    return await run_and_answer(launcher, job, wanted, said, until)


@router.post("/backups/restore", response_model=models.Done, responses=ACCEPTED)
async def restore(body: models.Restore, wait: bool = _WAIT, launcher: Launcher = Depends(launcher_of)) -> JSONResponse:
    """Restore files into a new or empty directory, or a database, which keeps the old one for `undo`."""
    row = await run_in_threadpool(_find, launcher, body)
    backup = f"{row.job}/{row.id}"
    afterwards: tuple[str, ...] = ()
    writes: list[str] | None = None
    if row.type is ArtifactType.APPLICATION:
        fault = config_rules.plain(body.target) or config_rules.absolute_path(body.target)
        if fault is not None:
            raise UsageError(f"The target directory {fault.message}", "", fault.hint)
        writes = [await run_in_threadpool(_place, launcher, body.target)]
        arguments = ["restore", backup, f"--to={body.target}"]
    else:
        fault = config_rules.plain(body.target) or config_rules.database_name(body.target)
        if fault is not None:
            raise UsageError(f"The target database {fault.message}", "", fault.hint)
        await run_in_threadpool(_check_scope, launcher, row, in_place=body.target == row.target)
        how = ["--yes"] if body.target == row.target else [f"--as={body.target}"]
        arguments = ["restore", backup, f"--database={row.target}", f"--server={row.server}", *how]
        afterwards = ("recover", "--job", row.job)
    what = f"Restore {row.target} from {backup} to {body.target}"
    run, said = await acts.command(
        launcher,
        CommandKind.RESTORE,
        arguments,
        PATIENCE if wait else 0.0,
        description=what,
        job=row.job,
        afterwards=afterwards,
        writes=writes,
    )
    return answer(run, f"{what}: done." if said is not None else None)


@router.post("/backups/{job}/{timestamp}/verify", response_model=models.Done, responses=ACCEPTED)
async def verify(
    job: str, timestamp: str, wait: bool = _WAIT, launcher: Launcher = Depends(launcher_of)
) -> JSONResponse:
    """Read all of a backup: digests, every archive against the index, every dump."""
    backup = f"{job}/{timestamp}"

    def look() -> None:
        directory = launcher.installation.directory
        if not is_job_name(job) or timestamp not in directory.backups(job):
            raise no_such_backup(backup)

    await run_in_threadpool(look)
    seconds = PATIENCE if wait else 0.0
    run, said = await acts.command(
        launcher, CommandKind.VERIFY, ["verify", backup], seconds, description=f"Verify {backup}", job=job
    )
    return answer(run, f"{backup} is whole." if said is not None else None)


@router.delete("/backups/{filename:path}", response_model=models.Done, responses=ACCEPTED)
async def delete(filename: str, launcher: Launcher = Depends(launcher_of)) -> JSONResponse:
    """Remove the whole backup that an artifact belongs to."""
    backup, manifest = await run_in_threadpool(lambda: catalog.find_filename(launcher.installation.directory, filename))
    what = ", ".join(f"{each.type} {each.target}" for each in manifest.artifacts)
    arguments = ["delete", str(backup), "--yes"]
    run, said = await acts.command(
        launcher, CommandKind.DELETE, arguments, PATIENCE, description=f"Delete {backup}", job=backup.job
    )
    return answer(run, f"Removed the whole backup {backup}: {what}." if said is not None else None)


# ---- shared with the other endpoints ---------------------------------------------------------------------------------


def patience(*, wait: bool) -> float:
    """Until when (`time.monotonic`) a client waits, from now on."""
    return time.monotonic() + (PATIENCE if wait else 0.0)


async def run_and_answer(launcher: Launcher, job: Job, wanted: Wanted | None, said: str, until: float) -> JSONResponse:
    """Run a job by its unit: 201 with the backup's id when it ended in time, else 202."""
    if not await run_in_threadpool(_is_ready, launcher, job):
        await apply_schedules(launcher)
    run, record = await acts.run_job(launcher, job.name, until - time.monotonic())
    if record is None:
        return accepted(run.id, f"{said} runs.")
    path = await run_in_threadpool(_path, launcher, record, wanted)
    trouble = f" {record.error}" if record.error else ""
    made = {"path": path, "message": f"{said} made the backup {job.name}/{record.backup}.{trouble}"}
    return JSONResponse({**made, "id": record.backup}, 201)


async def apply_schedules(launcher: Launcher) -> None:
    """Let systemd know of a changed configuration: a job's unit may write to the directory that it names only then."""
    await acts.command(
        launcher, CommandKind.SCHEDULE, ["schedule", "apply"], PATIENCE, description="Apply the configuration"
    )


def answer(run: str, message: str | None) -> JSONResponse:
    """200 with a message when it is done, else 202."""
    return accepted(run, "It goes on.") if message is None else JSONResponse({"message": message, "run": run})


def accepted(run: str, message: str) -> JSONResponse:
    """202: ask for it later."""
    return JSONResponse({"run": run, "message": f"{message} Ask for it at /runs/{run}"}, 202)


def _is_ready(launcher: Launcher, job: Job) -> bool:
    return transient.show(service(job.name)).loaded and is_current(launcher.installation, job)


def _find(launcher: Launcher, body: models.Restore) -> catalog.ArtifactRow:
    installation = launcher.installation
    return catalog.find(installation, installation.directory, body.backup_file, body.type, body.target)


def _place(launcher: Launcher, target: str) -> str:
    """What is there already of a directory to restore to. UsageError where no client may have that done."""
    known = launcher.installation
    real = leads_to(target)
    if reason := unrestorable(target, real, own_directories(known.config, known.config_file, known.state)):
        raise UsageError(reason, "", "Name another directory, or restore by the command line")
    return next(str(each) for each in (Path(real), *Path(real).parents) if os.path.lexists(each))


def _check_scope(launcher: Launcher, row: catalog.ArtifactRow, *, in_place: bool) -> None:
    """No request carries consent to what only a backup names."""
    backup = catalog.Backup(row.job, row.id)
    try:
        check_scope(launcher.installation, backup, row.target, row.server, in_place=in_place)
    except BeyondError as error:
        command = f"hiveden-backup restore {backup} --database {shlex.quote(row.target)}"
        raise BeyondError(error.what, error.why, f"Look at it on the machine itself: {command}") from error


def _path(launcher: Launcher, record: RunRecord, wanted: Wanted | None) -> str:
    """Where what the client asked for is: a database's dump, else the backup."""
    directory = launcher.installation.directory
    path = directory.backup_path(record.job, record.backup or "")
    if wanted is not None and wanted.type is ArtifactType.DATABASE:
        rows, _ = catalog.rows(launcher.installation, directory, job=record.job, kind=wanted.type, target=wanted.target)
        path_of = {row.id: row.path for row in rows}
        return path_of.get(record.backup or "", str(path))
    return str(path)


def _artifact(row: catalog.ArtifactRow) -> models.Artifact:
    return models.Artifact(
        path=row.path,
        filename=row.filename,
        type=row.type,
        target=row.target,
        timestamp=iso(row.started),
        size=row.size,
        mtime=row.created.timestamp(),
        id=row.id,
        job=row.job,
        verified=models.Verified(**found) if (found := catalog.verified_table(row.verified)) else None,
    )


def configured(launcher: Launcher, name: str) -> Job:
    """A job of the configuration. NotFoundError when there is none of that name."""
    jobs = launcher.installation.config.jobs
    if name not in jobs:
        raise NotFoundError("There is no such job", f"The configuration has: {', '.join(jobs) or 'none'}")
    return jobs[name]
