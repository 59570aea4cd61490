"""The application: endpoints, errors and the OpenAPI document put together."""

from typing import Any

from fastapi import FastAPI

from hiveden_backup import __version__
from hiveden_backup.api import backups, problems, schedules, settings
from hiveden_backup.api import status as looking
from hiveden_backup.api.launcher import Launcher
from hiveden_backup.core.same_origin import OUR_HEADER

_DESCRIPTION = f"""Backups of files, Docker volumes and PostgreSQL databases.

Requests that a page from elsewhere may have sent are refused with 403: Host must be a name of the listener, Origin and
Sec-Fetch-Site, if there are any, must be of the same origin, and what changes something must have
`Content-Type: application/json`, with or without a body, or `{OUR_HEADER}: 1`."""
_BODILESS = {
    "name": OUR_HEADER,
    "in": "header",
    "required": True,
    "description": "Any value; or else `Content-Type: application/json`",
    "schema": {"type": "string", "minLength": 1, "default": "1"},
}


class _Api(FastAPI):
    """One whose document tells of the header that what has no body must come with."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            for methods in super().openapi()["paths"].values():
                for method, operation in methods.items():
                    if method != "get" and "requestBody" not in operation:
                        operation.setdefault("parameters", []).append(_BODILESS)
        return super().openapi()


def application(launcher: Launcher) -> FastAPI:
    """The API of an installation. Each path works with and without `/api` before it, by way of the guard."""
    app = _Api(
        title="hiveden-backup",
        version=__version__,
        description=_DESCRIPTION,
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
