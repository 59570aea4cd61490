"""The settings that a database carries: lists taken apart as PostgreSQL does, secrets found in a dump's own text."""

import pytest

from hiveden_backup.core.postgres.database_settings import dumped, may_be_secret, values

SCRIPT = """
CREATE DATABASE "my shop" WITH TEMPLATE = template0 ENCODING = 'UTF8';
ALTER DATABASE "my shop" OWNER TO tester;
\\connect -reuse-previous=on "dbname='my shop'"
SET statement_timeout = 0;
ALTER DATABASE "my shop" SET work_mem TO '8MB';
ALTER DATABASE "my shop" SET "app.jwt" TO  E'it''s
two \\\\ lines';
ALTER ROLE bob IN DATABASE "my shop" SET "app.jwt" TO 'his';
ALTER ROLE "O""Neil" IN DATABASE "my shop" SET "app.jwt" TO '';
\\connect -reuse-previous=on "dbname='my shop'"
ALTER DATABASE "my shop" SET "app.jwt" TO 'what a function says';
"""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("work_mem", "8MB", ("8MB",)),
        ("datestyle", "ISO, DMY", ("ISO, DMY",)),
        ("search_path", "public", ("public",)),
        ("search_path", 'a, "$user",  "b ""c"", d"', ("a", "$user", 'b "c", d')),
        ("Search_Path", '""', ("",)),
        ("search_path", "", ("",)),
        ("search_path", 'a, "b', ('a, "b',)),
        ("temp_tablespaces", "fast,slow", ("fast", "slow")),
    ],
)
def test_values(name: str, value: str, expected: tuple[str, ...]) -> None:
    assert values(name, value) == expected


@pytest.mark.parametrize(("name", "secret"), [("app.settings.jwt_secret", True), ("search_path", False)])
def test_secret(name: str, *, secret: bool) -> None:
    assert may_be_secret(name) is secret


def test_dumped_settings() -> None:
    assert dumped(SCRIPT) == {
        ("", "work_mem"): "8MB",
        ("", "app.jwt"): "it's\ntwo \\ lines",
        ("bob", "app.jwt"): "his",
        ('O"Neil', "app.jwt"): "",
    }
    assert dumped("") == {}
