"""Dumps read to their end without a server, to see that all of them is there."""

import re
from pathlib import Path

from hiveden_backup.core.errors import BackupError, CorruptError, UnreachableError
from hiveden_backup.core.postgres.values import Door, PgTools
from hiveden_backup.host.disk.durable import opened, translated
from hiveden_backup.host.disk.stream import DECOMPRESSOR
from hiveden_backup.host.process import Command, Pipeline, ProcessError

_TOO_NEW = re.compile(r"unsupported version|unrecognized (?:archive format|compression)|compression.*not supported")


def decode(path: Path, tool: PgTools, door: Door | None = None) -> None:
    """Read a compressed dump from its first byte to its last; behind `door` with tools that are inside a container.

    CorruptError names the file; UnreachableError when this pg_restore is too old for it, which says nothing against it.
    """
    argv = [tool.program("pg_restore"), "--file=/dev/null"]
    try:
        with translated(f"reading the dump {path}"), opened(path) as file:
            if door is None:
                with Pipeline(DECOMPRESSOR, Command(argv), stdin=file):
                    return
            with (
                Pipeline(DECOMPRESSOR, stdin=file) as source,
                door(argv, environment={"LC_ALL": "C"}, stdin=source.stdout) as output,
            ):
                for _ in output:  # it has none, but the door feeds it meanwhile
                    pass
    except ProcessError as error:
        raise unreadable(error, path) or error from error


def unreadable(error: ProcessError, path: Path) -> BackupError | None:
    """What the failure of zstd or pg_restore says of the dump itself; None when it says nothing of it."""
    if error.status < 0:  # ended by somebody, or out of memory
        return None
    said = error.stderr
    if _TOO_NEW.search(said):
        return UnreachableError(
            f"The dump {path} cannot be decoded here", error.why, "Install a newer PostgreSQL client, then try again"
        )
    if error.program == "zstd" or "input file" in said or "archive" in said or "end of file" in said:
        return CorruptError(
            f"The dump {path} is damaged", error.why, "Use another backup: `hiveden-backup verify --all` tells which"
        )
    return None
