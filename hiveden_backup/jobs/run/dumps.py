"""The databases of a run: reached while validating, held still in the cold pass, written after the start."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from hiveden_backup.core.backup import layout
from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, DeniedError
from hiveden_backup.core.model import Artifact, ArtifactFile, ArtifactType, Check, Status
from hiveden_backup.core.postgres.capacity import Extent, dumps_at_once, shortages
from hiveden_backup.core.postgres.values import (
    Endpoint,
    ServerFacts,
    application_name,
    application_prefix,
    select_databases,
)
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk import stream
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.postgres import connect as connections
from hiveden_backup.host.postgres import dump as pg_dump
from hiveden_backup.host.postgres import inspect as inspection
from hiveden_backup.host.postgres import scratch, tools
from hiveden_backup.host.postgres import snapshot as snapshots
from hiveden_backup.jobs.run.plan import Draft, Plan, Server
from hiveden_backup.jobs.services.servers import endpoint_of

_LOCKED_SECONDS = 10.0
_BLOCKED_POLL = 5.0
_SHOWN_TABLES = 20
_SHOWN_REASONS = 3


def reach(draft: Draft, source: PostgresSource, server_name: str) -> Server:
    """Connect to a source's server and see that it can be dumped; findings for what is only worth a look."""
    endpoint = endpoint_of(source, server_name, draft.docker)
    facts = inspection.inspect(endpoint)
    names = select_databases(facts, source, endpoint.name)
    tool = tools.dump_tool(endpoint, facts.major)
    if not names:
        draft.findings.warn(Check.POSTGRES, f"{endpoint.name} has no database to dump", "Name them in `databases`")
    extents = []
    for name in names:
        with draft.findings.check(Check.POSTGRES):
            extents.append(_look_into(endpoint, facts, name))
    for shortage in shortages(facts.capacity, extents, endpoint.name, facts.user):
        if shortage.status is Status.FAIL:
            draft.findings.fail(Check.POSTGRES, BackupError(shortage.what, "", shortage.hint))
        else:
            draft.findings.warn(Check.POSTGRES, shortage.what, shortage.hint)
    if source.globals and not facts.superuser:
        draft.findings.warn(
            Check.POSTGRES,
            f"{facts.user} is no superuser on {endpoint.name}: roles are dumped without their password hashes",
            "Use a superuser, or set globals = false",
        )
    where = "inside its container" if tool.inside else "on this host"
    version = ".".join(map(str, tool.version))
    draft.findings.ok(
        Check.POSTGRES,
        f"{endpoint.name} runs PostgreSQL {facts.version}, pg_dump {version} {where}; {', '.join(names) or 'nothing'}",
    )
    return Server(source, endpoint, facts, names, tool, dumps_at_once(facts.capacity, extents))


def _look_into(endpoint: Endpoint, facts: ServerFacts, name: str) -> Extent:
    """How large a database is for its dump. DeniedError when the user may not read all of it."""
    with (
        closing(connections.connect(endpoint, name)) as connection,
        connections.translated(endpoint, f"looking into {name}"),
    ):
        extent = inspection.extent(connection)
        lacks = inspection.Unreadable() if facts.superuser else inspection.unreadable(connection)
    if lacks.reasons:
        more = len(lacks.reasons) - _SHOWN_REASONS
        hint = "Use a superuser, or a role with pg_read_all_data and BYPASSRLS"
        raise DeniedError(
            f"{facts.user} cannot dump all of {name} on {endpoint.name}",
            "; ".join(lacks.reasons[:_SHOWN_REASONS]) + (f", and {more} more" if more > 0 else ""),
            connections.LARGE_OBJECTS_HINT.format(user=facts.user) if lacks.large_objects else hint,
        )
    return extent


@dataclass(slots=True)
class _Held:
    """A held moment; `moment` gives it back, `running` is within and ends its pg_dump."""

    server: Server
    snapshot: "snapshots.Snapshot"
    dump: "pg_dump.Dump"
    moment: ExitStack
    running: ExitStack
    begun: bool = False


@dataclass(slots=True)
class Dumps:
    """The dumps of one run. Everything it holds is given back when `stack` is closed.

    The pg_dumps begin before the containers start and are read after it: their own locks must be there first, else a
    start-up migration that waits for our lock stands between pg_dump and its tables until both give up. So many of a
    server at once as `Server.dumps_at_once` says; each that ends gives back its moment, and lets the next one begin.
    """

    job: Job
    backup: str
    stack: ExitStack
    warnings: list[str] = field(default_factory=list)
    _held: list[_Held] = field(default_factory=list)

    def hold(self, servers: Sequence[Server]) -> None:
        """Hold the moment of every database."""
        for server in servers:
            for name in server.names:
                application = application_name(self.job.name, self.backup, server.endpoint.name, name)
                timeout = self.job.dump_lock_timeout
                moment = self.stack.enter_context(ExitStack())
                snapshot = moment.enter_context(snapshots.hold(server.endpoint, name, lock_timeout=timeout))
                dump = pg_dump.dumping(
                    snapshot,
                    server.tool,
                    level=self.job.compression_level,
                    lock_timeout=timeout,
                    application=application,
                )
                self._held.append(_Held(server, snapshot, dump, moment, moment.enter_context(ExitStack())))

    def begin(self) -> None:
        """Start the first pg_dumps and see them hold their own locks; a failure is told when it is read."""
        for server in {id(held.server): held.server for held in self._held}.values():
            for _ in range(server.dumps_at_once):
                self._begin_next(server)
        deadline = time.monotonic() + _LOCKED_SECONDS
        for held in self._held:
            if held.begun and not held.dump.wait_locked(deadline - time.monotonic()):
                self.warnings.append(f"pg_dump of {held.snapshot.dbname} had not locked its tables before the start")

    def _begin_next(self, server: Server) -> None:
        held = next((held for held in self._held if held.server is server and not held.begun), None)
        if held is not None:
            held.begun = True
            held.running.enter_context(held.dump)

    def write(self, incoming: Path, progress: Advance) -> tuple[Artifact, ...]:
        """Write every dump, and the globals of each server, into `incoming`. Failures raise: nothing is published."""
        return tuple(self._write(held, incoming, progress) for held in self._held)

    def _write(self, held: _Held, incoming: Path, progress: Advance) -> Artifact:
        name, server = held.snapshot.dbname, held.server.endpoint.name
        began = time.monotonic()
        path = incoming / layout.dump(server, name)
        watch = _Watch(held.snapshot, progress)
        with translated(f"writing {path.name}"):
            failpoint("dump")
            written = stream.store(held.dump.stream, path, watch.advance)
            held.running.close()
        self.warnings.extend(f"pg_dump of {name} on {server}: {line}" for line in held.dump.warnings)
        self.warnings.extend(watch.blocked)
        facts = held.snapshot.facts()
        counts = held.snapshot.counts()
        held.moment.close()
        self._begin_next(held.server)
        self.warnings.extend(_uncounted(name, server, counts.failures))
        log.info(
            f"Dumped database {name} of {server}",
            job=self.job.name,
            artifact=name,
            bytes=written.bytes,
            seconds=time.monotonic() - began,
        )
        return Artifact(
            type=ArtifactType.DATABASE,
            target=name,
            server=server,
            files=(ArtifactFile(path.name, written.bytes, held.dump.uncompressed_bytes, written.sha256),),
            entries=len(counts.tables),
            sources=(held.server.artifact_source,),
            database=replace(facts, tables=counts.tables),
        )

    def write_globals(self, servers: Sequence[Server], incoming: Path) -> None:
        """Roles and tablespaces of each server; they belong to no artifact."""
        for server in servers:
            if not server.source.globals:
                continue
            application = application_name(self.job.name, self.backup, server.endpoint.name, "")
            path = incoming / layout.globals_of(server.endpoint.name)
            with (
                translated(f"writing {path.name}"),
                pg_dump.dumping_globals(
                    server.endpoint,
                    server.facts,
                    server.tool,
                    level=self.job.compression_level,
                    application=application,
                ) as dump,
            ):
                stream.store(dump.stream, path, lambda _: None)


def _uncounted(name: str, server: str, failures: Mapping[str, str]) -> Iterator[str]:
    for table, why in islice(failures.items(), _SHOWN_TABLES):
        yield f"The rows of {table} in {name} on {server} could not be counted: {why}"
    if len(failures) > _SHOWN_TABLES:
        yield f"Nor those of {len(failures) - _SHOWN_TABLES} more tables of {name}"


class _Watch:
    """Passes progress on, and looks now and then who waits for the dump."""

    def __init__(self, snapshot: "snapshots.Snapshot", progress: Advance) -> None:
        self._snapshot = snapshot
        self._progress = progress
        self._next = time.monotonic() + _BLOCKED_POLL
        self.blocked: list[str] = []

    def advance(self, count: int) -> None:
        self._progress(count)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _BLOCKED_POLL
            for line in self._snapshot.blocked():
                if not self.blocked:
                    log.warning(line)
                    self.blocked.append(line)


def end_leftovers(plan: Plan) -> None:
    """End what killed runs and restores left on the job's servers: pg_dumps that hold locks, scratch databases."""
    for server in plan.servers:
        scratch.sweep_scratch(server.endpoint)
        connections.end_backends(server.endpoint, application_prefix(plan.job.name), prefix=True)
