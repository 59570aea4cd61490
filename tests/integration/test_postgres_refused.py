"""Dumps that a server does not take whole, though nothing is damaged: what can come back does, the rest is named."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, NotFoundError, UnreachableError
from hiveden_backup.core.model import DatabaseFacts, Setting, Table
from hiveden_backup.core.postgres import values as rules
from hiveden_backup.core.postgres.values import Endpoint, PgTools
from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.restore import Restored, restore_new
from tests.support.postgres import Server, dump_to

EARTH = (
    "CREATE EXTENSION cube",
    "CREATE EXTENSION earthdistance",
    "CREATE TABLE places AS SELECT n::float8 AS lat, n::float8 AS lon FROM generate_series(1, 50) AS n",
    "CREATE INDEX near ON places (ll_to_earth(lat, lon))",
)
PASSWORD_OF_MODEST = "modest"
UNCOUNTED = "Not compared, since the backup does not say how many rows they had: public.places"
BY_CHANCE = (
    "CREATE FUNCTION inner_one(x int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT x'",
    "CREATE FUNCTION outer_one(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN inner_one(x); END'",
    "CREATE TABLE t (x int CHECK (outer_one(x) = x))",
    "INSERT INTO t VALUES (1)",
    "CREATE FUNCTION inner_one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION outer_one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN inner_one(); END'",
    "CREATE MATERIALIZED VIEW seen AS SELECT outer_one() AS x",
)
OTHER_TABLE = (
    "CREATE TABLE zz (x int)",
    "INSERT INTO zz VALUES (5)",
    "CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.zz WHERE x = $1)'",
    "CREATE TABLE aa (x int CHECK (known(x)))",
    "INSERT INTO aa VALUES (5)",
    "CREATE MATERIALIZED VIEW copied AS SELECT x FROM aa",
)
VIOLATED = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE child (id int REFERENCES parent)",
    "SET session_replication_role = replica",
    "INSERT INTO child VALUES (2)",
)


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
    assert left <= {"target"}


@pytest.fixture(params=[False, True], ids=["stream", "several"])
def several(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With one connection, and with several."""
    if request.param:
        monkeypatch.setattr(rules, "PARALLEL_BYTES", 1)
        monkeypatch.setattr("os.cpu_count", lambda: 4)
    return bool(request.param)


def restored(endpoint: Endpoint, path: Path, facts: DatabaseFacts, tool: PgTools) -> Restored:
    return restore_new(endpoint, path, facts, "target", tool)


# ---- what comes at the second try ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("several")
def test_what_relies_on_a_search_path_or_on_another_table_comes_back(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    with postgres.database("source", *EARTH, *BY_CHANCE, *OTHER_TABLE):
        facts = dump_to(path, endpoint, "source")
    assert restored(endpoint, path, facts, tool) == Restored((), (UNCOUNTED,))
    assert postgres.sql("SELECT x FROM aa", dbname="target") == [(5,)]
    assert postgres.sql("SELECT x FROM seen", dbname="target") == [(1,)]
    assert postgres.sql("SELECT x FROM copied", dbname="target") == [(5,)], "refreshed when the table had its rows"
    assert postgres.sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'near'", dbname="target")
    assert postgres.sql("SELECT 1 FROM pg_stats WHERE tablename = 'places' AND attname = 'lat'", dbname="target")


@pytest.mark.parametrize("where", ["public, lib", '"$user"'])
def test_the_search_path_of_the_source_is_used(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path, where: str
) -> None:
    """The database's own, and of its owner where that says $user."""
    schema = "lib" if "lib" in where else postgres_owner(postgres)
    with postgres.database(
        "source",
        f"CREATE SCHEMA {schema}",
        f"CREATE FUNCTION {schema}.inner_one() RETURNS int LANGUAGE sql AS 'SELECT 7'",
        "CREATE FUNCTION outer_one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN inner_one(); END'",
        f"SET search_path = {schema}, public",
        "CREATE MATERIALIZED VIEW public.seen AS SELECT outer_one() AS x",
        f"ALTER DATABASE source SET search_path TO {where}",
    ):
        facts = dump_to(path, endpoint, "source")
    assert restored(endpoint, path, facts, tool) == Restored((), ())
    assert postgres.sql("SELECT x FROM public.seen", dbname="target") == [(7,)]


def postgres_owner(postgres: Server) -> str:
    return str(postgres.sql("SELECT current_user")[0][0])


# ---- triggers, which are there at the second try ---------------------------------------------------------------------

TRIGGERED = (
    "CREATE TABLE zz (x int)",
    "INSERT INTO zz VALUES (5)",
    "CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.zz WHERE x = $1)'",
    "CREATE TABLE aa (x int CHECK (known(x)), balance int)",
    "INSERT INTO aa VALUES (5, 100)",
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.balance := 0; RETURN NEW; END'",
    "CREATE TRIGGER t BEFORE INSERT ON aa FOR EACH ROW EXECUTE FUNCTION touch()",
)


@pytest.mark.usefixtures("several")
def test_triggers_do_not_change_what_is_copied_again(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    """And keys that do not hold are still found, also of the same table."""
    with postgres.database("source", *TRIGGERED, *VIOLATED):
        facts = dump_to(path, endpoint, "source")
    differences = restored(endpoint, path, facts, tool).differences
    assert [each.what for each in differences] == ["FK CONSTRAINT child child_id_fkey"]
    assert postgres.sql("SELECT * FROM aa", dbname="target") == [(5, 100)]
    postgres.sql("INSERT INTO aa VALUES (5, 1)", dbname="target")
    assert postgres.sql("SELECT * FROM aa ORDER BY 2", dbname="target") == [(5, 0), (5, 100)], "the trigger is there"


def test_triggers_that_fire_always_are_told(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    with postgres.database("source", *TRIGGERED, "ALTER TABLE aa ENABLE ALWAYS TRIGGER t"):
        facts = dump_to(path, endpoint, "source")
    (difference,) = restored(endpoint, path, facts, tool).differences
    assert str(difference).startswith("TABLE DATA aa: Its rows came when the database's triggers were there")


@pytest.mark.parametrize("granted", [False, True])
def test_who_may_not_silence_triggers_is_told_whose_rows_met_them(
    postgres: Server, tool: PgTools, path: Path, *, granted: bool
) -> None:
    parameter = "ON PARAMETER session_replication_role"
    postgres.sql(f"CREATE ROLE modest LOGIN CREATEDB PASSWORD '{PASSWORD_OF_MODEST}'")
    try:
        if granted:
            postgres.sql(f"GRANT SET {parameter} TO modest")
        own = dsn_endpoint(
            PostgresSource(dsn=postgres.dsn(user="modest", tcp=True, dbname="postgres", password=PASSWORD_OF_MODEST))
        )
        with postgres.database("source", options="OWNER modest"):
            postgres.sql("ALTER SCHEMA public OWNER TO modest", "SET ROLE modest", *TRIGGERED, dbname="source")
            facts = dump_to(path, own, "source")
        found = [each.what for each in restored(own, path, facts, tool).differences]
        assert found == ([] if granted else ["TABLE DATA aa"])
        assert postgres.sql("SELECT * FROM aa", dbname="target") == [(5, 100 if granted else 0)]
    finally:
        postgres.drop("target")
        if granted:
            postgres.sql(f"REVOKE SET {parameter} FROM modest")
        postgres.sql("DROP ROLE modest")


def test_what_a_row_holds_is_no_word_of_the_server(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    words = ("No space left on device", "error: FATAL: x", 'role "x" does not exist')
    with postgres.database(
        "source",
        "CREATE TABLE kind (t text PRIMARY KEY)",
        *(f"CREATE TABLE log{number} (t text REFERENCES kind)" for number in range(len(words))),
        "SET session_replication_role = replica",
        *(f"INSERT INTO log{number} VALUES ('{word}')" for number, word in enumerate(words)),
    ):
        facts = dump_to(path, endpoint, "source")
    found = restored(endpoint, path, facts, tool).differences
    assert [word in each.said for word, each in zip(words, found, strict=True)] == [True] * len(words)


# ---- what does not ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("several")
def test_what_the_server_still_refuses_is_named_in_its_words(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    with postgres.database("source", *VIOLATED, *EARTH):
        facts = dump_to(path, endpoint, "source")
    (difference,) = restored(endpoint, path, facts, tool).differences
    assert str(difference) == (
        'FK CONSTRAINT child child_id_fkey: insert or update on table "child" violates foreign key constraint '
        '"child_id_fkey" (Key (id)=(2) is not present in table "parent".)'
    )
    assert postgres.sql("SELECT id FROM child", dbname="target") == [(2,)]


@pytest.mark.usefixtures("several")
def test_many_at_the_same_time_are_all_named(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    with postgres.database(
        "source",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        *(f"CREATE TABLE child{n} (id int REFERENCES parent)" for n in range(60)),
        "SET session_replication_role = replica",
        *(f"INSERT INTO child{n} VALUES (2)" for n in range(60)),
    ):
        facts = dump_to(path, endpoint, "source")
    found = restored(endpoint, path, facts, tool).differences
    assert {each.what for each in found} == {f"FK CONSTRAINT child{n} child{n}_id_fkey" for n in range(60)}
    assert all(f'table "{each.what.split()[2]}"' in each.said for each in found), "each with its own words"


def test_rows_of_others_are_in_no_message(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    with postgres.database(
        "source",
        "CREATE TABLE t (password text)",
        "INSERT INTO t VALUES ('hunter2')",
        "ALTER TABLE t ADD CHECK (password = 'other') NOT VALID",
        "CREATE TABLE u AS SELECT 1 AS x",
        "CREATE FUNCTION never(text) RETURNS bool LANGUAGE sql AS 'SELECT current_database() = ''source'''",
        "ALTER TABLE t ADD CHECK (never(password))",
    ):
        facts = dump_to(path, endpoint, "source")
    found = restored(endpoint, path, facts, tool).differences
    assert [each.what for each in found] == ["TABLE DATA t", "public.t"]
    assert "violates check constraint" in found[0].said
    assert found[1].said == "0 rows instead of 1 rows"
    assert "hunter2" not in str(found)


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_rows_that_the_manifest_does_not_tell_are_not_compared(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    with postgres.database("source", "CREATE TABLE t AS SELECT 1 AS x", "CREATE TABLE u AS SELECT 1 AS x"):
        facts = dump_to(path, endpoint, "source")
    told = replace(facts, tables=(Table("public.t", None), Table("public.u", 1)))
    assert restored(endpoint, path, told, tool) == Restored(
        (), ("Not compared, since the backup does not say how many rows they had: public.t",)
    )


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("several")
def test_settings_of_the_database_come_when_its_content_is_there(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    postgres.sql("CREATE ROLE weak")
    try:
        with postgres.database(
            "source",
            *EARTH,
            *OTHER_TABLE,
            "SET default_text_search_config = 'german'",
            "CREATE MATERIALIZED VIEW words AS SELECT to_tsvector('Häuser') AS x",
            "ALTER DATABASE source SET role TO weak",
            "ALTER DATABASE source SET idle_session_timeout TO '100ms'",
            "ALTER DATABASE source SET statement_timeout TO '30ms'",
            "ALTER DATABASE source SET default_transaction_read_only TO on",
            "ALTER DATABASE source SET session_replication_role TO replica",
            "ALTER DATABASE source SET default_text_search_config TO 'german'",
        ):
            facts = dump_to(path, endpoint, "source")
        assert restored(endpoint, path, facts, tool) == Restored((), (UNCOUNTED,))
        settings = (
            "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase"
            " WHERE datname = 'target'"
        )
        assert {(f"{each.name}={each.value}",) for each in facts.settings} == set(postgres.sql(settings))
        assert Setting("", "role", "weak") in facts.settings
        with contextlib.closing(connect(endpoint, "target")) as connection:
            assert connection.execute("SELECT x::text FROM public.words").fetchall() == [("'haus':1",)]
    finally:
        postgres.drop("target")
        postgres.sql("DROP ROLE weak")


# ---- what is no difference -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("several")
def test_a_server_that_goes_away_is_no_difference(
    postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path
) -> None:
    """A backend that is ended in the middle: nothing is left, and nothing is called missing."""
    with postgres.database(
        "source",
        "CREATE FUNCTION end_me() RETURNS int LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid())::int"
        " WHERE current_database() <> ''source'''",
        "CREATE MATERIALIZED VIEW seen AS SELECT end_me()",
        "CREATE TABLE t AS SELECT 1 AS x",
    ):
        facts = dump_to(path, endpoint, "source")
    with pytest.raises(UnreachableError, match=r"lost .*terminating connection"):
        restored(endpoint, path, facts, tool)
    assert "target" not in postgres.databases()


def test_missing_roles_are_still_an_error(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    postgres.sql("CREATE ROLE stranger")
    with postgres.database("source", "CREATE TABLE t (x int)", "GRANT SELECT ON t TO stranger"):
        facts = dump_to(path, endpoint, "source")
    postgres.sql("DROP ROLE stranger")
    with contextlib.suppress(FileNotFoundError), pytest.raises(NotFoundError, match="role stranger does not exist"):
        restored(endpoint, path, replace(facts, roles=()), tool)


def test_name_that_is_taken_meanwhile(postgres: Server, endpoint: Endpoint, tool: PgTools, path: Path) -> None:
    with postgres.database("source", *VIOLATED):
        facts = dump_to(path, endpoint, "source")
    with postgres.database("taken"), pytest.raises(BackupError, match="exists"):
        restore_new(endpoint, path, facts, "taken", tool)
