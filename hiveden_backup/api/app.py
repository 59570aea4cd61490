"""The application: endpoints, errors and the OpenAPI document put together."""

from fastapi import FastAPI

from hiveden_backup import __version__
from hiveden_backup.api import backups, problems, schedules, settings
from hiveden_backup.api import status as looking
from hiveden_backup.api.launcher import Launcher


def application(launcher: Launcher) -> FastAPI:
    """The API of an installation. Each path works with and without `/api` before it, by way of the guard."""
    app = FastAPI(
        title="hiveden-backup",
        version=__version__,
        description="Backups of files, Docker volumes and PostgreSQL databases.",
        servers=[{"url": "/"}, {"url": "/api"}],
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        responses=problems.DOCUMENTED,
    )
    app.state.launcher = launcher
    app.router.redirect_slashes = False
    problems.install(app)
    for room in (settings, schedules, backups, looking):  # `/backups/{filename}` comes after the names beside it
        app.include_router(room.router)
    return app
