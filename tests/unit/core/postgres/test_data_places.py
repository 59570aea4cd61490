"""Where a container's server has its data on this machine."""

import pytest

from hiveden_backup.core.docker.containers import ContainerMount
from hiveden_backup.core.postgres.data_places import by_environment, on_this_machine


def mount(source: str, destination: str, *, writable: bool = True) -> ContainerMount:
    return ContainerMount("bind", "", source, destination, writable=writable)


@pytest.mark.parametrize(
    ("environment", "said", "found"),
    [
        ({}, "", ("/var/lib/postgresql",)),
        ({"PGDATA": "/data"}, "", ("/data",)),
        ({"PGDATA": "/data"}, "/elsewhere", ("/elsewhere",)),
        ({"PGDATA": "/data", "POSTGRES_INITDB_WALDIR": "/wal"}, "", ("/data", "/wal")),
        ({"PGDATA": "data"}, "", ()),
    ],
)
def test_directories(environment: dict[str, str], said: str, found: tuple[str, ...]) -> None:
    assert by_environment(environment, said) == found


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ([mount("/a", "/var/lib/pg")], ["/a"]),
        ([mount("/a", "/var/lib")], ["/a/pg"]),
        ([mount("/a", "/var"), mount("/b", "/var/lib"), mount("/c", "/var/lib/pgx")], ["/b/pg"]),
        ([mount("/a", "/var/lib/pg/18"), mount("/b", "/var/lib/pg/x.conf", writable=False)], ["/a"]),
        ([mount("", "/var/lib/pg"), mount("/b", "/srv")], []),
    ],
)
def test_where_they_are(mounts: list[ContainerMount], found: list[str]) -> None:
    assert list(on_this_machine(mounts, ["/var/lib/pg"])) == found
