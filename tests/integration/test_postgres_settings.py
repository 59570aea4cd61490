"""What a database, a role or the server sets is for applications: dumps go on under our own settings."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.snapshot import hold
from tests.support.job import Site, site
from tests.support.pooler import pooled
from tests.support.postgres import SUPERUSER, Server, dump_to

OURS = {
    "role": "none",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "client_encoding": "UTF8",
    "row_security": "off",
}
HOSTILE = {
    "role": "weak",
    "search_path": "evil, public",
    "statement_timeout": "'200ms'",
    "lock_timeout": "'200ms'",
    "idle_in_transaction_session_timeout": "'200ms'",
    "idle_session_timeout": "'200ms'",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
    "row_security": "on",
}


@pytest.fixture
def hostile(postgres: Server) -> Iterator[str]:
    """A database whose settings would make a dump fail, each in its own way."""
    postgres.sql("CREATE ROLE weak")
    try:
        with postgres.database(
            "hostile",
            "CREATE SCHEMA evil",
            "CREATE FUNCTION evil.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1/0::bigint'",
            "CREATE TABLE notes AS SELECT n, '€' || n AS text FROM generate_series(1, 100) AS n",
            "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
            *(f"ALTER DATABASE hostile SET {name} = {value}" for name, value in HOSTILE.items()),
        ) as name:
            yield name
    finally:
        postgres.sql("DROP ROLE weak")


def test_our_connections_have_our_settings(postgres: Server, hostile: str) -> None:
    with contextlib.closing(connect(postgres.endpoint(), hostile)) as connection:
        for name, value in OURS.items():
            assert connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == (value,)
        assert connection.execute("SELECT current_user").fetchone() == (SUPERUSER,)


def test_settings_of_the_database_change_nothing_about_its_dump(postgres: Server, hostile: str, tmp_path: Path) -> None:
    with hold(postgres.endpoint(), hostile, lock_timeout=5):
        time.sleep(0.5)
    facts = dump_to(tmp_path / "dump", postgres.endpoint(), hostile)
    assert [(table.name, table.rows) for table in facts.tables] == [("public.notes", 100)]
    assert {setting.name for setting in facts.settings} == HOSTILE.keys()


def test_a_run_dumps_a_database_with_hostile_settings(tmp_path: Path, postgres: Server, hostile: str) -> None:
    """With options of the person's own, too: those that are not ours stay."""
    with site(tmp_path) as made:
        dsn = postgres.dsn(dbname=hostile, options="-c role=weak -c work_mem=1MB")
        made.configure({"app": {"postgres": [{"dsn": dsn, "databases": [hostile]}]}})
        made.init().run("run", "app").succeeded()
        made.run("verify", "app/latest").succeeded()


# ---- a pooler between us ---------------------------------------------------------------------------------------------


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure({"app": {"paths": [str(made.data)]}})
        yield made.init()


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_a_pooler_is_refused_and_its_sessions_are_as_they_were(bed: Site, postgres: Server, mode: str) -> None:
    with postgres.database("shop", "CREATE TABLE item AS SELECT 1 AS id") as name, pooled(postgres, mode) as dsn:
        bed.change(postgres=[{"dsn": f"{dsn} dbname={name}", "databases": [name]}])
        done = bed.run("check")
        assert done.code == 1
        said = " ".join(done.out.split())
        assert "is a pooler such as pgbouncer, and not PostgreSQL itself" in said
        assert f"port={postgres.port}" in said
        bed.run("run", "app").failed(69, "pooler", "Name the server itself")
        with psycopg.connect(dsn, dbname=name, autocommit=True, application_name="the app") as application:
            for setting in HOSTILE:
                pooled_value = application.execute("SELECT current_setting(%s)", (setting,)).fetchone()
                (own_value,) = postgres.sql(f"SELECT current_setting('{setting}')", dbname=name)
                assert pooled_value == own_value, setting
            assert application.execute("SELECT id FROM item").fetchone() == (1,)


@pytest.mark.parametrize("more", ["", "ignore_startup_parameters = options"])
def test_a_pooler_is_recognised_whatever_it_makes_of_options(bed: Site, postgres: Server, more: str) -> None:
    with pooled(postgres, "transaction", more) as dsn:
        bed.change(postgres=[{"dsn": f"{dsn} options='-c work_mem=1MB'", "databases": ["postgres"]}])
        bed.run("run", "app").failed(69, "is a pooler", "Name the server itself")
