"""A held moment: what comes after it is not seen, what was there cannot go, nothing ends it, waiters are reported."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.core.model import Extension, Table
from hiveden_backup.host.postgres.connect import end_backends
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.snapshot import hold
from tests.support.postgres import SUPERUSER, Server, waiting


@pytest.fixture
def shop(postgres: Server) -> Iterator[str]:
    with postgres.database(
        "shop",
        "CREATE TABLE orders (id int PRIMARY KEY)",
        "INSERT INTO orders SELECT generate_series(1, 1000)",
    ) as name:
        yield name


def test_facts_and_rows_are_those_of_the_moment(postgres: Server, shop: str) -> None:
    postgres.sql('CREATE TABLE "Odd.Name" (x int)', "CREATE TABLE kept (x int)", dbname=shop)
    with hold(postgres.endpoint(), shop, lock_timeout=5) as snapshot:
        postgres.sql("INSERT INTO orders SELECT generate_series(1001, 1500)", dbname=shop)
        postgres.sql("CREATE TABLE later (x int)", dbname=shop)
        assert snapshot.counts().tables == (
            Table('public."Odd.Name"', 0),
            Table("public.kept", 0),
            Table("public.orders", 1000),
        )
        facts = snapshot.facts()
        assert snapshot.superuser
        assert snapshot.id
    assert (facts.encoding, facts.locale, facts.ctype, facts.locale_provider, facts.icu_locale, facts.owner) == (
        "UTF8",
        "C.UTF-8",
        "C.UTF-8",
        "libc",
        "",
        SUPERUSER,
    )
    assert [extension.name for extension in facts.extensions] == ["plpgsql"]
    assert isinstance(facts.extensions[0], Extension)
    assert facts.server_version.startswith(str(inspect(postgres.endpoint()).major))


def test_truncate_waits_until_the_moment_is_let_go(postgres: Server, shop: str) -> None:
    with contextlib.ExitStack() as stack, hold(postgres.endpoint(), shop, lock_timeout=5) as snapshot:
        assert snapshot.blocked() == ()
        # left after the moment is let go, since only then it goes on
        stack.enter_context(waiting(postgres, shop, "TRUNCATE orders", "the app"))
        (told,) = snapshot.blocked()
        assert told.startswith(f"the app (user {SUPERUSER}, backend ")
        assert "shop" in told
        assert snapshot.counts().tables == (Table("public.orders", 1000),)
    assert postgres.sql("SELECT count(*) FROM orders", dbname=shop) == [(0,)]


def test_waiters_are_reported_to_a_user_who_may_see_little_of_them(postgres: Server, shop: str) -> None:
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'r'")
    try:
        postgres.sql("GRANT SELECT ON orders TO reader", dbname=shop)
        endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="reader", tcp=True, password="r")))
        with contextlib.ExitStack() as stack, hold(endpoint, shop, lock_timeout=5) as snapshot:
            stack.enter_context(waiting(postgres, shop, "BEGIN; LOCK TABLE orders; ROLLBACK", "the app"))
            (told,) = snapshot.blocked()
            assert f"user {SUPERUSER}" in told
            assert "None" not in told
    finally:
        postgres.sql("DROP OWNED BY reader", dbname=shop)
        postgres.sql("DROP ROLE reader")


def test_which_tables_are_locked_and_counted(postgres: Server) -> None:
    with postgres.database(
        "kinds",
        "CREATE TABLE plain (x int)",
        "CREATE UNLOGGED TABLE unlogged (x int)",
        "INSERT INTO unlogged VALUES (1)",
        "CREATE TABLE parent (x int)",
        "CREATE TABLE child () INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1), (2)",
        "CREATE TABLE parted (x int) PARTITION BY LIST (x)",
        "CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1)",
        "INSERT INTO parted VALUES (1)",
        "CREATE MATERIALIZED VIEW seen AS SELECT * FROM parent",
        "CREATE VIEW looked AS SELECT * FROM parent",
        "CREATE TABLE member (x int)",
        "CREATE TABLE configuration (x int)",
        "ALTER EXTENSION plpgsql ADD TABLE member",
        "ALTER EXTENSION plpgsql ADD TABLE configuration",
        "INSERT INTO configuration VALUES (1), (2), (3)",
        "UPDATE pg_extension SET extconfig = ARRAY['configuration'::regclass::oid],"
        " extcondition = ARRAY['WHERE x > 1']",
    ) as name:
        locked = "SELECT relation::regclass::text FROM pg_locks WHERE mode = 'AccessShareLock' AND relation > 16383"
        with hold(postgres.endpoint(), name, lock_timeout=5) as snapshot:
            rows = {table.name: table.rows for table in snapshot.counts().tables}
            tables = {str(table) for (table,) in postgres.sql(locked, dbname=name)}
        postgres.sql(
            "ALTER EXTENSION plpgsql DROP TABLE member", "ALTER EXTENSION plpgsql DROP TABLE configuration", dbname=name
        )
    assert rows == {
        "public.plain": 0,
        "public.unlogged": 1,
        "public.parent": 1,
        "public.child": 2,
        "public.part_1": 1,
        "public.configuration": 2,
    }
    assert {"plain", "unlogged", "parent", "child", "parted", "part_1", "member", "configuration"} <= tables


@pytest.mark.parametrize("where", ["DATABASE shop", f"ROLE {SUPERUSER}"])
def test_timeouts_of_server_role_and_database_do_not_end_it(postgres: Server, shop: str, where: str) -> None:
    names = ["idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout", "idle_session_timeout"]
    postgres.sql(*(f"ALTER {where} SET {name} = '200ms'" for name in names))
    try:
        with hold(postgres.endpoint(), shop, lock_timeout=5) as snapshot:
            time.sleep(0.6)
            assert snapshot.counts().tables == (Table("public.orders", 1000),)
    finally:
        postgres.sql(f"ALTER {where} RESET ALL")


def test_table_that_stays_locked_is_named_with_its_holder(postgres: Server, shop: str) -> None:
    with contextlib.closing(postgres.connect(shop, application_name="vacuum cleaner")) as connection:
        connection.execute("BEGIN; LOCK TABLE orders")
        with (
            pytest.raises(BackupError, match=r"public\.orders of shop .* locked for 0\.2 seconds.*vacuum cleaner"),
            hold(postgres.endpoint(), shop, lock_timeout=0.2),
        ):
            pytest.fail("it was locked")


def test_prepared_transaction_that_holds_a_table_is_named_with_what_ends_it(postgres: Server, shop: str) -> None:
    postgres.sql("BEGIN", "LOCK TABLE orders", "PREPARE TRANSACTION 'forgotten one'", dbname=shop)
    try:
        with (
            pytest.raises(
                BackupError,
                match=r"public\.orders .*forgotten one \(user tester, .* ROLLBACK PREPARED 'forgotten one' in",
            ),
            hold(postgres.endpoint(), shop, lock_timeout=0.2),
        ):
            pytest.fail("it was locked")
    finally:
        postgres.sql("ROLLBACK PREPARED 'forgotten one'", dbname=shop)


def test_lock_that_is_let_go_in_time_is_waited_for(postgres: Server, shop: str) -> None:
    with contextlib.closing(postgres.connect(shop)) as connection:
        connection.execute("BEGIN; TRUNCATE orders; INSERT INTO orders VALUES (7)")
        timer = threading.Timer(0.3, lambda: connection.execute("COMMIT"))
        timer.start()
        with hold(postgres.endpoint(), shop, lock_timeout=10) as snapshot:
            assert snapshot.counts().tables == (Table("public.orders", 1),)
        timer.join()


def test_tables_that_come_and_go_meanwhile(postgres: Server, shop: str) -> None:
    """Whatever the moment shows is locked: the listing and the locks agree, and no dropped table is stumbled over."""
    stop = threading.Event()

    def churn() -> None:
        with contextlib.closing(postgres.connect(shop)) as connection:
            number = 0
            while not stop.is_set():
                connection.execute(f"CREATE TABLE t{number} (x int)".encode())
                if number >= 3:
                    connection.execute(f"DROP TABLE t{number - 3}".encode())
                number += 1
                time.sleep(0.01)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            with hold(postgres.endpoint(), shop, lock_timeout=5) as snapshot:
                tables = {table.name for table in snapshot.counts().tables}
                assert "public.orders" in tables
                assert len(tables) == len(snapshot.tables)
    finally:
        stop.set()
        thread.join()


def test_empty_database(postgres: Server) -> None:
    with postgres.database("empty") as name, hold(postgres.endpoint(), name, lock_timeout=5) as snapshot:
        assert snapshot.tables == ()
        assert snapshot.counts().tables == ()


def test_holder_that_was_ended_is_noticed(postgres: Server, shop: str) -> None:
    with hold(postgres.endpoint(), shop, lock_timeout=5, application="holder") as snapshot:
        assert end_backends(postgres.endpoint(), "holder") == 1
        with pytest.raises(UnreachableError, match="connection was lost"):
            snapshot.facts()


def test_rows_hidden_by_row_level_security_are_not_silently_left_out(postgres: Server, shop: str) -> None:
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'r'")
    try:
        postgres.sql("GRANT SELECT ON orders TO reader", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY", dbname=shop)
        endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="reader", tcp=True, password="r")))
        with hold(endpoint, shop, lock_timeout=5) as snapshot:
            assert not snapshot.superuser
            assert snapshot.counts().tables == (Table("public.orders", None),)
            assert "row-level security" in snapshot.counts().failures["public.orders"]
    finally:
        postgres.sql("DROP OWNED BY reader", dbname=shop)
        postgres.sql("DROP ROLE reader")
