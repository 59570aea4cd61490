"""The PostgreSQL client programs on this host and in a server's container, and how they are started for a server."""

import functools
import os
import pwd
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.postgres.conninfo import compose
from hiveden_backup.core.postgres.values import (
    Endpoint,
    PgTools,
    choose_dump_tool,
    choose_restore_tool,
    tool_version,
)
from hiveden_backup.host.postgres.connect import CONNECTION_PARAMETERS
from hiveden_backup.host.process import Command, ProcessError, run

_PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
_PROGRAMS = ("pg_dump", "pg_dumpall", "pg_restore")
_WRAPPER = "pg_wrapper"
_VERSION_SECONDS = 30.0
_LONGEST_VERSION = 1024


@functools.cache
def find_tools() -> tuple[PgTools, ...]:
    """The client programs that this host has, oldest version first. Looked for once in a process.

    Debian's /usr/bin/pg_dump is a wrapper that picks a version by rules of its own; the real ones are used.
    """
    found: dict[str, PgTools] = {}
    for directory in _directories():
        paths = [shutil.which(program, path=directory) for program in _PROGRAMS]
        if None in paths or any(Path(path or "").resolve().name == _WRAPPER for path in paths):
            continue
        place = os.path.dirname(os.path.realpath(paths[0] or ""))
        if place not in found and (version := _version(paths[0] or "")) is not None:
            found[place] = PgTools(version, directory)
    return tuple(sorted(found.values(), key=lambda tools: tools.version))


def inside_tools(endpoint: Endpoint) -> PgTools | None:
    """The client programs in the server's container, None when it has none."""
    if endpoint.door is None:
        return None
    try:
        with endpoint.door(["pg_dump", "--version"], seconds=_VERSION_SECONDS) as output:
            answer = next(iter(output), b"")
            version = tool_version(answer[:_LONGEST_VERSION].decode("utf-8", "replace"))
    except ProcessError:  # not there
        return None
    return None if version is None else PgTools(version, inside=True)


def dump_tool(endpoint: Endpoint, server_major: int, tools: Sequence[PgTools] | None = None) -> PgTools:
    """The tools to dump this server with; `tools` are what the host has. UnreachableError when none fit."""
    host = find_tools() if tools is None else tools
    equal = any(tool.major == server_major for tool in host)
    return choose_dump_tool(
        endpoint.name,
        server_major,
        host,
        in_container=endpoint.door is not None,
        inside=None if equal else inside_tools(endpoint),
    )


def restore_tool(
    endpoint: Endpoint, dump_major: int, server_major: int, tools: Sequence[PgTools] | None = None
) -> PgTools:
    """The tools to restore a dump to this server with. UnreachableError when none fit.

    Those of the server's own major version come first, since newer ones set what it may not know.
    """
    host = find_tools() if tools is None else tools
    fit = [tool for tool in host if tool.major == server_major >= dump_major]
    inside = None if fit else inside_tools(endpoint)
    if inside is not None and inside.major >= dump_major:
        return inside
    return choose_restore_tool(dump_major, host, server_major)


def command(
    endpoint: Endpoint,
    tool: PgTools,
    program: str,
    arguments: Sequence[str],
    *,
    dbname: str | None,
    application: str,
    options: str = "",
) -> Command:
    """A client program with its connection, to run on this host or inside the container as the tools say.

    The name of the database is safe whatever it is; the password is in the environment. `options` are as
    libpq takes them, and have more weight than the configured ones.
    """
    parameters = {
        **CONNECTION_PARAMETERS,
        **(endpoint.inside if tool.inside else endpoint.parameters),
        "application_name": application,
    }
    if dbname is not None:
        parameters["dbname"] = dbname
    environment = {}
    if options and "options" in parameters:  # which would take the place of PGOPTIONS
        parameters["options"] += f" {options}"  # of two values the last one counts
    elif options:
        environment["PGOPTIONS"] = options
    password = endpoint.password(dbname or endpoint.database or "")
    if password is not None:
        environment["PGPASSWORD"] = password
    user = None if tool.inside else endpoint.os_user
    if user is not None:  # where libpq looks for certificates
        environment["HOME"] = pwd.getpwnam(user).pw_dir
    argv = (tool.program(program), *arguments, "--no-password", "-d", compose(parameters))
    return Command(argv, environment=environment, user=user)


def _directories() -> Iterator[str]:
    for pattern in _PLACES:
        yield from (str(path) for path in sorted(Path("/").glob(pattern)))
    yield from filter(os.path.isabs, os.get_exec_path())


def _version(pg_dump: str) -> tuple[int, ...] | None:
    try:
        return tool_version(
            run(Command([pg_dump, "--version"]), timeout=_VERSION_SECONDS).stdout.decode("utf-8", "replace")
        )
    except BackupError:  # it does not start (a library is missing, say), so there is none
        return None
