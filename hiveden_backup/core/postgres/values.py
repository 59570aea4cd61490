"""PostgreSQL as values: how a server is reached, what it holds, and the rules of which tool and which databases."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.docker.exec_frames import Readable
from hiveden_backup.core.errors import BackupError, NotFoundError, UnreachableError
from hiveden_backup.core.names import backup_id, did_you_mean
from hiveden_backup.core.postgres.capacity import Capacity

NAME_BYTES = 63
"""What PostgreSQL keeps of a name; it cuts longer ones silently, so they are refused before."""

SCRATCH_PREFIX = "hiveden_scratch_"
"""How the names of databases begin that exist only while something is restored."""

STAGED_PREFIX = "hiveden_staged_"
"""How the names of databases begin that are complete and wait for the name of a live one."""

MAINTENANCE = ("postgres", "template1")
"""Databases to talk to a server through when none is named."""

PARALLEL_BYTES = 32 << 20
"""From what size of a compressed dump on it is restored with several connections."""

MOST_JOBS = 4
"""With how many at most."""

_PARALLEL_SINCE = 14
_KEPT = re.compile(r".+_before_\d{8}T\d{6}Z", re.DOTALL)
_TOOL_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_PASSFILE_LINE = re.compile(r"((?:\\.|[^:\\])*):" * 4 + r"(.*)")
_JOB_ROOM = 24


# ---- reaching a server ---------------------------------------------------------------------------------------------


class ExecStream(Protocol):
    """A program that runs inside a container: its output in chunks, and after the block what it said beside."""

    def __iter__(self) -> Iterator[bytes]:
        """The chunks of its standard output, to the end."""
        ...

    @property
    def stderr(self) -> bytes:
        """Its standard error, complete once the block was left."""
        ...


class Door(Protocol):
    """The way to run a program inside one container, never with a terminal."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        stdin: Readable | None = None,
        seconds: float | None = None,
    ) -> AbstractContextManager[ExecStream]:
        """Start a program, as `user` ("" is the image's own), fed from `stdin`; it has `seconds` in all, if given.

        Leaving the block waits for its end and raises BackupError when its status is not 0. Leaving it by an
        exception lets go of the program, which goes on: the caller ends it by other means.
        """
        ...


@dataclass(frozen=True, slots=True)
class ServerContainer:
    """A running container with a server in it.

    `pid` is its first process on this machine; `addresses` are those that it has on Docker's networks.
    """

    name: str
    pid: int
    environment: Mapping[str, str] = field(repr=False)
    addresses: tuple[str, ...]
    door: Door


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach a server.

    `parameters` are libpq's keywords without dbname and without any secret; `inside` are those for a program that
    runs in the container. `database` is the one to talk through. `passwords` pair a database (or `*`) with a
    password, first match wins. `socket_pid`, when not 0, is a process of the container whose server must answer.
    """

    name: str
    parameters: Mapping[str, str]
    database: str | None = None
    os_user: str | None = None
    passwords: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    door: Door | None = None
    inside: Mapping[str, str] = field(default_factory=dict)
    socket_pid: int = 0

    def password(self, dbname: str) -> str | None:
        """The password for `dbname`, None when libpq is to find its own way."""
        return next((secret for name, secret in self.passwords if name in ("*", dbname)), None)

    @property
    def place(self) -> str:
        """Where the server is, for messages: `127.0.0.1:5432`, or a socket's directory."""
        host = self.parameters.get("hostaddr") or self.parameters.get("host", "")
        port = self.parameters.get("port", "5432")
        return f"{host or 'the default socket'}:{port}"


def passfile_passwords(text: str, hosts: Sequence[str], port: str, user: str) -> tuple[tuple[str, str], ...]:
    """The (database, password) pairs that a libpq password file has for a user of a server known by several names."""
    found = []
    for line in text.split("\n"):
        match = _PASSFILE_LINE.fullmatch(line.rstrip("\r"))
        if match is None or line.startswith("#"):
            continue
        host, at, database, name, password = (re.sub(r"\\(.)", r"\1", part) for part in match.groups())
        if host in ("*", *hosts) and at in ("*", port) and name in ("*", user):
            found.append((database, password))
    return tuple(found)


# ---- what a server holds -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """A database as its server lists it.

    `provider` is `libc`, `icu` or `builtin`; `icu_locale` is the locale of the latter two, else "". `size` is bytes,
    None where the user may not ask.
    """

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    icu_locale: str
    allow_connections: bool
    is_template: bool
    size: int | None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself and of the user who asks. `version_num` is such as 150014.

    `data_directory` is "" where the user may not know it; `tablespaces` are the directories of those outside of it.
    """

    version_num: int
    version: str
    databases: tuple[DatabaseInfo, ...]
    user: str
    superuser: bool
    capacity: Capacity
    data_directory: str = ""
    tablespaces: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        """The server's major version."""
        return self.version_num // 10000


def major_of(server_version: str) -> int:
    """The major version in a server's own words (`15.14 (Debian ...)`, `17beta1`). ValueError if there is none."""
    match = re.match(r"\d+", server_version)
    if match is None:
        raise ValueError(f"not a server version: {server_version!r}")
    return int(match.group())


def is_ours(database: str) -> bool:
    """Whether a database is one that this program made: a scratch or staged one, or an old one kept for undo."""
    return database.startswith((SCRATCH_PREFIX, STAGED_PREFIX)) or _KEPT.fullmatch(database) is not None


def staged_name(live: str, moment: datetime) -> str:
    """What a database is called that waits to become `live`; as long as any name may be."""
    return f"{STAGED_PREFIX}{backup_id(moment)}_{_digest(live, 16)}"


def kept_name(live: str, moment: datetime) -> str:
    """`NAME_before_20261123T023000Z`: what a replaced database is called. A long name is cut, with a digest of it."""
    suffix = f"_before_{backup_id(moment)}"
    room = NAME_BYTES - len(suffix)
    if len(live.encode("utf-8")) > room:
        begin = live.encode("utf-8")[: room - 9].decode("utf-8", "ignore")
        live = f"{begin}~{_digest(live, 8)}"
    return live + suffix


def select_databases(facts: ServerFacts, source: PostgresSource, server: str) -> tuple[str, ...]:
    """The databases to dump: the configured ones, else all that allow connections, are no templates and not ours.

    NotFoundError names a configured one that is missing, BackupError one that allows no connections.
    """
    if not source.databases:
        return tuple(
            sorted(
                info.name
                for info in facts.databases
                if info.allow_connections and not info.is_template and not is_ours(info.name)
            )
        )
    known = {info.name: info for info in facts.databases}
    for name in source.databases:
        if name not in known:
            raise NotFoundError(
                f"The database {name} does not exist on {server}",
                "",
                did_you_mean(name, known, "Correct `databases` in the job's configuration"),
            )
        if not known[name].allow_connections:
            raise BackupError(
                f"The database {name} on {server} allows no connections",
                "It cannot be dumped",
                "Allow them with ALTER DATABASE ... ALLOW_CONNECTIONS true, or take it out of `databases`",
            )
    return source.databases


# ---- which tool ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PgTools:
    """pg_dump, pg_dumpall and pg_restore of one version.

    They are in `directory` on the host, or with `inside` on the PATH of the server's container.
    """

    version: tuple[int, ...]
    directory: str = ""
    inside: bool = False

    @property
    def major(self) -> int:
        """The major version, which decides what fits."""
        return self.version[0]

    def program(self, name: str) -> str:
        """What to start for `name`."""
        return name if self.inside else f"{self.directory}/{name}"


def tool_version(text: str) -> tuple[int, ...] | None:
    """The version in what `pg_dump --version` prints, None if there is none."""
    match = _TOOL_VERSION.search(text)
    return None if match is None else tuple(int(part) for part in match.groups() if part is not None)


def choose_dump_tool(
    server: str, server_major: int, tools: Iterable[PgTools], *, in_container: bool, inside: PgTools | None = None
) -> PgTools:
    """The tools to dump a server with. UnreachableError when none fit; an older one never does.

    Equal majors on the host come first (through the socket), then the container's own (`inside`), then for a server
    on a host a newer one.
    """
    found = sorted(tools, key=lambda tool: tool.version)
    equal = [tool for tool in found if tool.major == server_major]
    if equal:
        return equal[-1]
    if inside is not None and inside.major >= server_major:
        return inside
    newer = [tool for tool in found if tool.major > server_major]
    if newer and not in_container:
        return newer[0]
    raise UnreachableError(
        f"No pg_dump here can dump {server}, which runs PostgreSQL {server_major}",
        f"The host has {_versions(found)}"
        + (f", the container {_versions([inside] if inside else [])}" * in_container),
        f"Install it: apt-get install postgresql-client-{server_major}",
    )


def choose_restore_tool(dump_major: int, tools: Iterable[PgTools], server_major: int | None = None) -> PgTools:
    """The tools to read a dump with: not older than the dump, as near as can be to the server it goes to.

    UnreachableError when there are none: that says nothing against the dump.
    """
    found = sorted(tools, key=lambda tool: tool.version)
    fit = [tool for tool in found if tool.major >= dump_major]
    if not fit:
        raise UnreachableError(
            f"A dump of PostgreSQL {dump_major} cannot be decoded here",
            f"That needs pg_restore {dump_major} or newer, and the host has {_versions(found)}",
            f"Install it: apt-get install postgresql-client-{dump_major}",
        )
    equal = [tool for tool in fit if tool.major == server_major]
    if equal:
        return equal[-1]
    nearest = fit[0].major
    return [tool for tool in fit if tool.major == nearest][-1]


def restore_jobs(size: int, cpus: int, tool: PgTools) -> int:
    """How many connections to restore a dump of `size` compressed bytes with; 1 is a stream without a spool.

    Several pay where there is much to do and more than one processor. Before 14 they cannot read a dump that was
    written to a pipe.
    """
    return min(cpus, MOST_JOBS) if size >= PARALLEL_BYTES and tool.major >= _PARALLEL_SINCE and not tool.inside else 1


def _versions(tools: Sequence[PgTools]) -> str:
    return ", ".join(".".join(map(str, tool.version)) for tool in tools) or "none"


# ---- the names of our backends -------------------------------------------------------------------------------------


def application_prefix(job: str) -> str:
    """How the application_name of every backend of a job's run begins."""
    room = job if len(job) <= _JOB_ROOM else f"{job[: _JOB_ROOM - 9]}~{_digest(job, 8)}"
    return f"hiveden-backup {room} "


def application_name(job: str, backup: str, server: str, database: str) -> str:
    """The application_name of the one pg_dump of a database in a run; at most 63 bytes of ASCII, and unique."""
    return f"{application_prefix(job)}{backup} {_digest(f'{server}/{database}', 6)}"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
