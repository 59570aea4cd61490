"""Dumps: what they hold, what they count, and that none that failed passes for one that did not."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, DeniedError, Interrupted, UnreachableError
from hiveden_backup.core.model import Table
from hiveden_backup.core.postgres.values import Endpoint, PgTools
from hiveden_backup.host.postgres.dump import Dump, dumping, dumping_globals
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.snapshot import hold
from hiveden_backup.host.postgres.tools import dump_tool, find_tools
from hiveden_backup.host.process import Command, Pipeline
from tests.support.postgres import ACCOUNT, ODD_NAMES, PASSWORD, Server, dump_to, waiting

APPLICATION = "hiveden-backup test"
ROWS = 300_000  # 30 MB: more than all pipes and buffers on the way hold together


@pytest.fixture(scope="module")
def bulk(postgres: Server) -> Iterator[str]:
    with postgres.database(
        "bulk",
        "CREATE TABLE rows AS SELECT n, md5(n::text) || md5((-n)::text) || md5((n * 7)::text) AS text"
        f" FROM generate_series(1, {ROWS}) AS n",
        "CREATE TABLE small AS SELECT 1 AS x",
    ) as name:
        yield name


@pytest.fixture
def tool(endpoint: Endpoint) -> PgTools:
    return dump_tool(endpoint, inspect(endpoint).major)


@pytest.fixture(autouse=True)
def nothing_is_left(postgres: Server) -> Iterator[None]:
    """After each test, no child, no descriptor and no backend of ours is there."""
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    deadline = time.monotonic() + 10
    while postgres.sql("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'hiveden-backup%'"):
        assert time.monotonic() < deadline, "a backend of ours is still there"
        time.sleep(0.05)
    assert not children("pg_dump", "zstd")
    assert len(os.listdir("/proc/self/fd")) == descriptors


def children(*programs: str) -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text().strip() in programs]


@contextlib.contextmanager
def dump(endpoint: Endpoint, name: str, tool: PgTools, *, lock_timeout: float = 5.0) -> Iterator[Dump]:
    with (
        hold(endpoint, name, lock_timeout=lock_timeout) as snapshot,
        dumping(snapshot, tool, level=1, lock_timeout=lock_timeout, application=APPLICATION) as going,
    ):
        yield going


def read(path: Path, *arguments: str) -> str:
    restore = Command([f"{find_tools()[-1].directory}/pg_restore", *arguments])
    with path.open("rb") as file, Pipeline(Command(["zstd", "-dc"]), restore, stdin=file) as pipeline:
        return pipeline.stdout.read().decode()


def read_around(going: Dump, event: Callable[[], object]) -> None:
    """Read a dump to its end, with something that happens in the midst of it."""
    going.stream.read(1000)
    event()
    going.stream.read()


# ---- what a dump holds -----------------------------------------------------------------------------------------------


def test_moment_is_dumped_and_not_what_came_after(
    postgres: Server, endpoint: Endpoint, tool: PgTools, tmp_path: Path
) -> None:
    path = tmp_path / "dump"
    with postgres.database("moment", "CREATE TABLE t AS SELECT generate_series(1, 3) AS x") as name:
        with hold(endpoint, name, lock_timeout=5) as snapshot:
            postgres.sql("INSERT INTO t VALUES (4)", "CREATE TABLE later (x int)", dbname=name)
            with dumping(snapshot, tool, level=3, lock_timeout=5, application=APPLICATION) as going:
                path.write_bytes(going.stream.read())
            assert snapshot.counts().tables == (Table("public.t", 3),)
        assert going.warnings == ()
        assert postgres.sql("SELECT count(*) FROM t", dbname=name) == [(4,)]
    script = read(path, "-f", "-")
    assert "\n1\n2\n3\n\\." in script
    assert "later" not in script


def test_truncate_right_after_the_moment_does_not_empty_it(
    postgres: Server, endpoint: Endpoint, tool: PgTools, bulk: str, tmp_path: Path
) -> None:
    path = tmp_path / "dump"
    with contextlib.ExitStack() as stack, hold(endpoint, bulk, lock_timeout=5) as snapshot:
        with dumping(snapshot, tool, level=1, lock_timeout=5, application=APPLICATION) as going:
            assert going.wait_locked(10)
            stack.enter_context(waiting(postgres, bulk, "BEGIN; TRUNCATE rows; ROLLBACK"))
            with path.open("wb") as file:
                shutil.copyfileobj(going.stream, file)
        assert {table.name: table.rows for table in snapshot.counts().tables} == {
            "public.rows": ROWS,
            "public.small": 1,
        }
    assert read(path, "--data-only", "--table=rows", "-f", "-").count("\n") > ROWS


def test_uncompressed_bytes_are_counted(endpoint: Endpoint, tool: PgTools, bulk: str, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    with dump(endpoint, bulk, tool) as going, path.open("wb") as file:
        shutil.copyfileobj(going.stream, file)
    plain = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    assert going.uncompressed_bytes == len(plain) > 30_000_000
    assert plain.startswith(b"PGDMP")
    assert path.stat().st_size < len(plain)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_database_names(postgres: Server, endpoint: Endpoint, name: str, tmp_path: Path) -> None:
    with postgres.database(name, "CREATE TABLE t AS SELECT 1 AS x"):
        facts = dump_to(tmp_path / "dump", endpoint, name)
    assert facts.tables == (Table("public.t", 1),)
    assert "TABLE DATA public t" in read(tmp_path / "dump", "--list")


def test_several_dumps_begin_at_once_and_are_read_one_after_another(
    endpoint: Endpoint, tool: PgTools, bulk: str
) -> None:
    """So that each holds its locks before an application that starts again wants some."""
    with contextlib.ExitStack() as stack:
        going = []
        for number in range(3):
            snapshot = stack.enter_context(hold(endpoint, bulk, lock_timeout=5))
            application = f"{APPLICATION} {number}"
            going.append(stack.enter_context(dumping(snapshot, tool, level=1, lock_timeout=5, application=application)))
        assert all(one.wait_locked(10) for one in going)
        assert all(len(one.stream.read()) > 10_000_000 for one in going)
    assert len({one.uncompressed_bytes for one in going}) == 1


def test_locks_of_the_dump_are_seen_whatever_the_kind_of_table(
    postgres: Server, endpoint: Endpoint, tool: PgTools
) -> None:
    with postgres.database(
        "kinds",
        "CREATE TABLE parted (x int) PARTITION BY LIST (x)",
        "CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1)",
        "CREATE UNLOGGED TABLE unlogged (x int)",
        "CREATE TABLE parent (x int)",
        "CREATE TABLE child () INHERITS (parent)",
        "CREATE TABLE member (x int)",
        "CREATE TABLE configuration (x int)",
        "ALTER EXTENSION plpgsql ADD TABLE member",
        "ALTER EXTENSION plpgsql ADD TABLE configuration",
        "UPDATE pg_extension SET extconfig = ARRAY['configuration'::regclass::oid], extcondition = ARRAY['']",
        f"CREATE TABLE bulk AS SELECT md5(n::text) || md5((-n)::text) FROM generate_series(1, {ROWS}) AS n",
    ) as name:
        with dump(endpoint, name, tool) as going:
            assert going.wait_locked(5)
            assert going.running
            going.stream.read()
        postgres.sql(
            "ALTER EXTENSION plpgsql DROP TABLE member", "ALTER EXTENSION plpgsql DROP TABLE configuration", dbname=name
        )


def test_peer_authentication(postgres: Server, bulk: str) -> None:
    source = PostgresSource(dsn=f"host={postgres.sockets} port={postgres.port}", os_user=ACCOUNT)
    endpoint = dsn_endpoint(source)
    with dump(endpoint, bulk, dump_tool(endpoint, inspect(endpoint).major)) as going:
        assert going.wait_locked(10)
        (process,) = children("pg_dump")
        assert Path(f"/proc/{process}").owner() == ACCOUNT
        going.stream.read()


def test_password_is_nowhere_in_argv(postgres: Server, tool: PgTools, bulk: str) -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(tcp=True)))
    endpoint = Endpoint("x", endpoint.parameters, passwords=(("*", PASSWORD),))
    with dump(endpoint, bulk, tool) as going:
        assert going.wait_locked(10)
        (process,) = children("pg_dump")
        argv = Path(f"/proc/{process}/cmdline").read_bytes()
        assert b"--snapshot" in argv
        assert PASSWORD.encode() not in argv
        assert b"secret" not in argv
        going.stream.read()


# ---- what fails ------------------------------------------------------------------------------------------------------


def test_application_that_waits_before_the_dump_has_its_locks(
    postgres: Server, endpoint: Endpoint, tool: PgTools, bulk: str
) -> None:
    """It waits for us and the dump for it: only the lock timeout ends that, with an error that says so."""
    with contextlib.ExitStack() as stack, hold(endpoint, bulk, lock_timeout=5) as snapshot:
        stack.enter_context(waiting(postgres, bulk, "ALTER TABLE small ADD y int"))
        going = dumping(snapshot, tool, level=1, lock_timeout=0.3, application=APPLICATION)
        with pytest.raises(BackupError, match=r"database bulk on .*public\.small stayed locked"), going:
            assert not going.wait_locked(0.1)
    postgres.sql("ALTER TABLE small DROP y", dbname=bulk)


@pytest.mark.parametrize("program", ["pg_dump", "zstd"])
def test_killed_member_is_an_error(endpoint: Endpoint, tool: PgTools, bulk: str, program: str) -> None:
    def kill() -> None:
        for process in children(program):
            os.kill(process, signal.SIGKILL)

    with pytest.raises(BackupError, match=f"{program} was ended by signal 9"), dump(endpoint, bulk, tool) as going:
        read_around(going, kill)


def test_server_that_ends_the_dump(postgres: Server, endpoint: Endpoint, tool: PgTools, bulk: str) -> None:
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{APPLICATION}'"
    with pytest.raises(UnreachableError, match="bulk"), dump(endpoint, bulk, tool) as going:
        read_around(going, lambda: postgres.sql(end))


def test_dump_that_is_not_read_to_its_end_is_an_error(endpoint: Endpoint, tool: PgTools, bulk: str) -> None:
    with pytest.raises(BackupError), dump(endpoint, bulk, tool) as going:
        going.stream.read(1000)


@pytest.mark.parametrize("error", [OSError(28, "no space"), Interrupted(15), BrokenPipeError(32, "pipe")])
def test_failure_of_the_reader_ends_everything_at_once(
    endpoint: Endpoint, tool: PgTools, bulk: str, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    begun = time.monotonic()
    with pytest.raises(type(error)) as caught, dump(endpoint, bulk, tool) as going:
        read_around(going, fail)
    assert caught.value is error
    assert time.monotonic() - begun < 5


def test_failure_while_the_dump_waits_for_a_lock(
    postgres: Server, endpoint: Endpoint, tool: PgTools, bulk: str
) -> None:
    begun = time.monotonic()
    with contextlib.ExitStack() as stack, hold(endpoint, bulk, lock_timeout=5) as snapshot:
        stack.enter_context(waiting(postgres, bulk, "ALTER TABLE small ADD y int"))
        with (
            pytest.raises(Interrupted),
            dumping(snapshot, tool, level=1, lock_timeout=60, application=APPLICATION),
        ):
            raise Interrupted(15)
    postgres.sql("ALTER TABLE small DROP y", dbname=bulk)
    assert time.monotonic() - begun < 10


def test_snapshot_that_is_gone(endpoint: Endpoint, tool: PgTools, bulk: str) -> None:
    with hold(endpoint, bulk, lock_timeout=5) as snapshot:
        pass
    with (
        pytest.raises(BackupError, match="snapshot"),
        dumping(snapshot, tool, level=1, lock_timeout=5, application=APPLICATION) as going,
    ):
        going.stream.read()


def test_row_level_security_is_denied(postgres: Server, tool: PgTools) -> None:
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'r'")
    try:
        with postgres.database(
            "guarded",
            "CREATE TABLE t (x int)",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            "GRANT SELECT ON t TO reader",
        ) as name:
            endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="reader", tcp=True, password="r")))
            with pytest.raises(DeniedError, match="BYPASSRLS"), dump(endpoint, name, tool) as going:
                going.stream.read()
            postgres.sql("REVOKE ALL ON t FROM reader", dbname=name)
            with pytest.raises(DeniedError, match="pg_read_all_data"), dump(endpoint, name, tool) as going:
                going.stream.read()
    finally:
        postgres.sql("DROP ROLE reader")


def test_choice_of_tool(endpoint: Endpoint) -> None:
    major = inspect(endpoint).major
    assert dump_tool(endpoint, major).major == major
    with pytest.raises(UnreachableError, match=f"postgresql-client-{major}"):
        dump_tool(endpoint, major, [PgTools((major - 1,), "/old")])
    assert dump_tool(endpoint, major, [PgTools((major + 1,), "/new")]).major == major + 1


# ---- globals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", [None, "odd 'name'"])
def test_globals(postgres: Server, tool: PgTools, database: str | None) -> None:
    endpoint = replace(postgres.endpoint(), database=database)
    with contextlib.ExitStack() as stack:
        if database is not None:
            stack.enter_context(postgres.database(database))
        facts = inspect(endpoint)
        with dumping_globals(endpoint, facts, tool, level=3, application=APPLICATION) as going:
            compressed = going.stream.read()
    script = subprocess.run(["zstd", "-dc"], input=compressed, capture_output=True, check=True).stdout.decode()
    assert f"CREATE ROLE {ACCOUNT};" in script
    assert "SCRAM-SHA-256" in script
    assert going.uncompressed_bytes == len(script)


def test_globals_without_superuser_leave_out_passwords(postgres: Server, tool: PgTools) -> None:
    postgres.sql("CREATE ROLE plain LOGIN PASSWORD 'r'")
    try:
        endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="plain", tcp=True, password="r")))
        facts = inspect(endpoint)
        with dumping_globals(endpoint, facts, tool, level=3, application=APPLICATION) as going:
            compressed = going.stream.read()
    finally:
        postgres.sql("DROP ROLE plain")
    script = subprocess.run(["zstd", "-dc"], input=compressed, capture_output=True, check=True).stdout.decode()
    assert "CREATE ROLE plain;" in script
    assert "SCRAM" not in script


def test_a_lock_timeout_longer_than_postgresql_can_count(postgres: Server) -> None:
    """In milliseconds it counts to 24 days; who asks for more gets those."""
    with postgres.database("patient", "CREATE TABLE item AS SELECT 1 AS id") as name:
        endpoint, month = postgres.endpoint(), 30 * 86400.0
        tool = dump_tool(endpoint, inspect(endpoint).major)
        with (
            hold(endpoint, name, lock_timeout=month) as snapshot,
            dumping(snapshot, tool, level=3, lock_timeout=month, application="hiveden-backup patient") as dump,
        ):
            assert dump.stream.read()
