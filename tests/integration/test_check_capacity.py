"""What a server has too little of for its dumps is said by `check`, with the figure that would do; and it does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.job import Site, site
from tests.support.postgres import Server, running_server
from tests.support.validation import refused, said

SMALL = {"max_locks_per_transaction": 10, "max_connections": 20, "superuser_reserved_connections": 3}


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    with running_server(settings=SMALL) as server:
        yield server


@pytest.fixture
def bed(tmp_path: Path, small: Server) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure({"app": {"postgres": [{"dsn": small.dsn()}]}})
        yield made.init()


def hint(made: Site) -> str:
    """What `check` says to do about the one thing that prevents a run."""
    (found,) = [row["hint"] for row in made.run("check", "--json").json if row["status"] == "FAIL"]
    return str(found)


def figure(message: str) -> int:
    (number,) = re.findall(r" to (\d+) or more", message)
    return int(number)


def dump_as_reader(made: Site, server: Server, database: str) -> None:
    """Have the job dump a database as the role `reader`, whose password is `r`."""
    passfile = made.path / "pass"
    passfile.write_text("*:*:*:*:r\n")
    passfile.chmod(0o600)
    dsn = server.dsn(user="reader", tcp=True)
    made.change(postgres=[{"dsn": dsn, "passfile": str(passfile), "globals": False, "databases": [database]}])


def test_too_few_locks(bed: Site, small: Server) -> None:
    tables = "DO $$ BEGIN FOR i IN 1..900 LOOP EXECUTE format('CREATE TABLE t%s (id int)', i); COMMIT; END LOOP; END $$"
    with small.database("wide", tables):
        refused(bed, 1, "900 tables")
        small.sql(f"ALTER SYSTEM SET max_locks_per_transaction = {figure(hint(bed))}")
        small.restart()
        try:
            assert (said(bed, "FAIL"), said(bed, "WARN")) == ([], [])
            bed.run("run", "app").succeeded()
        finally:
            small.sql("ALTER SYSTEM RESET max_locks_per_transaction")
            small.restart()


def test_more_databases_than_can_be_dumped_at_once(bed: Site, small: Server) -> None:
    """Twelve moments are held at once, and there are connections for some of the dumps; then there are too many."""
    names = [f"d{number:02}" for number in range(19)]
    try:
        for name in names[:12]:
            small.sql(f"CREATE DATABASE {name}")
            small.sql("CREATE TABLE item AS SELECT generate_series(1, 5)", dbname=name)
        connections, locks = said(bed, "WARN")
        assert "13 databases" in connections
        assert "12 tables" in locks
        bed.run("run", "app").succeeded()
        dumped = {each["target"] for each in bed.manifest()["artifacts"]}
        assert dumped == {*names[:12], "postgres"}
        for name in names[12:]:
            small.sql(f"CREATE DATABASE {name}")
        refused(bed, 1, "20 databases")
        assert figure(hint(bed)) == 37
    finally:
        for name in names:
            small.drop(name)


def test_the_limit_of_a_database_is_too_low(bed: Site, small: Server) -> None:
    with small.database("shop", "ALTER DATABASE shop CONNECTION LIMIT 1"):
        assert said(bed, "FAIL") == []  # a superuser's connections are not counted
        small.sql("CREATE ROLE reader LOGIN PASSWORD 'r'")
        try:
            dump_as_reader(bed, small, "shop")
            refused(bed, 1, "2 connections to shop")
            small.sql(hint(bed))
            bed.run("run", "app").succeeded()
        finally:
            small.sql("DROP ROLE reader")


def test_large_objects_that_may_not_be_read(bed: Site, small: Server) -> None:
    with small.database("photos", "CREATE TABLE item AS SELECT 1 AS id", "SELECT lo_create(4711), lo_create(4712)"):
        small.sql("CREATE ROLE reader LOGIN PASSWORD 'r'", "GRANT pg_read_all_data TO reader")
        try:
            dump_as_reader(bed, small, "photos")
            refused(bed, 77, "the large object 4711 may not be read, nor may 1 more")
            assert "ALTER ROLE reader SET lo_compat_privileges = on" in hint(bed)
            small.sql("GRANT SELECT ON LARGE OBJECT 4711, 4712 TO reader", dbname="photos")
            assert said(bed, "FAIL") == []
            bed.run("run", "app").succeeded()
            small.sql("REVOKE SELECT ON LARGE OBJECT 4711, 4712 FROM reader", dbname="photos")
            small.sql("ALTER ROLE reader SET lo_compat_privileges = on")
            bed.run("run", "app").succeeded()
        finally:
            small.sql("DROP OWNED BY reader", dbname="photos")
            small.sql("DROP ROLE reader")
