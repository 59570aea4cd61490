"""Dumps back in a new database: complete or not at all; what is missing is named; damage is told from lack of tools."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import (
    BackupError,
    CorruptError,
    DeniedError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from hiveden_backup.core.model import DatabaseFacts, Extension
from hiveden_backup.core.postgres.values import SCRATCH_PREFIX, Endpoint, PgTools
from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.count import row_counts
from hiveden_backup.host.postgres.decode import decode
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.restore import Restored, restore_new
from hiveden_backup.host.postgres.scratch import scratch_database, sweep_scratch
from hiveden_backup.host.postgres.tools import find_tools, restore_tool
from tests.support.postgres import ODD_NAMES, SUPERUSER, Server, dump_to


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.local.source.dump.zst"


@pytest.fixture(scope="module")
def dumped(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatabaseFacts]:
    path = tmp_path_factory.mktemp("dumped") / "dump"
    with postgres.database(
        "source",
        "CREATE TABLE t AS SELECT n, md5(n::text) AS text FROM generate_series(1, 20000) AS n",
        "CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM t",
        "CREATE SEQUENCE numbers",
        "SELECT nextval('numbers'), nextval('numbers')",
    ):
        return path, dump_to(path, postgres.endpoint(), "source")


@pytest.fixture
def facts(dumped: tuple[Path, DatabaseFacts], path: Path) -> DatabaseFacts:
    """A dump at `path`, of a database that is gone since."""
    shutil.copyfile(dumped[0], path)
    return dumped[1]


@pytest.fixture(autouse=True)
def nothing_is_left(postgres: Server) -> Iterator[None]:
    """After each test, only the databases that were there before."""
    before = postgres.databases()
    yield
    assert postgres.databases() == before


@contextlib.contextmanager
def dropped(postgres: Server, name: str) -> Iterator[str]:
    try:
        yield name
    finally:
        postgres.drop(name)


# ---- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["target", *ODD_NAMES])
def test_restore_into_a_new_database(
    postgres: Server, tool: PgTools, path: Path, facts: DatabaseFacts, name: str
) -> None:
    endpoint = postgres.endpoint()
    with dropped(postgres, name):
        assert restore_new(endpoint, path, facts, name, tool) == Restored((), ())
        with contextlib.closing(connect(endpoint, name)) as connection:
            assert row_counts(connection) == facts.tables
        assert postgres.sql("SELECT * FROM seen", dbname=name) == [(20000,)]
        assert postgres.sql("SELECT nextval('numbers')", dbname=name) == [(3,)]
        assert postgres.sql("SELECT count(*) FROM t WHERE text = md5(n::text)", dbname=name) == [(20000,)]


@pytest.mark.parametrize(
    "options",
    [
        "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
        "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
        "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
        "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-u-kn-true' LOCALE 'C.UTF-8'",
    ],
)
def test_encoding_and_locale_come_back(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, options: str
) -> None:
    content = "SET client_encoding = 'UTF8'; CREATE TABLE t AS SELECT 'é'::text AS x"
    with postgres.database("source", content, options=options), dropped(postgres, "target"):
        facts = dump_to(path, endpoint, "source")
        restore_new(endpoint, path, facts, "target", tool)
        known = {info.name: info for info in inspect(endpoint).databases}
        assert replace(known["target"], name="source", size=None) == replace(known["source"], size=None)
        read = "SELECT x::bytea FROM t"
        assert postgres.sql(read, dbname="target") == postgres.sql(read, dbname="source")


def test_owner_comes_back(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    postgres.sql("CREATE ROLE owner")
    with contextlib.ExitStack() as stack:
        stack.callback(postgres.sql, "DROP ROLE owner")
        stack.enter_context(dropped(postgres, "target"))
        stack.enter_context(
            postgres.database("source", "CREATE TABLE t (x int)", "ALTER TABLE t OWNER TO owner", options="OWNER owner")
        )
        restore_new(endpoint, path, dump_to(path, endpoint, "source"), "target", tool)
        assert {info.name: info.owner for info in inspect(endpoint).databases}["target"] == "owner"
        assert postgres.sql("SELECT relowner::regrole::text FROM pg_class WHERE relname = 't'", dbname="target") == [
            ("owner",)
        ]


def test_other_server(second_postgres: Server, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    with dropped(second_postgres, "source"):
        restore_new(second_postgres.endpoint(), path, facts, "source", tool)
        assert second_postgres.sql("SELECT count(*) FROM t", dbname="source") == [(20000,)]


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_existing_database_is_never_touched(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts
) -> None:
    with postgres.database("target", "CREATE TABLE precious AS SELECT 1 AS x"):
        with pytest.raises(BackupError, match=r"exists .* already"):
            restore_new(endpoint, path, facts, "target", tool)
        assert postgres.sql("SELECT * FROM precious", dbname="target") == [(1,)]


@pytest.mark.parametrize("name", ["x" * 64, "ü" * 32, "", "nul\0", "half \udc80"])
def test_name_that_cannot_be(endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts, name: str) -> None:
    with pytest.raises(UsageError):
        restore_new(endpoint, path, facts, name, tool)


def test_missing_owner_is_named(endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    with pytest.raises(NotFoundError, match="role gone does not exist") as caught:
        restore_new(endpoint, path, replace(facts, owner="gone"), "target", tool)
    assert f"zstd -dc {path.parent}/globals.local.sql.zst | psql" in str(caught.value)


def test_missing_role_within_is_named(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    postgres.sql('CREATE ROLE "some one"')
    try:
        with postgres.database("source", "CREATE TABLE t (x int)", 'GRANT SELECT ON t TO "some one"'):
            facts = dump_to(path, endpoint, "source")
    finally:
        postgres.sql('DROP ROLE "some one"')
    with pytest.raises(NotFoundError, match=r"role some one does not exist.*globals\.local"):
        restore_new(endpoint, path, facts, "target", tool)


def test_missing_extension_is_named(endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    with pytest.raises(UnreachableError, match="vectors") as caught:
        restore_new(endpoint, path, replace(facts, extensions=(Extension("vectors", "0.2"),)), "target", tool)
    assert caught.value.exit_code == 69


def test_missing_locale_is_named(endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    with pytest.raises(UnreachableError, match="locale"):
        restore_new(endpoint, path, replace(facts, locale="tlh_KX.UTF-8"), "target", tool)


def test_newer_dump_is_refused(endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    with pytest.raises(BackupError, match="PostgreSQL 99 cannot be restored"):
        restore_new(endpoint, path, replace(facts, server_version="99.1"), "target", tool)


def test_provider_that_the_server_lacks(endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    if inspect(endpoint).major < 17:
        with pytest.raises(BackupError, match="builtin"):
            restore_new(endpoint, path, replace(facts, locale_provider="builtin"), "target", tool)


def test_user_who_may_not_create_databases(postgres: Server, tool: PgTools, path: Path, facts: DatabaseFacts) -> None:
    postgres.sql("CREATE ROLE plain LOGIN PASSWORD 'r'")
    try:
        endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="plain", tcp=True, password="r")))
        with pytest.raises(DeniedError):
            restore_new(endpoint, path, facts, "target", tool)
    finally:
        postgres.sql("DROP ROLE plain")


# ---- damage ----------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def truncate_within(path: Path) -> None:
    """What a killed pg_dump would leave: whole for zstd."""
    content = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    path.write_bytes(subprocess.run(["zstd", "-c"], input=content[:-5000], capture_output=True, check=True).stdout)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def something_else(path: Path) -> None:
    path.write_bytes(subprocess.run(["zstd", "-c"], input=b"SELECT 1;\n", capture_output=True, check=True).stdout)


@pytest.mark.usefixtures("facts")
def test_whole_dump_decodes(path: Path, tool: PgTools) -> None:
    decode(path, tool)


@pytest.mark.parametrize("damage", [truncate, flip, truncate_within, empty, something_else])
def test_damage_is_told(
    endpoint: Endpoint, tool: PgTools, path: Path, facts: DatabaseFacts, damage: Callable[[Path], None]
) -> None:
    damage(path)
    with pytest.raises(CorruptError, match=path.name):
        decode(path, tool)
    with pytest.raises(CorruptError, match=path.name):
        restore_new(endpoint, path, facts, "target", tool)


@pytest.mark.usefixtures("facts")
def test_dump_of_a_newer_pg_dump_is_not_called_corrupt(path: Path, tool: PgTools) -> None:
    content = bytearray(subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout)
    content[6] = 99  # the archive format's minor version
    path.write_bytes(subprocess.run(["zstd", "-c"], input=content, capture_output=True, check=True).stdout)
    with pytest.raises(UnreachableError, match="cannot be decoded here"):
        decode(path, tool)


def test_without_a_fitting_tool_nothing_is_called_corrupt(endpoint: Endpoint) -> None:
    with pytest.raises(UnreachableError, match="cannot be decoded here"):
        restore_tool(endpoint, 99, 99)
    assert restore_tool(endpoint, 12, 12).major >= 12


def test_dump_that_is_gone(tool: PgTools, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no-such-dump"):
        decode(tmp_path / "no-such-dump", tool)


# ---- scratch databases -----------------------------------------------------------------------------------------------


def test_scratch_databases_nobody_works_on_are_swept(
    postgres: Server, endpoint: Endpoint, facts: DatabaseFacts
) -> None:
    left = f"{SCRATCH_PREFIX}{'0' * 16}"
    with (
        postgres.database(left),
        postgres.database(f"{SCRATCH_PREFIX}of_a_person"),
        scratch_database(endpoint, facts) as busy,
    ):
        assert sweep_scratch(endpoint) == (left,)
        assert {busy, f"{SCRATCH_PREFIX}of_a_person"} < postgres.databases()
    assert facts.owner == SUPERUSER
    assert find_tools()


def test_scratch_database_goes_although_it_is_used(postgres: Server, endpoint: Endpoint, facts: DatabaseFacts) -> None:
    def use(name: str) -> None:
        stack.enter_context(contextlib.closing(postgres.connect(name)))
        raise KeyboardInterrupt

    with contextlib.ExitStack() as stack, pytest.raises(KeyboardInterrupt), scratch_database(endpoint, facts) as name:
        use(name)


def test_scratch_database_that_cannot_be_dropped_is_told_of(
    postgres: Server, endpoint: Endpoint, facts: DatabaseFacts
) -> None:
    def fail(name: str) -> None:
        left.append(name)
        postgres.sql(f"ALTER DATABASE {name} IS_TEMPLATE true")  # one way to be in the way of DROP
        raise CorruptError("the first error")

    left: list[str] = []
    with pytest.raises(CorruptError) as caught, scratch_database(endpoint, facts) as name:
        fail(name)
    assert str(caught.value).startswith(f"the first error. The scratch database {left[0]} is still there")
    postgres.sql(f"ALTER DATABASE {left[0]} IS_TEMPLATE false")
    assert sweep_scratch(endpoint) == (left[0],)
