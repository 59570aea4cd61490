"""Counting the rows never costs a dump: what cannot be counted is named, and counted is what the tables have."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.host.postgres.snapshot import hold
from tests.support.job import Site, site
from tests.support.postgres import Server, running_server, standby

EARTH = (
    "CREATE EXTENSION earthdistance CASCADE",
    "CREATE TABLE places AS SELECT n AS id, n % 90.0 AS lat, n % 180.0 AS lon FROM generate_series(1, 100) AS n",
    "CREATE INDEX ON places USING gist (ll_to_earth(lat, lon))",
)
UNACCENT = (
    "CREATE EXTENSION unaccent",
    "CREATE FUNCTION plain(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT unaccent(''unaccent'', $1)'",
    "CREATE TABLE names AS SELECT 'Zoë ' || n AS name FROM generate_series(1, 50) AS n",
    "CREATE INDEX ON names (plain(name))",
)


@pytest.fixture
def dumping(tmp_path: Path) -> Iterator[Callable[[Server, str], Site]]:
    """An installation whose job dumps a database, after its first run."""

    def make(server: Server, database: str) -> Site:
        made.configure({"app": {"postgres": [{"dsn": server.dsn(), "databases": [database]}]}})
        made.init().run("run", "app").succeeded()
        made.run("verify", "app/latest").succeeded()
        return made

    with site(tmp_path) as made:
        yield make


def rows(made: Site) -> dict[str, int | None]:
    (artifact,) = database_artifacts(made)
    return {table["name"]: table["rows"] for table in artifact["tables"]}


def database_artifacts(made: Site) -> list[dict[str, Any]]:
    return [each for each in made.manifest()["artifacts"] if each["type"] == "database"]


@pytest.mark.parametrize(
    ("statements", "table", "word"),
    [(EARTH, "public.places", '"earth" does not exist'), (UNACCENT, "public.names", "unaccent")],
    ids=["earthdistance", "unaccent"],
)
def test_an_index_whose_function_relies_on_search_path(
    postgres: Server,
    dumping: Callable[[Server, str], Site],
    statements: tuple[str, ...],
    table: str,
    word: str,
) -> None:
    with postgres.database("atlas", *statements, "CREATE TABLE other AS SELECT generate_series(1, 7)") as name:
        made = dumping(postgres, name)
    assert rows(made) == {table: None, "public.other": 7}
    (warning,) = made.manifest()["warnings"]
    assert f"The rows of {table} in atlas" in warning
    assert word in warning
    assert made.record()["result"] == "success"
    assert made.run("show", "app/latest", "--json").json["manifest"]["warnings"] == [warning]


def test_an_index_that_lacks_rows_is_not_what_is_counted(
    postgres: Server, dumping: Callable[[Server, str], Site]
) -> None:
    """As CREATE INDEX CONCURRENTLY of 14.0 to 14.3 left them."""
    ready = "UPDATE pg_index SET indisready = {0}, indisvalid = {0} WHERE indexrelid = 'item_id_idx'::regclass"
    with postgres.database(
        "shop",
        "CREATE TABLE item (id int, filler text DEFAULT repeat('x', 400))",
        "INSERT INTO item SELECT generate_series(1, 20000)",
        "CREATE INDEX ON item (id)",
        ready.format("false"),
        "INSERT INTO item SELECT generate_series(20001, 20010)",
        ready.format("true"),
        "VACUUM ANALYZE item",
    ) as name:
        by_index = postgres.sql("SET enable_seqscan = off", "SELECT count(*) FROM item WHERE id > 0", dbname=name)
        assert by_index == [(20_000,)]
        made = dumping(postgres, name)
        assert rows(made) == {"public.item": 20_010}
        made.run("restore", "app/latest", "--database", name, "--as", "shop_again", "--yes").succeeded()
        try:
            assert postgres.sql("SELECT count(*) FROM item", dbname="shop_again") == [(20_010,)]
        finally:
            postgres.drop("shop_again")


@pytest.fixture
def small() -> Iterator[Server]:
    """A server of its own, with as few locks as PostgreSQL allows."""
    few = {"max_locks_per_transaction": 10, "max_connections": 20}
    with running_server(settings=few) as server:
        yield server


def test_damaged_pages_of_indexes(small: Server, dumping: Callable[[Server, str], Site]) -> None:
    with small.database(
        "shop",
        "CREATE TABLE leaf AS SELECT generate_series(1, 5000) AS id",
        "CREATE INDEX ON leaf (id)",
        "CREATE TABLE meta AS SELECT generate_series(1, 5000) AS id",
        "CREATE INDEX ON meta (id)",
        "VACUUM ANALYZE",
    ) as name:
        for index, page in (("leaf_id_idx", 1), ("meta_id_idx", 0)):
            path = small.directory / str(small.sql(f"SELECT pg_relation_filepath('{index}')", dbname=name)[0][0])
            small.sql("CHECKPOINT")
            with path.open("r+b") as file:
                file.seek(page * 8192)
                file.write(os.urandom(8192))
        small.restart()
        made = dumping(small, name)
    assert rows(made) == {"public.leaf": 5000, "public.meta": None}
    (warning,) = made.manifest()["warnings"]
    assert "The rows of public.meta in shop" in warning
    assert "invalid page" in warning


def test_more_indexes_than_the_server_has_locks(small: Server, dumping: Callable[[Server, str], Site]) -> None:
    """Of the tables, a dump locks every one; of the indexes none is still locked when the next table is counted."""
    tables = [f"CREATE TABLE t{number} (a int); {f'CREATE INDEX ON t{number} (a);' * 10}" for number in range(200)]
    with small.database("wide", *tables) as name:
        made = dumping(small, name)
    assert rows(made) == {f"public.t{number}": 0 for number in range(200)}
    assert made.manifest()["warnings"] == []


def test_counting_leaves_no_lock_but_those_of_the_moment(postgres: Server) -> None:
    with postgres.database("shop", "CREATE TABLE item (id int PRIMARY KEY, name text UNIQUE)") as name:
        query = (
            "SELECT count(*) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation AND c.oid > 16383"
            " WHERE l.database = (SELECT oid FROM pg_database WHERE datname = 'shop')"
        )
        with hold(postgres.endpoint(), name, lock_timeout=5) as snapshot:
            assert postgres.sql(query, dbname=name) == [(1,)]
            snapshot.counts()
            assert postgres.sql(query, dbname=name) == [(1,)]


def test_a_connection_lost_while_counting_costs_the_counts_alone(
    postgres: Server, dumping: Callable[[Server, str], Site]
) -> None:
    with postgres.database(
        "shop",
        *(f"CREATE TABLE {table} AS SELECT 1 AS id" for table in "abc"),
        "CREATE FUNCTION boom(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_terminate_backend(pg_backend_pid())"
        " WHERE current_setting('application_name') = 'hiveden-backup'; RETURN 1; END $$",
        "CREATE INDEX ON b ((id + boom(1)))",
    ) as name:
        made = dumping(postgres, name)
    assert rows(made) == {"public.a": 1, "public.b": None, "public.c": None}
    assert ["public.b" in warning for warning in made.manifest()["warnings"]] == [True, False]


def test_a_standby_is_dumped_without_the_rows_of_its_unlogged_tables(
    small: Server, dumping: Callable[[Server, str], Site]
) -> None:
    with small.database(
        "shop",
        "CREATE TABLE item AS SELECT generate_series(1, 100) AS id",
        "CREATE UNLOGGED TABLE session AS SELECT generate_series(1, 10) AS id",
    ) as name:
        with standby(small) as follower:
            made = dumping(follower, name)
        assert rows(made) == {"public.item": 100, "public.session": None}
        (warning,) = made.manifest()["warnings"]
        assert "public.session" in warning
        assert "during recovery" in warning
