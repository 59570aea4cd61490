"""Dumps as streams: pg_dump or pg_dumpall, on this host or inside the container, through zstd."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Self

from hiveden_backup.core.errors import BackupError, DeniedError, UnreachableError
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.postgres.values import Endpoint, ExecStream, PgTools, ServerFacts
from hiveden_backup.host.disk.durable import translate
from hiveden_backup.host.disk.stream import compressor
from hiveden_backup.host.postgres.connect import LARGE_OBJECTS_HINT, end_backends, milliseconds, session_options
from hiveden_backup.host.postgres.snapshot import Snapshot
from hiveden_backup.host.postgres.tools import command
from hiveden_backup.host.process import Command, Pipeline, ProcessError
from hiveden_backup.host.signals import begin, deferred

_CHUNK = 1 << 20
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 10.0
_MAX_WARNINGS = 20
_LOCK_QUERY = re.compile(r"Query was: LOCK TABLE (?:ONLY )?(.+?) IN ACCESS SHARE MODE", re.DOTALL)
_DENIED_WORDS = ("permission denied", "authentication failed", "no password supplied", "pg_hba.conf")
_LOST_WORDS = ("connection to server", "server closed the connection", "terminating connection", "version mismatch")


def dump_command(snapshot: Snapshot, tool: PgTools, *, lock_timeout: float, application: str) -> Command:
    """The pg_dump of a held snapshot: custom format, not compressed, on standard output."""
    arguments = [
        "--format=custom",
        "--compress=0",
        f"--snapshot={snapshot.id}",
        f"--encoding={snapshot.encoding}",  # whatever a setting says of clients
        f"--lock-wait-timeout={milliseconds(lock_timeout)}",
    ]
    return command(
        snapshot.endpoint,
        tool,
        "pg_dump",
        arguments,
        dbname=snapshot.dbname,
        application=application,
        options=session_options(snapshot.server_version, superuser=snapshot.superuser),
    )


def globals_command(endpoint: Endpoint, facts: ServerFacts, tool: PgTools, *, application: str) -> Command:
    """The pg_dumpall of roles and tablespaces; without password hashes unless the user is a superuser."""
    arguments = ["--globals-only"]
    if not facts.superuser:
        arguments.append("--no-role-passwords")
    if endpoint.database is not None:
        arguments.append(f"--database={endpoint.database}")
    options = session_options(facts.version_num, superuser=facts.superuser)
    return command(endpoint, tool, "pg_dumpall", arguments, dbname=None, application=application, options=options)


def dumping(snapshot: Snapshot, tool: PgTools, *, level: int, lock_timeout: float, application: str) -> "Dump":
    """The dump of a held snapshot, for a `with` block; it begins at once, and waits when nobody reads."""
    return Dump(
        snapshot.endpoint,
        dump_command(snapshot, tool, lock_timeout=lock_timeout, application=application),
        label=f"the database {snapshot.dbname} on {snapshot.endpoint.name}",
        application=application,
        level=level,
        inside=tool.inside,
        joined=lambda: snapshot.joined(application),
    )


def dumping_globals(endpoint: Endpoint, facts: ServerFacts, tool: PgTools, *, level: int, application: str) -> "Dump":
    """The roles and tablespaces of a server, for a `with` block."""
    return Dump(
        endpoint,
        globals_command(endpoint, facts, tool, application=application),
        label=f"the roles and tablespaces of {endpoint.name}",
        application=application,
        level=level,
        inside=tool.inside,
    )


class Dump:
    """A dump on its way. `stream` gives the compressed bytes, to be read to their end.

    Leaving the block raises when any program failed; leaving it by an exception ends them. `uncompressed_bytes` grows
    while it runs; `warnings` are there once the block was left.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        source: Command,
        *,
        label: str,
        application: str,
        level: int,
        inside: bool,
        joined: Callable[[], bool] = lambda: True,
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        self._label = label
        self._application = application
        self._inside = inside
        self._joined = joined
        self._compressor = Pipeline(compressor(level), stdin=subprocess.PIPE)
        self._running = contextlib.ExitStack()  # the source
        self._feeder = threading.Thread()
        self._move: Callable[[int], None] = lambda _target: None
        self._stderr: Callable[[], bytes] = lambda: b""
        self._trouble: BaseException | None = None
        self._cut_off = False
        self.uncompressed_bytes = 0
        self.warnings: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        try:
            self._compressor.__enter__()
            self._start_source()
            target = _taken(self._compressor.stdin)
            feeder = threading.Thread(target=self._feed, args=(target,), name="dump feeder", daemon=True)
            with deferred():
                begin(feeder)
                self._feeder = feeder
        except BaseException as error:
            self._abandon(error)
            raise
        return self

    @property
    def stream(self) -> IO[bytes]:
        """The compressed dump."""
        return self._compressor.stdout

    @property
    def running(self) -> bool:
        """Whether the dump still has something to give."""
        return self._feeder.is_alive()

    def wait_locked(self, timeout: float) -> bool:
        """Wait until the dump holds its own locks, or has ended. False when `timeout` seconds pass before.

        From then on a migration that wants a table waits for the dump instead of standing in its way.
        """
        deadline = time.monotonic() + timeout
        while self.running and not self._joined():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._abandon(error)
            return
        try:
            failures = self._finish()
        except BaseException as interruption:
            self._abandon(interruption)
            raise
        if failures:
            first = min(failures, key=_is_echo)
            explained = _explained(first, self._label)
            raise explained from (None if explained is first else first)
        if not self.uncompressed_bytes:
            raise BackupError(f"Dumping {self._label} gave nothing", f"{self._source.program} said that all is well")
        said = split_lines(self._stderr().decode("utf-8", "replace"))
        self.warnings = tuple(line.strip() for line in said if line.strip())[:_MAX_WARNINGS]

    def _start_source(self) -> None:
        if self._inside and self._endpoint.door is not None:
            argv = [os.fsdecode(part) for part in self._source.argv]
            chunks = self._running.enter_context(self._endpoint.door(argv, environment=self._source.environment))
            self._move = lambda target: self._copy(chunks, target)
            self._stderr = lambda: chunks.stderr
        else:
            pipeline = self._running.enter_context(Pipeline(self._source))
            source = _taken(pipeline.stdout)
            self._move = lambda target: self._splice(source, target)
            self._stderr = lambda: pipeline.results[0].stderr

    def _feed(self, target: int) -> None:
        """The thread's work. It alone owns the ends of the pipes that it uses."""
        try:
            self._move(target)
        except BrokenPipeError:  # the compressor ended, and says why
            self._cut_off = True
        except BaseException as error:  # noqa: BLE001 - raised again where the block is left
            self._trouble = error
        finally:
            os.close(target)

    def _splice(self, source: int, target: int) -> None:
        """Move the bytes from pipe to pipe within the kernel: all that is wanted of them is their number."""
        try:
            while moved := os.splice(source, target, _CHUNK):
                self.uncompressed_bytes += moved
        finally:
            os.close(source)

    def _copy(self, chunks: ExecStream, target: int) -> None:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
            self.uncompressed_bytes += len(chunk)

    def _finish(self) -> list[BaseException]:
        """Wait for all of them; what failed."""
        self._compressor.stdout.close()  # so that a reader who stopped early does not hold up the rest
        self._feeder.join()
        failures: list[BaseException] = [] if self._trouble is None else [self._trouble]
        if self._cut_off and self._inside:
            end_backends(self._endpoint, self._application)
        leave: list[Callable[[], object]] = [self._running.close, lambda: self._compressor.__exit__(None, None, None)]
        for step in reversed(leave) if self._cut_off else leave:  # whoever failed first is heard first
            try:
                step()
            except (BackupError, OSError) as failure:
                failures.append(failure)
        return failures

    def _abandon(self, error: BaseException) -> None:
        """End everything. A pg_dump inside a container goes on without us, so the server has to end it.

        Whatever fails in that, `error` is the one to tell.
        """
        self._try(error, lambda: self._compressor.__exit__(BaseException, error, None))
        if self._inside and self.running:
            self._try(error, lambda: end_backends(self._endpoint, self._application))
        self._try(error, lambda: self._running.__exit__(BaseException, error, None))
        if self._feeder.ident is not None:
            self._feeder.join(_PATIENCE_SECONDS)

    @staticmethod
    def _try(error: BaseException, step: Callable[[], object]) -> None:
        try:
            step()
        except (BackupError, OSError) as failure:
            error.add_note(f"While ending the dump: {failure}")


def _taken(pipe: IO[bytes]) -> int:
    """A descriptor of our own in place of `pipe`, so that nobody closes it under a thread that uses it."""
    descriptor = os.dup(pipe.fileno())
    pipe.close()
    return descriptor


def _is_echo(error: BaseException) -> bool:
    """Whether an error only tells that the other end of a pipe was gone."""
    if isinstance(error, ProcessError):
        return error.status == -signal.SIGPIPE or "Broken pipe" in error.stderr
    return isinstance(error, BrokenPipeError)


def _explained(error: BaseException, label: str) -> BaseException:
    """The failure of a dump as its reader should see it."""
    if isinstance(error, OSError):
        return translate(error, f"dumping {label}")
    return _refusal(error, f"Dumping {label} failed") if isinstance(error, ProcessError) else error


def _refusal(error: ProcessError, what: str) -> BackupError:
    said = error.stderr
    lock = _LOCK_QUERY.search(said)
    if "row-level security" in said:
        return DeniedError(what, error.why, "Give the user BYPASSRLS, or use a superuser")
    if "permission denied for large object" in said:
        return DeniedError(what, error.why, LARGE_OBJECTS_HINT.format(user="ROLE"))
    if any(words in said for words in _DENIED_WORDS):
        return DeniedError(what, error.why, "Use a superuser, or grant pg_read_all_data to the user")
    if lock is not None:
        return BackupError(
            what,
            f"The table {lock[1]} stayed locked for longer than `dump_lock_timeout`",
            "Look in pg_stat_activity for who holds or wants it, and run again",
        )
    if any(words in said for words in _LOST_WORDS):
        return UnreachableError(what, error.why, "Look at the server's log, then run again")
    return BackupError(what, f"{error.what}: {error.why}", "Look at the server's log, then run again")
