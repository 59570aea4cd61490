"""A dump restored beside what is there: into a scratch database, which gets its name when it is complete."""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import IO

from psycopg import errors, sql

from hiveden_backup.core.errors import BackupError, NotFoundError, UnreachableError, UsageError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres import NAME_BYTES, Door, Endpoint, PgTools, major_of
from hiveden_backup.host.files import translated as translated_files
from hiveden_backup.host.postgres_connect import READABLE_MESSAGES, connect, translated, type_connection
from hiveden_backup.host.postgres_decode import unreadable
from hiveden_backup.host.postgres_scratch import scratch_database
from hiveden_backup.host.postgres_tools import command
from hiveden_backup.host.process import Command, Pipeline, ProcessError

_BUSY_SECONDS = 15.0
_POLL_SECONDS = 0.1
_STORABLE = re.compile(r"[^\0\ud800-\udfff]*")
_MISSING_ROLE = re.compile(r'role "(.+?)" does not exist')
_MISSING_EXTENSION = re.compile(r'extension "(.+?)" is not available')


def restore_new(endpoint: Endpoint, path: Path, facts: DatabaseFacts, name: str, tool: PgTools) -> tuple[str, ...]:
    """Restore a compressed dump into the new database `name`; returns the warnings that came with it.

    `name` appears when it is complete; whatever fails before, nothing is left and nothing that existed was touched.
    What is missing on the server (owner, roles, extensions, locale) is named before or as soon as it is known.
    """
    if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES or not _STORABLE.fullmatch(name):
        raise UsageError(
            f"A database cannot be called {name!r}",
            f"PostgreSQL's names have 1 to {NAME_BYTES} bytes of UTF-8",
            "Choose another name",
        )
    with contextlib.closing(connect(endpoint)) as connection:
        with translated(endpoint, f"preparing the restore of {name}"):
            _refuse_existing(connection, endpoint, name)
            check_server(connection, endpoint, facts, path)
        with scratch_database(endpoint, facts) as scratch:
            superuser = connection.info.parameter_status("is_superuser") == "on"
            load = command(
                endpoint,
                tool,
                "pg_restore",
                ["--exit-on-error"],
                dbname=scratch,
                application=scratch,
                options=READABLE_MESSAGES if superuser else "",
            )
            warnings = _load(endpoint, path, load, inside=tool.inside)
            _rename(endpoint, scratch, name)
    return warnings


def check_server(connection: type_connection, endpoint: Endpoint, facts: DatabaseFacts, path: Path) -> None:
    """Raise when the server is too old for a dump, or lacks its owner or an extension."""
    major, dumped = connection.info.server_version // 10000, major_of(facts.server_version)
    if dumped > major:
        raise BackupError(
            f"A dump of PostgreSQL {dumped} cannot be restored to {endpoint.name}, which runs {major}",
            "An older server does not understand all of it",
            f"Restore to PostgreSQL {dumped} or newer",
        )
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (facts.owner,)).fetchone() is None:
        raise _missing_role(facts.owner, endpoint, path)
    known = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions").fetchall()}
    missing = [extension.name for extension in facts.extensions if extension.name not in known]
    if missing:
        raise _missing_extension(", ".join(missing), endpoint)


def _refuse_existing(connection: type_connection, endpoint: Endpoint, name: str) -> None:
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None:
        raise _exists(endpoint, name)


def _load(endpoint: Endpoint, path: Path, load: Command, *, inside: bool) -> tuple[str, ...]:
    decompress = Command(["zstd", "-q", "-dc"])
    try:
        with translated_files(f"reading the dump {path}"), path.open("rb") as file:
            if inside and endpoint.door is not None:
                said = _load_inside(endpoint.door, decompress, load, file)
            else:
                with Pipeline(decompress, load, stdin=file) as pipeline:
                    pass
                said = pipeline.results[-1].stderr
    except ProcessError as error:
        raise _explained(error, endpoint, path) from error
    lines = said.decode("utf-8", "replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _load_inside(door: Door, decompress: Command, load: Command, file: IO[bytes]) -> bytes:
    argv = [os.fsdecode(part) for part in load.argv]
    with (
        Pipeline(decompress, stdin=file) as pipeline,
        door(argv, environment=load.environment, stdin=pipeline.stdout) as output,
    ):
        for _ in output:  # it has none, but the door feeds it meanwhile
            pass
    return output.stderr


def _rename(endpoint: Endpoint, scratch: str, name: str) -> None:
    """Give the finished database its name, as soon as the last backend has left it."""
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(scratch), sql.Identifier(name))
    deadline = time.monotonic() + _BUSY_SECONDS
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, f"naming the database {name}"):
        while True:
            try:
                connection.execute(statement)
            except errors.DuplicateDatabase as error:
                raise _exists(endpoint, name) from error
            except errors.ObjectInUse:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return


def _explained(error: ProcessError, endpoint: Endpoint, path: Path) -> BackupError:
    role, extension = _MISSING_ROLE.search(error.stderr), _MISSING_EXTENSION.search(error.stderr)
    if role is not None:
        return _missing_role(role[1], endpoint, path)
    if extension is not None:
        return _missing_extension(extension[1], endpoint)
    return unreadable(error, path) or BackupError(
        f"The dump {path} could not be restored to {endpoint.name}",
        f"{error.what}: {error.why}",
        "Nothing was changed: correct what the server complains about, then try again",
    )


def _exists(endpoint: Endpoint, name: str) -> BackupError:
    return BackupError(
        f"The database {name} exists on {endpoint.name} already",
        "A restore never writes over what is there",
        "Choose another name with --as",
    )


def _missing_role(role: str, endpoint: Endpoint, path: Path) -> NotFoundError:
    file = path.with_name(f"globals.{path.name.split('.')[1]}.sql.zst") if path.name.count(".") > 1 else None
    command_line = f"zstd -dc {file or 'globals.SERVER.sql.zst'} | psql -d postgres"
    return NotFoundError(
        f"The role {role} does not exist on {endpoint.name}",
        "What the dump holds belongs to it or is granted to it",
        f"Create it, or restore all roles on that server: {command_line}",
    )


def _missing_extension(names: str, endpoint: Endpoint) -> UnreachableError:
    return UnreachableError(
        f"{endpoint.name} does not have what the database needs: {names}",
        "These extensions are not installed there",
        "Install their packages on that server, then try again",
    )
