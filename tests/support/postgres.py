"""Real PostgreSQL servers for tests: private clusters in temporary directories, ended by their own pid."""

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import Endpoint, PgTools, application_name
from hiveden_backup.host.postgres.dump import dumping
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.snapshot import hold
from hiveden_backup.host.postgres.tools import dump_tool, restore_tool
from tests.support import images

ACCOUNT = "postgres"
SUPERUSER = "tester"
PASSWORD = "it's a \\ secret: yes"

ODD_NAMES = [
    "we ird",
    "qu'ote\"d",
    "back\\slash",
    "-dash",
    "a=b",
    "postgresql://x",
    "new\nline",
    "%s %(x)s {}",
    "Ünï",
    "dbname='postgres'",
    "x" * 63,
]

# `postgres` must be the system account; `tester` may come in by the socket; everybody else needs a password.
_RULES = f"""
local all {ACCOUNT} peer
local all {SUPERUSER} trust
local replication {SUPERUSER} trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "shared_buffers": "32MB",
    "listen_addresses": "'127.0.0.1'",
    "log_min_messages": "fatal",
    "jit": "off",
    "max_prepared_transactions": "2",
}


@dataclass(frozen=True)
class Server:
    """A running cluster. Its superuser `tester` needs no password on the socket."""

    programs: Path
    directory: Path
    sockets: Path
    port: int

    def dsn(self, *, user: str = SUPERUSER, tcp: bool = False, **more: str) -> str:
        """A connection string: by socket, or by TCP, where a password is needed."""
        host = "127.0.0.1" if tcp else str(self.sockets)
        parameters = {"host": host, "port": str(self.port), "user": user, **more}
        return " ".join(f"{key}='{value}'" for key, value in parameters.items())

    def endpoint(self) -> Endpoint:
        """How our own code reaches it."""
        return dsn_endpoint(PostgresSource(dsn=self.dsn()))

    def connect(self, dbname: str = "postgres", **more: str) -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the test's own, to be closed by it."""
        return psycopg.connect(self.dsn(), dbname=dbname, autocommit=True, **more)  # type: ignore[arg-type] # libpq's keywords

    def sql(self, *statements: str, dbname: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements one by one; the rows of the last, if it has any."""
        with contextlib.closing(self.connect(dbname)) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def database(self, name: str, *statements: str, options: str = "") -> Iterator[str]:
        """A database for the block, filled by statements."""
        with contextlib.closing(self.connect()) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options)))
        try:
            if statements:
                self.sql(*statements, dbname=name)
            yield name
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database if it is there, whoever uses it."""
        with contextlib.closing(self.connect()) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def restart(self) -> None:
        """Stop it in order, and start it again: what it had in memory is gone."""
        self.as_account("pg_ctl", "restart", "-w", "-D", str(self.directory), "-l", str(self.directory / "log"))

    def databases(self) -> set[str]:
        """The names of all databases."""
        return {str(name) for (name,) in self.sql("SELECT datname FROM pg_database")}

    def as_account(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its system account."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            user=ACCOUNT,
            group=pwd.getpwnam(ACCOUNT).pw_gid,
            extra_groups=[],
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            log = self.directory / "log"
            pytest.fail(f"{program} failed: {done.stderr.decode()}{log.read_text() if log.exists() else ''}")


@contextlib.contextmanager
def running_server(
    *, version: str = "", sockets: Sequence[Path] = (), port: int | None = None, settings: Mapping[str, object] = {}
) -> Iterator[Server]:
    """A new cluster for the block. `sockets` are directories to listen in beside its own."""
    if getpass.getuser() != "root":
        pytest.fail("tests with a real PostgreSQL run as root")
    account = pwd.getpwnam(ACCOUNT)
    top = Path(tempfile.mkdtemp(prefix="hb-pg-"))
    server = Server(
        programs=images.postgres_programs(version),
        directory=top / "data",
        sockets=top / "run",
        port=_free_port() if port is None else port,
    )
    try:
        os.chown(top, account.pw_uid, account.pw_gid)
        for path in (server.directory, server.sockets):
            path.mkdir(mode=0o700 if path == server.directory else 0o755)
            os.chown(path, account.pw_uid, account.pw_gid)
        top.chmod(0o755)
        _make_cluster(server, sockets, settings)
        with _started(server):
            yield server
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def _started(server: Server) -> Iterator[None]:
    server.as_account("pg_ctl", "start", "-w", "-D", str(server.directory), "-l", str(server.directory / "log"))
    try:
        yield
    finally:
        server.as_account("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(server.directory))


@contextlib.contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """A server that follows `primary`, which can only be read."""
    top = Path(tempfile.mkdtemp(prefix="hb-pg-"))
    server = Server(primary.programs, top / "data", top / "run", _free_port())
    try:
        for path in (top, server.sockets):
            path.mkdir(mode=0o755, exist_ok=True)
            path.chmod(0o755)
            shutil.chown(path, ACCOUNT, ACCOUNT)
        where = [f"--host={primary.sockets}", f"--port={primary.port}", f"--username={SUPERUSER}"]
        server.as_account("pg_basebackup", *where, "-R", "--checkpoint=fast", "-D", str(server.directory))
        with open(server.directory / "postgresql.conf", "a") as file:
            file.write(f"port = {server.port}\nunix_socket_directories = '{server.sockets}'\n")
        with _started(server):
            yield server
    finally:
        shutil.rmtree(top)


def _make_cluster(server: Server, sockets: Sequence[Path], more: Mapping[str, object]) -> None:
    secret = server.directory.with_name("password")
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    server.as_account(
        "initdb",
        f"--pgdata={server.directory}",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        f"--username={SUPERUSER}",
        f"--pwfile={secret}",
    )
    settings = {
        **_SETTINGS,
        "port": str(server.port),
        "unix_socket_directories": f"'{','.join(str(path) for path in (server.sockets, *sockets))}'",
        **more,
    }
    with open(server.directory / "postgresql.conf", "a") as file:
        file.writelines(f"{key} = {value}\n" for key, value in settings.items())
    (server.directory / "pg_hba.conf").write_text(_RULES)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server that all tests share: each makes databases and roles of its own and drops them."""
    with running_server() as server:
        server.sql(f"CREATE ROLE {ACCOUNT} SUPERUSER LOGIN")
        yield server


@pytest.fixture(scope="session")
def second_postgres() -> Iterator[Server]:
    """Another server beside it."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def endpoint(postgres: Server) -> Endpoint:
    """The shared server, as our own code reaches it."""
    return postgres.endpoint()


@pytest.fixture(scope="session")
def tool(endpoint: Endpoint) -> PgTools:
    """What restores there."""
    major = inspect(endpoint).major
    return restore_tool(endpoint, major, major)


def dump_to(path: Path, endpoint: Endpoint, dbname: str, *, tool: PgTools | None = None) -> DatabaseFacts:
    """Dump a database as a run does; its facts, tables included."""
    with hold(endpoint, dbname, lock_timeout=5.0) as snapshot:
        chosen = dump_tool(endpoint, inspect(endpoint).major) if tool is None else tool
        application = application_name("test", "20260101T000000Z", endpoint.name, dbname)
        with dumping(snapshot, chosen, level=1, lock_timeout=5.0, application=application) as dump:
            with path.open("wb") as file:
                shutil.copyfileobj(dump.stream, file)
            facts = replace(snapshot.facts(), tables=snapshot.counts().tables)
    assert dump.warnings == ()
    return facts


@contextlib.contextmanager
def waiting(server: Server, dbname: str, statement: str, application: str = "app") -> Iterator[None]:
    """A backend that tries `statement` and waits for its lock while the block runs."""
    failures: list[Exception] = []

    def attempt() -> None:
        with contextlib.closing(server.connect(dbname, application_name=application)) as connection:
            try:
                connection.execute(statement.encode())
            except psycopg.Error as error:
                failures.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    query = f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{application}' AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 10
    while not server.sql(query):
        assert time.monotonic() < deadline, f"{statement} does not wait: {failures}"
        time.sleep(0.02)
    try:
        yield
    finally:
        thread.join()
    assert not failures
