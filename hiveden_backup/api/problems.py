"""Errors as RFC 9457 documents: the one table from our classes to HTTP, and the documents themselves."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hiveden_backup.core.errors import (
    AmbiguousError,
    BackupError,
    BeyondError,
    BusyError,
    ConfigError,
    CorruptError,
    DeniedError,
    DirectoryError,
    NotFoundError,
    StorageError,
    UnfitError,
    UnreachableError,
    UsageError,
)
from hiveden_backup.core.shown import printable_lines

MEDIA_TYPE = "application/problem+json"

STATUS_OF: Mapping[type[BackupError], HTTPStatus] = {  # of several that fit, the first counts
    AmbiguousError: HTTPStatus.CONFLICT,
    UnfitError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UsageError: HTTPStatus.BAD_REQUEST,
    NotFoundError: HTTPStatus.NOT_FOUND,
    BusyError: HTTPStatus.CONFLICT,
    UnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
    DirectoryError: HTTPStatus.SERVICE_UNAVAILABLE,
    CorruptError: HTTPStatus.INTERNAL_SERVER_ERROR,
    StorageError: HTTPStatus.INTERNAL_SERVER_ERROR,
    BeyondError: HTTPStatus.FORBIDDEN,
    DeniedError: HTTPStatus.INTERNAL_SERVER_ERROR,  # ours, not the client's
    ConfigError: HTTPStatus.INTERNAL_SERVER_ERROR,
    BackupError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_CLASS_OF = {
    each.exit_code: each for each in STATUS_OF if each not in {AmbiguousError, UnfitError, BeyondError, BackupError}
}

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "What went wrong, as RFC 9457 has it",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string", "description": "What happened, why, and what to do next"},
                        "exit_code": {"type": "integer", "description": "What the command line would end with"},
                        "run": {"type": "string", "description": "The run that failed"},
                        "errors": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
    for status in ("4XX", "5XX")
}


class ActError(BackupError):
    """What a client asked for was begun and failed. `exit_code` is the command's, `run` names it."""

    def __init__(self, words: str, exit_code: int, run: str) -> None:
        self.exit_code = exit_code
        self.run = run
        super().__init__(words)

    def __str__(self) -> str:
        return self.what


def status_of(error: BackupError) -> HTTPStatus:
    """The HTTP status for an error; one that crossed a process as its exit status has the same."""
    if isinstance(error, ActError):
        return STATUS_OF[_CLASS_OF.get(error.exit_code, BackupError)]
    return next(status for kind, status in STATUS_OF.items() if isinstance(error, kind))


def problem(
    status: int, detail: str, *, kind: str = "", headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """The document. `kind` names the class of the error; without one the status says all."""
    phrase = HTTPStatus(status).phrase
    document = {
        "type": f"urn:hiveden-backup:{kind}" if kind else "about:blank",
        "title": phrase,
        "status": int(status),
        "detail": printable_lines(detail),
        **{name: value for name, value in members.items() if value is not None},
    }
    return Response(json.dumps(document), status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error that leaves an endpoint become a document."""
    app.add_exception_handler(BackupError, _ours)  # type: ignore[arg-type] # called with that class only
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type] # as above
    app.add_exception_handler(HTTPException, _plain)  # type: ignore[arg-type] # as above
    app.add_exception_handler(Exception, _defect)


async def _ours(_request: Request, error: BackupError) -> Response:
    errors = None
    if isinstance(error, ConfigError):
        errors = [{"key": each.key, "message": each.message, "hint": each.hint} for each in error.problems]
    kind = type(error).__name__.removesuffix("Error").lower()
    run = error.run if isinstance(error, ActError) else None
    return problem(status_of(error), str(error), kind=kind, exit_code=error.exit_code, errors=errors, run=run)


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    found: Sequence[Mapping[str, Any]] = error.errors()
    errors = [{"at": ".".join(str(part) for part in each["loc"]), "message": str(each["msg"])} for each in found]
    unreadable = any("json" in str(each["type"]) for each in found)
    status = HTTPStatus.BAD_REQUEST if unreadable else HTTPStatus.UNPROCESSABLE_ENTITY
    detail = "; ".join(f"{each['at']}: {each['message']}" for each in errors)
    return problem(status, detail, kind="request", errors=errors)


async def _plain(_request: Request, error: HTTPException) -> Response:
    return problem(error.status_code, str(error.detail), headers=getattr(error, "headers", None))


async def _defect(_request: Request, error: Exception) -> Response:
    detail = f"hiveden-backup has a defect: {type(error).__name__}. See `journalctl -u hiveden-backup-api`"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, kind="defect")
