"""A dump into an empty database by pg_restore: as a stream, or from a spool that several connections can read.

It goes as far as it can. What the server refuses is tried a second time when all the rest is there.
"""

import contextlib
import errno
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.docker.exec_frames import Readable
from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres import restoring
from hiveden_backup.core.postgres.database_settings import dumped
from hiveden_backup.core.postgres.restoring import Difference
from hiveden_backup.core.postgres.values import Door, Endpoint, PgTools, restore_jobs
from hiveden_backup.host.disk.durable import opened, translated
from hiveden_backup.host.disk.stream import CHUNK, DECOMPRESSOR, PARTIAL_DECOMPRESSOR
from hiveden_backup.host.postgres.connect import connect, option
from hiveden_backup.host.postgres.connect import translated as translated_errors
from hiveden_backup.host.postgres.decode import unreadable
from hiveden_backup.host.postgres.needs import explained
from hiveden_backup.host.postgres.tools import command
from hiveden_backup.host.process import Command, Completed, Pipeline, ProcessError

_SPOOL_FOLDER = "/var/tmp"  # noqa: S108 - for a file without a name; /tmp may be memory
_LIKELY_RATIO = 10
_NO_SPACE = os.strerror(errno.ENOSPC)
_HEAD_BYTES = 1 << 16
"""Of a dump: what it has pg_restore set is among the first things in it."""

_SILENT = option("session_replication_role", "replica")
"""Of a session that copies what another server has: no trigger fires but those that were told to fire there, too."""
_MAY_BE_SILENT = "SELECT has_parameter_privilege('session_replication_role', 'SET')"
_MAY_BE_SILENT_SINCE = 150000  # before, it was for superusers alone
_FIRE = """
    SELECT EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 4 <> 0 AND tgenabled::text = ANY (%s))
"""
"""Triggers on INSERT, which is what a copy does. Those of a partition are a copy of its parent's."""

_WITH_LIST = 'exec "$@" 3<<END\n{}END\n'
"""For sh(1) in a container: the numbers of entries on a descriptor, since no file of ours is there."""


@dataclass(frozen=True, slots=True)
class _Load:
    """One dump on its way into one empty database. `options` are libpq's, for its sessions."""

    endpoint: Endpoint
    path: Path
    dbname: str
    tool: PgTools
    options: str

    def first(self) -> str:
        """All of it, with several connections where that pays; what pg_restore said."""

        def here(file: IO[bytes]) -> bytes:
            jobs = restore_jobs(os.fstat(file.fileno()).st_size, os.cpu_count() or 1, self.tool)
            return _here(self._command(), file, jobs)

        def inside(door: Door, file: IO[bytes]) -> bytes:
            with Pipeline(DECOMPRESSOR, stdin=file) as pipeline:
                return _inside(door, self._command(), pipeline.stdout)

        return self._said(here, inside)

    def second(self, numbers: Sequence[int], more: str) -> str:
        """Some entries of it once more, with more options; what pg_restore said."""
        listed = "".join(f"{number};\n" for number in numbers)
        chosen = replace(self, options=f"{self.options} {more}")

        def here(file: IO[bytes]) -> bytes:
            with _passed_on(listed) as descriptor:
                restore = chosen._command(f"--use-list=/dev/fd/{descriptor}")  # noqa: SLF001 - its own kind
                return _fed(replace(restore, descriptors=(descriptor,)), file)

        def inside(door: Door, file: IO[bytes]) -> bytes:
            restore = chosen._command("--use-list=/dev/fd/3")  # noqa: SLF001 - its own kind
            argv = ("sh", "-c", _WITH_LIST.format(listed), "sh", *restore.argv)
            with Pipeline(PARTIAL_DECOMPRESSOR, stdin=file) as pipeline:
                return _inside(door, replace(restore, argv=argv), _OwnPath(pipeline.stdout))

        return self._said(here, inside)

    def _command(self, *arguments: str) -> Command:
        return command(
            self.endpoint,
            self.tool,
            "pg_restore",
            ["--verbose", *arguments],
            dbname=self.dbname,
            application=self.dbname,
            options=self.options,
        )

    def _said(self, here: Callable[[IO[bytes]], bytes], inside: Callable[[Door, IO[bytes]], bytes]) -> str:
        """What pg_restore said, when it came to the dump's end, and the server to the end of pg_restore."""
        try:
            with translated(f"reading the dump {self.path}"), opened(self.path) as file:
                door = self.endpoint.door
                said = inside(door, file) if self.tool.inside and door is not None else here(file)
                return said.decode("utf-8", "replace")
        except ProcessError as error:
            text = restoring.spoken(error.stderr)
            if error.status <= 0 or not restoring.came_to_its_end(text):
                raise _explained(_saying(error, text), self.endpoint, self.path) from error
            self._check(_saying(error, restoring.primary(text)), text)
            return error.stderr

    def _check(self, error: ProcessError, said: str) -> None:
        """BackupError when what failed is the server, or lacks there, and not what the dump wants."""
        if lost := restoring.connection_lost(said):
            raise UnreachableError(
                f"The restore of {self.path} lost {self.endpoint.name}",
                lost,
                "Nothing was changed: look at the server's log, then try again",
            )
        if lacking := explained(error, self.endpoint, self.path):
            raise lacking
        if why := restoring.exhausted(said):
            raise _not_restored(self.endpoint, self.path, why)


def load(
    endpoint: Endpoint, path: Path, dbname: str, tool: PgTools, facts: DatabaseFacts, *, options: str
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Restore a compressed dump into the empty database `dbname`: what is missing all the same, and warnings.

    What the server refuses is tried again at the end, with the search path that the database had: by then, all that a
    function asks for is there. So are the triggers, which are kept silent; where they cannot be, tables whose rows came
    then are named with what is missing. `options` are libpq's. BackupError when it did not come to its end.
    """
    loading = _Load(endpoint, path, dbname, tool, options)
    said = loading.first()
    failed, warnings = restoring.failures(said), restoring.warnings(said)
    missing: tuple[Difference, ...] = ()
    untold = restoring.untold(said) if tool.inside else 0
    if failed:
        numbers = restoring.to_try_again(_read(endpoint, path, tool, ["--list"]), failed)
        more, fire = option("search_path", restoring.search_path(facts)), False
        if restoring.brings_rows(failed):
            silent, fire = _triggers(endpoint, dbname)
            more = f"{more} {_SILENT}" if silent else more
        again = loading.second(numbers, more)
        refused = restoring.failures(again)
        missing = restoring.still_missing(failed, refused) + (restoring.steered(failed, refused) if fire else ())
        warnings += restoring.warnings(again)
    if untold:  # only the end of what a program in a container says is kept
        missing += (Difference(f"{untold} things", "The server refused them, with more words than are kept"),)
    return missing, tuple(dict.fromkeys(warnings))


def with_dumped_settings(endpoint: Endpoint, path: Path, facts: DatabaseFacts, tool: PgTools) -> DatabaseFacts:
    """The facts with those settings that are only in the dump, since they may be secrets."""
    if all(setting.value is not None for setting in facts.settings):
        return facts
    script = _read(endpoint, path, tool, ["--create", "--schema-only", "--section=pre-data", "--file=-"])
    values = dumped(script)
    settings = (
        setting if setting.value is not None else replace(setting, value=values.get((setting.role, setting.name)))
        for setting in facts.settings
    )
    return replace(facts, settings=tuple(settings))


def _read(endpoint: Endpoint, path: Path, tool: PgTools, arguments: Sequence[str]) -> str:
    """What pg_restore makes of a dump without a server."""
    argv = [tool.program("pg_restore"), *arguments]
    try:
        with translated(f"reading the dump {path}"), opened(path) as file:
            if tool.inside and endpoint.door is not None:
                decompress = Pipeline(PARTIAL_DECOMPRESSOR, stdin=file)
                with decompress, endpoint.door(argv, stdin=decompress.stdout) as output:
                    return b"".join(output).decode("utf-8", "replace")
            with Pipeline(PARTIAL_DECOMPRESSOR, Command(argv), stdin=file) as pipeline:
                return pipeline.stdout.read().decode("utf-8", "replace")
    except ProcessError as error:
        raise _explained(error, endpoint, path) from error


def _triggers(endpoint: Endpoint, dbname: str) -> tuple[bool, bool]:
    """Whether sessions of ours there may have triggers keep silent, and whether some fire all the same."""
    with (
        contextlib.closing(connect(endpoint, dbname)) as connection,
        translated_errors(endpoint, "looking at triggers"),
    ):
        silent = connection.info.parameter_status("is_superuser") == "on" or (
            connection.info.server_version >= _MAY_BE_SILENT_SINCE
            and connection.execute(_MAY_BE_SILENT).fetchone() == (True,)
        )
        return silent, connection.execute(_FIRE, (["A", "R"] if silent else ["A", "O"],)).fetchone() == (True,)


class _OwnPath:
    """A decompressed dump as a stream, which leaves the session its own search path."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._head = restoring.with_own_search_path(stream.read(_HEAD_BYTES))

    def read(self, size: int) -> bytes:
        """As of any stream."""
        head, self._head = self._head[:size], self._head[size:]
        return head or self._stream.read(size)


def _inside(door: Door, restore: Command, stdin: Readable) -> bytes:
    argv = [os.fsdecode(part) for part in restore.argv]
    with door(argv, environment={"LC_ALL": "C", **restore.environment}, stdin=stdin) as output:
        for _ in output:  # it has none, but the door feeds it meanwhile
            pass
    return output.stderr


def _fed(restore: Command, file: IO[bytes]) -> bytes:
    """Its first words are changed on the way; it may stop early, when it wants none of the data."""
    with (
        Pipeline(PARTIAL_DECOMPRESSOR, stdin=file) as source,
        Pipeline(restore, stdin=subprocess.PIPE) as target,
        contextlib.suppress(BrokenPipeError),
    ):
        stream = _OwnPath(source.stdout)
        while piece := stream.read(CHUNK):
            target.stdin.write(piece)
    return target.results[-1].stderr


@contextlib.contextmanager
def _passed_on(text: str) -> Iterator[int]:
    """A file without a name that has the text, to be opened anew by another program."""
    descriptor = os.memfd_create("list")
    try:
        with open(descriptor, "w", encoding="ascii", closefd=False) as file:
            file.write(text)
        os.fchmod(descriptor, 0o444)  # whoever pg_restore runs as
        yield descriptor
    finally:
        os.close(descriptor)


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


def _saying(error: ProcessError, text: str) -> ProcessError:
    return ProcessError(Completed(error.program, error.status, b"", text.encode("utf-8", "replace")))


def _explained(error: ProcessError, endpoint: Endpoint, path: Path) -> BackupError:
    return (
        explained(error, endpoint, path)
        or unreadable(error, path)
        or _not_restored(endpoint, path, f"{error.what}: {error.why}")
    )


def _not_restored(endpoint: Endpoint, path: Path, why: str) -> BackupError:
    return BackupError(
        f"The dump {path} could not be restored to {endpoint.name}",
        why,
        "Nothing was changed: correct what the server complains about, then try again",
    )
