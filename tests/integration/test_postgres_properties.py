"""What belongs to a database as a whole comes back, what a server lacks is named before anything is restored."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, CorruptError, NotFoundError, UnreachableError
from hiveden_backup.core.model import DatabaseFacts, Extension, Grant, Setting, Table
from hiveden_backup.core.postgres import values as rules
from hiveden_backup.core.postgres.values import STAGED_PREFIX, Endpoint, PgTools
from hiveden_backup.host.postgres import restore as postgres_restore
from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import extension_tables, inspect
from hiveden_backup.host.postgres.restore import Restored, restore_new
from hiveden_backup.host.postgres.swap import discard, put_back, stage, swap
from hiveden_backup.host.postgres.tools import restore_tool
from tests.support.disks import small_disk
from tests.support.postgres import ACCOUNT, SUPERUSER, Server, dump_to

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
SECRET = "it's a \\ jwt"

Restore = Callable[[Path, DatabaseFacts], str]


@pytest.fixture(scope="module", autouse=True)
def roles(postgres: Server) -> Iterator[None]:
    postgres.sql("CREATE ROLE anna", 'CREATE ROLE "O\'Neil"')
    yield
    postgres.sql("DROP ROLE anna", 'DROP ROLE "O\'Neil"')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.local.source.dump.zst"


@pytest.fixture(autouse=True)
def nothing_is_left(postgres: Server) -> Iterator[None]:
    before = postgres.databases()
    yield
    left = postgres.databases() - before
    for name in left:
        postgres.drop(name)
    assert {name for name in left if not name.startswith(STAGED_PREFIX)} <= {
        "target",
        "source",
        "source_before_20261123T023000Z",
    }


@pytest.fixture
def beside(endpoint: Endpoint, tool: PgTools) -> Restore:
    def restore(path: Path, facts: DatabaseFacts) -> str:
        assert restore_new(endpoint, path, facts, "target", tool) == Restored((), ())
        return "target"

    return restore


@pytest.fixture
def in_place(endpoint: Endpoint, tool: PgTools) -> Restore:
    def restore(path: Path, facts: DatabaseFacts) -> str:
        staged, restored = stage(endpoint, path, facts, "source", NOW, tool)
        assert restored == Restored((), ())
        swap(endpoint, staged)
        return "source"

    return restore


def whole(postgres: Server, name: str) -> list[tuple[object, ...]]:
    """All that belongs to a database as a whole, as the server tells it."""
    return postgres.sql(
        f"""
        SELECT pg_get_userbyid(d.datdba), d.datconnlimit, d.datallowconn, shobj_description(d.oid, 'pg_database'),
               (SELECT array_agg(item::text ORDER BY item::text) FROM unnest(d.datacl) AS item),
               (SELECT array_agg(format('%s: %s', s.setrole::regrole, entry) ORDER BY s.setrole, entry)
                FROM pg_db_role_setting AS s, unnest(s.setconfig) AS entry WHERE s.setdatabase = d.oid)
        FROM pg_database AS d WHERE d.datname = '{name}'
        """
    )


@pytest.mark.parametrize("how", ["beside", "in_place"])
def test_all_of_it_comes_back(
    postgres: Server, endpoint: Endpoint, path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    quoted = SECRET.replace("'", "''")
    with postgres.database(
        "source",
        "CREATE TABLE t AS SELECT 1 AS x",
        "ALTER DATABASE source OWNER TO anna",
        "REVOKE ALL ON DATABASE source FROM PUBLIC",
        'GRANT CONNECT ON DATABASE source TO "O\'Neil" WITH GRANT OPTION',
        "GRANT TEMPORARY ON DATABASE source TO PUBLIC",
        "REVOKE CREATE ON DATABASE source FROM anna",
        "ALTER DATABASE source CONNECTION LIMIT 17",
        "COMMENT ON DATABASE source IS 'it''s \\ a shop'",
        "ALTER DATABASE source SET search_path TO public, \"$user\", 'o''dd \"name\"'",
        "ALTER DATABASE source SET TimeZone TO 'Europe/Berlin'",
        "ALTER DATABASE source SET log_min_messages TO 'fatal'",
        "ALTER DATABASE source SET default_transaction_read_only TO on",
        "ALTER DATABASE source SET statement_timeout TO '200ms'",
        f"ALTER DATABASE source SET app.jwt_secret TO '{quoted}'",
        'ALTER ROLE "O\'Neil" IN DATABASE source SET "app.oddName" TO \'x\'',
        "ALTER ROLE anna IN DATABASE source SET work_mem TO '7MB'",
    ):
        facts = dump_to(path, endpoint, "source")
        before = whole(postgres, "source")
        restored = request.getfixturevalue(how)(path, facts)
        assert whole(postgres, restored) == before
        assert "jwt_secret" in str(before)
    assert facts.grants is not None
    assert Grant("O'Neil", "CONNECT", grantable=True) in facts.grants
    assert Setting("", "app.jwt_secret", None) in facts.settings
    assert "jwt" not in json.dumps([setting.value for setting in facts.settings])


@pytest.mark.parametrize("how", ["beside", "in_place"])
def test_nothing_special_stays_so(
    postgres: Server, endpoint: Endpoint, path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    with postgres.database("source", "CREATE TABLE t AS SELECT 1 AS x"):
        facts = dump_to(path, endpoint, "source")
        before = whole(postgres, "source")
        assert before == [(SUPERUSER, -1, True, None, None, None)]
        assert whole(postgres, request.getfixturevalue(how)(path, facts)) == before


def test_settings_are_there_while_the_content_comes(
    postgres: Server, endpoint: Endpoint, path: Path, beside: Restore
) -> None:
    with postgres.database(
        "source",
        "ALTER DATABASE source SET app.tenant TO 'me'",
        "CREATE TABLE t (x text CHECK (x = current_setting('app.tenant')))",
        "INSERT INTO t SELECT set_config('app.tenant', 'me', false)",
    ):
        beside(path, dump_to(path, endpoint, "source"))


def test_what_the_server_refuses_is_a_warning(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    with postgres.database("source"):
        facts = dump_to(path, endpoint, "source")
    odd = (Setting("", "no_such_thing", "1"), Setting("", "work_mem", "blue"), Setting("", "app.key", None))
    changed = replace(facts, settings=odd, tablespace="fast", extensions=(Extension("plpgsql", "0.9"),))
    warnings = restore_new(endpoint, path, changed, "target", tool).warnings
    assert [text.partition(" was not")[0].partition(" does not")[0].partition(", and")[0] for text in warnings] == [
        "The extension plpgsql had the version 0.9",
        "The tablespace fast",
        "The setting app.key",
        "The setting no_such_thing",
        "The setting work_mem",
    ]


def test_analyzed(postgres: Server, endpoint: Endpoint, path: Path, beside: Restore) -> None:
    with postgres.database("source", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x"):
        beside(path, dump_to(path, endpoint, "source"))
    assert postgres.sql("SELECT reltuples::int FROM pg_class WHERE relname = 't'", dbname="target") == [(1000,)]
    assert postgres.sql("SELECT count(*) FROM pg_stats WHERE tablename = 't'", dbname="target") == [(1,)]


def test_an_owner_who_is_no_superuser(postgres: Server, tool: PgTools, path: Path) -> None:
    postgres.sql("CREATE ROLE plain LOGIN CREATEDB PASSWORD 'r'")
    endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="plain", tcp=True, password="r")))
    try:
        with postgres.database("source", "CREATE TABLE t AS SELECT 'old' AS x", options="OWNER plain"):
            postgres.sql("ALTER TABLE t OWNER TO plain", "GRANT CONNECT ON DATABASE source TO plain", dbname="source")
            facts = dump_to(path, endpoint, "source")
            postgres.sql("UPDATE t SET x = 'new'", dbname="source")
            made, restored = stage(endpoint, path, facts, "source", NOW, tool)
            assert restored == Restored((), ())
            swap(endpoint, made)
            assert postgres.sql("SELECT x FROM t", dbname="source") == [("old",)]
            put_back(endpoint, made)
            discard(endpoint, made)
            assert postgres.sql("SELECT x FROM t", dbname="source") == [("new",)]
    finally:
        postgres.sql("DROP ROLE plain")


# ---- what is not as it should be -------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [True, False])
def test_rows_that_are_not_those_of_the_manifest(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, *, in_place: bool
) -> None:
    with postgres.database("source", "CREATE TABLE t AS SELECT 1 AS x", "CREATE TABLE u AS SELECT 1 AS x"):
        facts = dump_to(path, endpoint, "source")
        told = replace(facts, tables=(Table("public.gone", 1), Table("public.t", 2)))
        attempts: dict[bool, Callable[[], Restored]] = {
            True: lambda: stage(endpoint, path, told, "source", NOW, tool)[1],
            False: lambda: restore_new(endpoint, path, told, "target", tool),
        }
        assert [str(each) for each in attempts[in_place]().differences] == [
            "public.gone: no table instead of 1 rows",
            "public.t: 1 rows instead of 2 rows",
            "public.u: 1 rows instead of no table",
        ]
        assert "source" in postgres.databases()


def test_rows_of_an_extension_are_its_own_matter(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of it may bring other rows."""
    with postgres.database("source", "CREATE TABLE t AS SELECT 1 AS x"):
        facts = dump_to(path, endpoint, "source")
        postgres.sql("ALTER EXTENSION plpgsql ADD TABLE t", dbname="source")
        with contextlib.closing(connect(endpoint, "source")) as connection:
            members = extension_tables(connection)
        assert members == {"public.t"}
    monkeypatch.setattr(postgres_restore, "extension_tables", lambda _: members)  # as if the server had such a version
    told = replace(facts, tables=(Table("public.t", 2),))
    warnings = restore_new(endpoint, path, told, "target", tool).warnings
    assert warnings == ("public.t has 1 rows instead of 2 rows: it belongs to an extension",)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t OWNER TO stranger",
        "GRANT SELECT ON t TO stranger",
        "CREATE POLICY p ON t TO stranger",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO stranger",
        "GRANT CONNECT ON DATABASE source TO stranger",
        "ALTER ROLE stranger IN DATABASE source SET work_mem TO '7MB'",
        "ALTER DATABASE source OWNER TO stranger",
    ],
)
def test_missing_role_is_named_before(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, statement: str
) -> None:
    postgres.sql("CREATE ROLE stranger")
    with postgres.database("source", "CREATE TABLE t (x int)", statement):
        facts = dump_to(path, endpoint, "source")
    postgres.sql("DROP ROLE stranger")
    path.unlink()  # it is not even looked at
    with pytest.raises(NotFoundError, match="role stranger does not exist") as caught:
        restore_new(endpoint, path, facts, "target", tool)
    command = f"psql -h {postgres.sockets} -p {postgres.port} -U {SUPERUSER} -d postgres"
    assert str(caught.value).endswith(f": zstd -dc {path.parent}/globals.local.sql.zst | {command}")


def test_backup_that_does_not_tell_the_roles(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    postgres.sql("CREATE ROLE stranger")
    with postgres.database("source", "CREATE TABLE t (x int)", "GRANT SELECT ON t TO stranger"):
        facts = dump_to(path, endpoint, "source")
    postgres.sql("DROP ROLE stranger")
    with pytest.raises(NotFoundError, match=r"role stranger does not exist.*globals\.local\.sql\.zst"):
        restore_new(endpoint, path, replace(facts, roles=()), "target", tool)


def test_extensions_that_cannot_come_back(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    with postgres.database("source"):
        facts = dump_to(path, endpoint, "source")
    lacking = (Extension("vectors", "0.2"), Extension("plpgsql", "1.0"), Extension("postgis", "3.4.1"))
    with pytest.raises(UnreachableError, match=r"needs: vectors 0\.2, postgis 3\.4\.1"):
        restore_new(endpoint, path, replace(facts, extensions=lacking), "target", tool)
    with pytest.raises(BackupError, match=r"TimescaleDB cannot be restored.*timescaledb_pre_restore"):
        stage(endpoint, path, replace(facts, extensions=(Extension("timescaledb", "2"),)), "source", NOW, tool)


def test_disk_of_the_server_that_runs_full(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, bulk: DatabaseFacts
) -> None:
    """Its tablespace is on that disk. What had no room is dropped, which needs none."""
    disk = postgres.directory.with_name("disk")
    disk.mkdir()
    with small_disk(disk, "4m"):
        shutil.chown(disk, ACCOUNT, ACCOUNT)
        postgres.sql(f"CREATE TABLESPACE tiny LOCATION '{disk}'")
        try:
            with pytest.raises(BackupError, match="No space left on device"):
                restore_new(endpoint, path, replace(bulk, tablespace="tiny"), "target", tool)
            assert "target" not in postgres.databases()
        finally:
            postgres.sql("DROP TABLESPACE tiny")
    disk.rmdir()


# ---- several connections ---------------------------------------------------------------------------------------------


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore small dumps as large ones are."""
    monkeypatch.setattr(rules, "PARALLEL_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)


@pytest.fixture
def bulk(postgres: Server, endpoint: Endpoint, path: Path) -> DatabaseFacts:
    """A dump of some tables, 8 MB of text that compress to almost nothing."""
    text = "repeat('x', 1000)"
    with postgres.database(
        "source",
        *(f"CREATE TABLE t{n} AS SELECT k, {text} AS x FROM generate_series(1, 2000) AS k" for n in range(4)),
        *(f"ALTER TABLE t{n} ADD PRIMARY KEY (k)" for n in range(4)),
    ):
        return dump_to(path, endpoint, "source")


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("os_user", [None, ACCOUNT])
def test_several_connections_restore_the_same(
    postgres: Server, tool: PgTools, path: Path, bulk: DatabaseFacts, os_user: str | None
) -> None:
    """Each reads the spool for itself, as the system account that it is started as."""
    dsn = postgres.dsn() if os_user is None else f"host={postgres.sockets} port={postgres.port}"
    endpoint = dsn_endpoint(PostgresSource(dsn=dsn, os_user=os_user))
    assert rules.restore_jobs(path.stat().st_size, 2, tool) == 2
    path.parent.chmod(0o700)
    assert restore_new(endpoint, path, bulk, "target", tool) == Restored((), ())
    assert postgres.sql("SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'", dbname="target") == [(4,)]
    deadline = time.monotonic() + 60  # a stream has two: pg_restore's, and the one that compares
    while int(str(postgres.sql("SELECT sessions FROM pg_stat_database WHERE datname = 'target'")[0][0])) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("size", ["64k", "4m"])
def test_no_room_for_the_spool(
    endpoint: Endpoint, path: Path, bulk: DatabaseFacts, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known before, or found when it is full: the stream needs none."""
    major = inspect(endpoint).major
    disk = path.with_name("disk")
    disk.mkdir()
    monkeypatch.setenv("TMPDIR", str(disk))
    with small_disk(disk, size):
        likely = shutil.disk_usage(disk).free > 10 * path.stat().st_size
        assert likely is (size == "4m")
        assert restore_new(endpoint, path, bulk, "target", restore_tool(endpoint, major, major)) == Restored((), ())


@pytest.mark.usefixtures("several")
def test_failures_of_several_connections(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, bulk: DatabaseFacts
) -> None:
    content = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    path.write_bytes(subprocess.run(["zstd", "-c"], input=content[:-5000], capture_output=True, check=True).stdout)
    with pytest.raises(CorruptError, match="is damaged"):
        restore_new(endpoint, path, bulk, "target", tool)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptError, match="is damaged"):
        restore_new(endpoint, path, bulk, "target", tool)
    postgres.sql("CREATE ROLE stranger")
    with postgres.database("source", "CREATE TABLE t (x int)", "GRANT SELECT ON t TO stranger"):
        facts = dump_to(path, endpoint, "source")
    postgres.sql("DROP ROLE stranger")
    with pytest.raises(NotFoundError, match="role stranger does not exist"):
        restore_new(endpoint, path, replace(facts, roles=()), "target", tool)
