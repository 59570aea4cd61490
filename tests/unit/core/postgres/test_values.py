"""The rules about PostgreSQL that need no server."""

from datetime import UTC, datetime

import hypothesis
import hypothesis.strategies as st
import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, NotFoundError, UnreachableError
from hiveden_backup.core.postgres import conninfo
from hiveden_backup.core.postgres.capacity import Capacity
from hiveden_backup.core.postgres.values import (
    PARALLEL_BYTES,
    DatabaseInfo,
    Endpoint,
    PgTools,
    ServerFacts,
    application_name,
    application_prefix,
    choose_dump_tool,
    choose_restore_tool,
    is_ours,
    kept_name,
    major_of,
    passfile_passwords,
    restore_jobs,
    select_databases,
    staged_name,
    tool_version,
)

T14, T15, T15_OLD, T16, T17 = (PgTools(version, "/x") for version in [(14, 1), (15, 9), (15, 2), (16, 1), (17, 0)])
IN15, IN14 = PgTools((15, 3), inside=True), PgTools((14, 3), inside=True)

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
JOBS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True)


def info(name: str, *, allow: bool = True, template: bool = False) -> DatabaseInfo:
    return DatabaseInfo(name, "o", "UTF8", "C", "C", "libc", "", allow, template, 1)


def facts(*databases: DatabaseInfo) -> ServerFacts:
    capacity = Capacity(100, 0, 0, None, 0, 64, 122)
    return ServerFacts(150014, "15.14", databases, "u", superuser=True, capacity=capacity)


# ---- connection strings ----------------------------------------------------------------------------------------------


@hypothesis.given(
    st.dictionaries(st.sampled_from(["host", "user", "dbname"]), st.text(st.characters(exclude_characters="\0")))
)
def test_connection_string_keeps_every_value(values: dict[str, str]) -> None:
    assert conninfo.parse(conninfo.compose(values)) == values


def test_endpoint_shows_no_password() -> None:
    endpoint = Endpoint("s", {"host": "h"}, passwords=(("special", "one"), ("*", "two")))
    assert (endpoint.password("special"), endpoint.password("other")) == ("one", "two")
    assert "two" not in repr(endpoint)
    assert endpoint.place == "h:5432"
    assert Endpoint("s", {}).password("x") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db:5432:*:u:pw", [("*", "pw")]),
        ("*:*:photos:u:pw", [("photos", "pw")]),
        ("db:5432:*:u:p:w\\:\\\\x", [("*", "p:w:\\x")]),
        ("alias:5432:a\\:b:u:pw\r", [("a:b", "pw")]),
        ("#db:5432:*:u:pw", []),
        ("other:5432:*:u:pw\ndb:1:*:u:pw\ndb:5432:*:v:pw\nnonsense\n\n", []),
        ("db:5432:one:u:1\n*:*:*:*:2", [("one", "1"), ("*", "2")]),
    ],
)
def test_password_file(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(passfile_passwords(text, ("db", "alias"), "5432", "u")) == expected


# ---- which databases -------------------------------------------------------------------------------------------------


def test_all_databases_but_templates_closed_ones_and_ours() -> None:
    found = facts(
        info("b"),
        info("a"),
        info("template1", template=True),
        info("closed", allow=False),
        info("hiveden_scratch_00"),
        info("a_before_20260101T000000Z"),
        info("the_day_before_yesterday"),
    )
    assert select_databases(found, PostgresSource(dsn=""), "s") == ("a", "b", "the_day_before_yesterday")


def test_configured_databases_are_taken_as_they_are() -> None:
    found = facts(info("b"), info("a"), info("template1", template=True))
    assert select_databases(found, PostgresSource(dsn="", databases=("template1", "a")), "s") == ("template1", "a")


def test_missing_database_has_the_closest_name() -> None:
    with pytest.raises(NotFoundError, match=r"imich does not exist on s\. Did you mean immich\?"):
        select_databases(facts(info("immich")), PostgresSource(dsn="", databases=("imich",)), "s")
    with pytest.raises(NotFoundError, match="Correct `databases`"):
        select_databases(facts(), PostgresSource(dsn="", databases=("x",)), "s")


def test_closed_database_cannot_be_asked_for() -> None:
    with pytest.raises(BackupError, match="allows no connections"):
        select_databases(facts(info("x", allow=False)), PostgresSource(dsn="", databases=("x",)), "s")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("hiveden_scratch_1", True),
        ("hiveden_staged_1", True),
        ("x_before_20261123T023000Z", True),
        ("x_before_2026", False),
        ("hiveden", False),
    ],
)
def test_ours(name: str, *, ours: bool) -> None:
    assert is_ours(name) is ours


@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=63))
def test_names_of_staged_and_kept_databases_are_ours_and_fit(name: str) -> None:
    hypothesis.assume(len(name.encode()) <= 63)
    for made in (staged_name(name, NOW), kept_name(name, NOW)):
        assert is_ours(made)
        assert len(made.encode()) <= 63


def test_names_of_kept_databases() -> None:
    assert kept_name("immich", NOW) == "immich_before_20261123T023000Z"
    assert kept_name("x" * 39, NOW) == f"{'x' * 39}_before_20261123T023000Z"
    long = kept_name("x" * 40, NOW)
    assert long.startswith("x" * 30 + "~")
    assert long != kept_name("x" * 41, NOW)
    assert kept_name("xü" * 15, NOW).startswith("xü" * 10 + "~")


# ---- which tool ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "in_container", "inside", "expected"),
    [
        ([T14, T15, T15_OLD, T17], False, None, T15),
        ([T15_OLD], True, IN15, T15_OLD),
        ([T14, T17], True, IN15, IN15),
        ([], True, IN15, IN15),
        ([T14, T17, T16], False, None, T16),
        ([T14], False, None, None),
        ([], False, None, None),
        ([T16], True, None, None),
        ([T14], True, IN14, None),
    ],
)
def test_tool_for_a_dump(
    tools: list[PgTools], *, in_container: bool, inside: PgTools | None, expected: PgTools | None
) -> None:
    if expected is not None:
        assert choose_dump_tool("s", 15, tools, in_container=in_container, inside=inside) == expected
        return
    with pytest.raises(UnreachableError, match=r"PostgreSQL 15.*apt-get install postgresql-client-15") as caught:
        choose_dump_tool("s", 15, tools, in_container=in_container, inside=inside)
    assert ("14.1" in str(caught.value)) == (T14 in tools)
    assert ("container" in str(caught.value)) == in_container


@pytest.mark.parametrize(
    ("dump", "server", "expected"),
    [(15, None, T15), (15, 16, T16), (15, 15, T15), (13, 16, T16), (13, 99, T14), (16, 15, T16), (17, 17, T17)],
)
def test_tool_for_a_restore(dump: int, server: int | None, expected: PgTools) -> None:
    assert choose_restore_tool(dump, [T17, T15, T14, T15_OLD, T16], server) == expected


@pytest.mark.parametrize(
    ("size", "cpus", "tool", "expected"),
    [
        (PARALLEL_BYTES, 2, T15, 2),
        (PARALLEL_BYTES, 64, T15, 4),
        (PARALLEL_BYTES, 1, T15, 1),
        (PARALLEL_BYTES - 1, 2, T15, 1),
        (PARALLEL_BYTES, 2, PgTools((13, 9), "/x"), 1),
        (PARALLEL_BYTES, 2, IN15, 1),
    ],
)
def test_connections_for_a_restore(size: int, cpus: int, tool: PgTools, expected: int) -> None:
    assert restore_jobs(size, cpus, tool) == expected


def test_lack_of_a_tool_says_nothing_against_the_dump() -> None:
    with pytest.raises(UnreachableError, match=r"cannot be decoded here.*has 14\.1\..*postgresql-client-15"):
        choose_restore_tool(15, [T14])
    with pytest.raises(UnreachableError, match="has none"):
        choose_restore_tool(15, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", (15, 14)),
        ("pg_dump (PostgreSQL) 18beta1", (18,)),
        ("pg_dump: error while loading shared libraries", None),
    ],
)
def test_tool_version(text: str, expected: tuple[int, ...] | None) -> None:
    assert tool_version(text) == expected


def test_programs() -> None:
    assert PgTools((15,), "/usr/lib/postgresql/15/bin").program("pg_dump") == "/usr/lib/postgresql/15/bin/pg_dump"
    assert IN15.program("pg_dump") == "pg_dump"


@pytest.mark.parametrize(("text", "expected"), [("15.14 (Debian 15.14-1)", 15), ("17beta1", 17), ("18", 18)])
def test_major(text: str, expected: int) -> None:
    assert major_of(text) == expected


def test_no_major() -> None:
    with pytest.raises(ValueError, match="not a server version"):
        major_of("unknown")


# ---- the names of our backends ---------------------------------------------------------------------------------------


@hypothesis.given(JOBS, st.text(), st.text())
def test_application_name_fits_and_begins_as_it_must(job: str, server: str, database: str) -> None:
    name = application_name(job, "20261123T023000Z", server, database)
    assert name.isascii()
    assert len(name) <= 63
    assert name.startswith(application_prefix(job))


@hypothesis.given(JOBS, JOBS)
def test_prefix_is_one_jobs_alone(one: str, other: str) -> None:
    hypothesis.assume(one != other)
    assert not application_prefix(one).startswith(application_prefix(other))
    assert application_prefix("a" * 24 + "x") != application_prefix("a" * 24 + "y")


def test_application_names_differ() -> None:
    names = {application_name("j", "20261123T023000Z", *pair) for pair in [("a", "b"), ("a", "c"), ("d", "b")]}
    assert len(names) == 3
