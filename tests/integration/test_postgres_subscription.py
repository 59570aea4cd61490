"""Databases with a subscription, enabled or as a dump has it, are replaced, put back and dropped like others."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.swap import discard, drop_kept, put_back, stage, swap
from hiveden_backup.host.postgres.tools import restore_tool
from tests.support.postgres import Server, dump_to, running_server

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@pytest.fixture
def logical() -> Iterator[Server]:
    """A server that publishes to itself."""
    with running_server(settings={"wal_level": "logical"}) as server:
        yield server


def test_a_database_with_a_subscription(logical: Server, tmp_path: Path) -> None:
    """Replaced, put back, replaced again and dropped; what is restored has a subscription too, which is disabled."""
    endpoint, path = logical.endpoint(), tmp_path / "dump"
    major = inspect(endpoint).major
    with (
        logical.database("source", "CREATE TABLE t (x int)", "CREATE PUBLICATION p FOR TABLE t"),
        logical.database("shop", "CREATE TABLE t (x int)"),
    ):
        logical.sql("SELECT pg_create_logical_replication_slot('sub', 'pgoutput')", dbname="source")
        options = "create_slot = false, slot_name = 'sub', copy_data = false"
        where = logical.dsn(dbname="source").replace("'", "''")
        logical.sql(f"CREATE SUBSCRIPTION sub CONNECTION '{where}' PUBLICATION p WITH ({options})", dbname="shop")
        facts = dump_to(path, endpoint, "shop")
        staged, restored = stage(endpoint, path, facts, "shop", NOW, restore_tool(endpoint, major, major))
        assert restored.differences == ()
        assert restored.warnings == ("Subscriptions come back disabled, enable them when it is time: sub",)
        swap(endpoint, staged)
        put_back(endpoint, staged)
        assert discard(endpoint, staged) == (), "the slot is the live one's"
        staged, _ = stage(endpoint, path, facts, "shop", NOW, restore_tool(endpoint, major, major))
        swap(endpoint, staged)
        (note,) = drop_kept(endpoint, staged)
        assert "pg_drop_replication_slot('sub')" in note
        assert logical.databases() == {"postgres", "template0", "template1", "source", "shop"}
        assert logical.sql("SELECT slot_name FROM pg_replication_slots") == [("sub",)]
        for statement in ("DISABLE", "SET (slot_name = NONE)"):
            logical.sql(f"ALTER SUBSCRIPTION sub {statement}", dbname="shop")
        logical.sql("DROP SUBSCRIPTION sub", dbname="shop")
        logical.sql("SELECT pg_drop_replication_slot('sub')", dbname="source")
