"""A server in a container: found through the container's own socket, dumped from outside or by its own pg_dump."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hiveden_backup.core.errors import BackupError, DeniedError, Interrupted, UnreachableError
from hiveden_backup.core.model import DatabaseFacts, PostgresSource
from hiveden_backup.core.postgres import Endpoint, PgTools, ServerContainer
from hiveden_backup.host import containers
from hiveden_backup.host.postgres import (
    Dump,
    connect,
    container_endpoint,
    decode,
    dump_tool,
    dumping,
    dumping_globals,
    find_tools,
    hold,
    inside_tools,
    inspect,
    restore_new,
    restore_tool,
    row_counts,
)
from hiveden_backup.host.postgres_endpoint import opened_beneath
from tests.support.dockerd import Engine
from tests.support.postgres import running_server

APPLICATION = "hiveden-backup test"
HOST_SOCKETS = Path("/run/postgresql")
PORT = "54329"  # of the server in the container and of another one on the host
ROWS = 300_000


@pytest.fixture(scope="module")
def docker(dockerd: Engine) -> Iterator[containers.Docker]:
    with containers.connect(dockerd.url) as docker:
        yield docker


@pytest.fixture(scope="module")
def server(dockerd: Engine) -> Iterator[str]:
    """A container with a server on an odd port, and in it a database of some size."""
    name = dockerd.postgres(user="owner", password="pass 'word'", settings={"port": PORT, "fsync": "off"})
    statement = (
        f"CREATE TABLE rows AS SELECT n, md5(n::text) || md5((-n)::text) AS text FROM generate_series(1, {ROWS}) AS n"
    )
    endpoint = container_endpoint(PostgresSource(container=name), described(dockerd, name))
    with contextlib.closing(connect(endpoint, "owner")) as connection:
        connection.execute(statement.encode())
    yield name
    dockerd.api.remove_container(name, force=True, v=True)


def described(dockerd: Engine, name: str, **changes: object) -> ServerContainer:
    """The container as the program's own Docker client sees it."""
    with containers.connect(dockerd.url) as docker:
        found = docker.container(name)

    @contextlib.contextmanager
    def door(*arguments: object, **options: object) -> Iterator[containers.ExecStream]:
        with (
            containers.connect(dockerd.url) as docker,
            docker.exec_stream(found, *arguments, **options) as stream,  # type: ignore[arg-type]
        ):
            yield stream

    return replace(
        ServerContainer(name, found.pid, found.environment, (), door),
        **changes,  # type: ignore[arg-type]
    )
