"""A dump into an empty database by pg_restore: as a stream, or from a spool that several connections can read."""

import contextlib
import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.database_settings import dumped
from hiveden_backup.core.postgres.values import Door, Endpoint, PgTools, restore_jobs
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.stream import DECOMPRESSOR, PARTIAL_DECOMPRESSOR
from hiveden_backup.host.postgres.decode import unreadable
from hiveden_backup.host.postgres.needs import explained
from hiveden_backup.host.postgres.tools import command
from hiveden_backup.host.process import Command, Pipeline, ProcessError

_SPOOL_FOLDER = "/var/tmp"  # noqa: S108 - for a file without a name; /tmp may be memory
_LIKELY_RATIO = 10
_NO_SPACE = os.strerror(errno.ENOSPC)


def load(endpoint: Endpoint, path: Path, dbname: str, tool: PgTools, *, options: str = "") -> tuple[str, ...]:
    """Restore a compressed dump into the empty database `dbname`, up to the first error; what pg_restore said.

    `options` is PGOPTIONS.
    """
    restore = command(
        endpoint, tool, "pg_restore", ["--exit-on-error"], dbname=dbname, application=dbname, options=options
    )
    try:
        with translated(f"reading the dump {path}"), path.open("rb") as file:
            if tool.inside and endpoint.door is not None:
                said = _inside(endpoint.door, restore, file)
            else:
                said = _here(restore, file, restore_jobs(os.fstat(file.fileno()).st_size, os.cpu_count() or 1, tool))
    except ProcessError as error:
        raise _explained(error, endpoint, path) from error
    return tuple(line.strip() for line in split_lines(said.decode("utf-8", "replace")) if line.strip())


def with_dumped_settings(endpoint: Endpoint, path: Path, facts: DatabaseFacts, tool: PgTools) -> DatabaseFacts:
    """The facts with those settings that are only in the dump, since they may be secrets."""
    if all(setting.value is not None for setting in facts.settings):
        return facts
    argv = [tool.program("pg_restore"), "--create", "--schema-only", "--section=pre-data", "--file=-"]
    try:
        with translated(f"reading the dump {path}"), path.open("rb") as file:
            if tool.inside and endpoint.door is not None:
                decompress = Pipeline(PARTIAL_DECOMPRESSOR, stdin=file)
                with decompress, endpoint.door(argv, stdin=decompress.stdout) as output:
                    script = b"".join(output)
            else:
                with Pipeline(PARTIAL_DECOMPRESSOR, Command(argv), stdin=file) as pipeline:
                    script = pipeline.stdout.read()
    except ProcessError as error:
        raise _explained(error, endpoint, path) from error
    values = dumped(script.decode("utf-8", "replace"))
    settings = (
        setting if setting.value is not None else replace(setting, value=values.get((setting.role, setting.name)))
        for setting in facts.settings
    )
    return replace(facts, settings=tuple(settings))


def _inside(door: Door, restore: Command, file: IO[bytes]) -> bytes:
    argv = [os.fsdecode(part) for part in restore.argv]
    with (
        Pipeline(DECOMPRESSOR, stdin=file) as pipeline,
        door(argv, environment=restore.environment, stdin=pipeline.stdout) as output,
    ):
        for _ in output:  # it has none, but the door feeds it meanwhile
            pass
    return output.stderr


def _here(restore: Command, file: IO[bytes], jobs: int) -> bytes:
    with _spooled(file, restore.user) if jobs > 1 else contextlib.nullcontext() as spool:
        if spool is not None:
            argv = (*restore.argv, f"--jobs={jobs}", "/dev/stdin")
            pipeline = Pipeline(replace(restore, argv=argv), stdin=spool)
        else:
            pipeline = Pipeline(DECOMPRESSOR, restore, stdin=file)
        with pipeline:
            pass
    return pipeline.results[-1].stderr


@contextlib.contextmanager
def _spooled(file: IO[bytes], user: str | None) -> Iterator[IO[bytes] | None]:
    """The dump decompressed into a file without a name, which nothing can leave behind; None when there is no room."""
    folder = os.environ.get("TMPDIR", _SPOOL_FOLDER)
    size = os.fstat(file.fileno()).st_size
    if shutil.disk_usage(folder).free < _LIKELY_RATIO * size:
        yield None
        return
    with tempfile.TemporaryFile(dir=folder) as spool:
        try:
            with Pipeline(DECOMPRESSOR, stdin=file, stdout=spool.fileno()):
                pass
        except ProcessError as error:
            if _NO_SPACE not in error.stderr:
                raise
            file.seek(0)
            spool.truncate(0)
            yield None
            return
        if user is not None:  # each connection opens it anew
            os.fchown(spool.fileno(), pwd.getpwnam(user).pw_uid, -1)
        spool.seek(0)
        yield spool


def _explained(error: ProcessError, endpoint: Endpoint, path: Path) -> BackupError:
    return (
        explained(error, endpoint, path)
        or unreadable(error, path)
        or BackupError(
            f"The dump {path} could not be restored to {endpoint.name}",
            f"{error.what}: {error.why}",
            "Nothing was changed: correct what the server complains about, then try again",
        )
    )
