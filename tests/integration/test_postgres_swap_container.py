"""A database swapped on a server in a container: with the host's pg_restore through its socket, or with its own."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import CorruptError, NotFoundError, UnreachableError
from hiveden_backup.core.model import Artifact, ArtifactType, Source, SourceKind
from hiveden_backup.core.postgres import values as rules
from hiveden_backup.core.postgres.values import Endpoint, ServerContainer
from hiveden_backup.host.docker import engine as containers
from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.count import row_counts
from hiveden_backup.host.postgres.endpoint import container_endpoint
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.restore import Restored
from hiveden_backup.host.postgres.swap import discard, drop_kept, put_back, stage, swap
from hiveden_backup.host.postgres.tools import dump_tool, find_tools, restore_tool
from hiveden_backup.jobs.backups.verify import decode_dump
from tests.support.dockerd import Engine
from tests.support.postgres import dump_to

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def endpoint(dockerd: Engine) -> Iterator[Endpoint]:
    name = dockerd.postgres(user="immich", settings={"fsync": "off"})
    with containers.connect(dockerd.url) as docker:
        found = docker.container(name)
        door = functools.partial(docker.exec_stream, found)
        server = ServerContainer(found.name, found.pid, found.environment, found.addresses, door)
        yield container_endpoint(PostgresSource(container=name), server)
    dockerd.api.remove_container(name, force=True, v=True)


def do(endpoint: Endpoint, *statements: str) -> list[tuple[object, ...]]:
    with contextlib.closing(connect(endpoint, "immich")) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return list(cursor.fetchall()) if cursor.description else []


def test_what_is_refused_inside_is_tried_again_there(endpoint: Endpoint, tmp_path: Path) -> None:
    """By the container's own pg_restore, which gets no file of ours."""
    major = inspect(endpoint).major
    path = tmp_path / "database.immich.immich.dump.zst"
    do(
        endpoint,
        "CREATE SCHEMA odd",
        "SET search_path = odd, public",
        "CREATE FUNCTION inner_one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION outer_one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN inner_one(); END'",
        "CREATE MATERIALIZED VIEW seen AS SELECT outer_one() AS x",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int REFERENCES parent)",
        "SET session_replication_role = replica",
        "INSERT INTO child VALUES (2)",
        "ALTER DATABASE immich SET search_path TO odd, public",
    )
    try:
        facts = dump_to(path, endpoint, "immich", tool=dump_tool(endpoint, major, []))
        tool = restore_tool(endpoint, major, major, [])
        assert tool.inside
        staged, restored = stage(endpoint, path, facts, "immich", NOW, tool)
        assert [each.what for each in restored.differences] == ["FK CONSTRAINT child child_id_fkey"]
        swap(endpoint, staged)
        assert do(endpoint, "SELECT x FROM odd.seen") == [(1,)]
        put_back(endpoint, staged)
        discard(endpoint, staged)
    finally:
        do(endpoint, "DROP SCHEMA odd CASCADE", "ALTER DATABASE immich RESET search_path")


def test_a_dump_is_decoded_in_its_container_where_the_host_cannot(
    endpoint: Endpoint, dockerd: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "database.immich.immich.dump.zst"
    facts = dump_to(path, endpoint, "immich", tool=dump_tool(endpoint, inspect(endpoint).major, []))
    source = Source(SourceKind.CONTAINER, endpoint.name)
    artifact = Artifact(ArtifactType.DATABASE, "immich", endpoint.name, (), 0, (source,), facts)
    monkeypatch.setattr(f"{decode_dump.__module__}.find_tools", list)
    decode_dump(dockerd.url, path, artifact)
    with pytest.raises(UnreachableError, match="cannot be decoded here"):
        decode_dump(dockerd.url, path, replace(artifact, sources=(Source(SourceKind.CONTAINER, "gone"),)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptError, match="is damaged"):
        decode_dump(dockerd.url, path, artifact)


@pytest.mark.parametrize("inside", [True, False])
def test_there_and_back(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, inside: bool) -> None:
    """The database is the one that the image makes, and that carries the superuser's name."""
    monkeypatch.setattr(rules, "PARALLEL_BYTES", 1)
    major = inspect(endpoint).major
    host = [] if inside else find_tools()
    path = tmp_path / "database.immich.immich.dump.zst"
    do(
        endpoint,
        "DROP TABLE IF EXISTS public.t",
        "CREATE TABLE public.t AS SELECT generate_series(1, 1000) AS x",
        "ALTER DATABASE immich SET app.key TO 'a secret'",
    )
    facts = dump_to(path, endpoint, "immich", tool=dump_tool(endpoint, major, host))
    do(endpoint, "DELETE FROM public.t WHERE x > 10")
    lacking = replace(facts, roles=("gone",))
    with pytest.raises(NotFoundError, match=rf"docker exec -i {endpoint.name} psql -U immich -d postgres$"):
        stage(endpoint, path, lacking, "immich", NOW, restore_tool(endpoint, major, major, host))
    staged, restored = stage(endpoint, path, facts, "immich", NOW, restore_tool(endpoint, major, major, host))
    assert restored == Restored((), ())
    swap(endpoint, staged)
    with contextlib.closing(connect(endpoint, "immich")) as connection:
        assert row_counts(connection) == facts.tables
    assert do(endpoint, "SELECT current_setting('app.key')") == [("a secret",)]
    put_back(endpoint, staged)
    discard(endpoint, staged)
    assert do(endpoint, "SELECT count(*) FROM public.t") == [(10,)]
    drop_kept(endpoint, staged)
    assert {info.name for info in inspect(endpoint).databases} == {"immich", "postgres", "template0", "template1"}
