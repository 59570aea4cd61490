"""The configuration over HTTP, by two names that clients have for it."""

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from hiveden_backup.api import models
from hiveden_backup.api.backups import apply_schedules
from hiveden_backup.api.errand import Errand
from hiveden_backup.api.launcher import Launcher, installation_of, launcher_of
from hiveden_backup.api.targets import errand
from hiveden_backup.core.errors import UnfitError
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.setup import managed

router = APIRouter()


@router.get("/config/backups", response_model=models.Settings)
@router.get("/backups/config", response_model=models.Settings)
def read_settings(installation: Installation = Depends(installation_of)) -> models.Settings:
    """The backup directory, and how many of the newest backups are kept."""
    now = managed.current(installation.config_file)
    return models.Settings(directory=now.directory, retention_count=now.keep_last)


@router.put("/config/backups", response_model=models.Settings)
@router.put("/backups/config", response_model=models.Settings)
async def write_settings(body: models.Settings, launcher: Launcher = Depends(launcher_of)) -> models.Settings:
    """Change them. An empty or absent directory is initialised; one with other things in it is refused."""
    if body.directory is None and body.retention_count is None:
        raise UnfitError("There is nothing to change", "", "Give directory, retention_count, or both")
    before = await run_in_threadpool(lambda: launcher.installation.config)
    details = {"directory": body.directory, "keep_last": body.retention_count}
    await errand(launcher, Errand.CONFIGURE, details, "Change the settings")
    if (await run_in_threadpool(lambda: launcher.installation.config)).directory != before.directory:
        await apply_schedules(launcher)
    return await run_in_threadpool(lambda: read_settings(launcher.installation))
