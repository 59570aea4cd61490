"""Which job a client's words mean, and what a new one is called."""

import pytest

from hiveden_backup.core.api_targets import Wanted, contradiction, job_name, matching
from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.errors import UsageError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.names import is_job_name

APPLICATION, DATABASE = ArtifactType.APPLICATION, ArtifactType.DATABASE
IMMICH = Job(
    name="immich",
    paths=("/srv/immich", "/etc/nginx"),
    containers=("immich_server",),
    postgres=(PostgresSource(container="immich_postgres", databases=("immich",)),),
)
HOST = Job(name="host", postgres=(PostgresSource(dsn="host=/run"),))
SHOP = Job(name="shop", postgres=(PostgresSource(dsn="port=5433", databases=("shop", "ledger")),))
VOLUMES = Job(name="volumes", volumes=("data",))
JOBS = (IMMICH, HOST, SHOP, VOLUMES)
DUMPED = {"host": {"wiki", "ledger"}}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(APPLICATION, "immich"), ["immich"]),
        (Wanted(APPLICATION, "/srv/immich"), ["immich"]),
        (Wanted(APPLICATION, "/etc/nginx/"), ["immich"]),
        (Wanted(APPLICATION, "volumes"), ["volumes"]),
        (Wanted(APPLICATION, "Immich!"), ["immich"]),  # the name that a new job would have had
        (Wanted(APPLICATION, "photos", ("/etc/nginx", "/srv/immich")), ["immich"]),
        (Wanted(APPLICATION, "volumes", ("/etc/nginx", "/srv/immich")), ["volumes"]),  # a name counts more
        (Wanted(APPLICATION, "/srv"), []),
        (Wanted(APPLICATION, "/srv/immich/library"), []),
        (Wanted(APPLICATION, "shop"), []),  # has no files
        (Wanted(DATABASE, "immich"), ["immich"]),
        (Wanted(DATABASE, "wiki"), ["host"]),  # takes all databases, and the newest backup has it
        (Wanted(DATABASE, "shop"), ["shop"]),
        (Wanted(DATABASE, "ledger"), ["host", "shop"]),
        (Wanted(DATABASE, "immich", container="immich_postgres"), ["immich"]),
        (Wanted(DATABASE, "wiki", container="other"), []),
        (Wanted(DATABASE, "volumes"), []),
        (Wanted(DATABASE, "nobody"), []),
    ],
)
def test_jobs_of_a_target(wanted: Wanted, names: list[str]) -> None:
    assert [job.name for job in matching(wanted, JOBS, DUMPED)] == names


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Wanted(APPLICATION, "immich"), ""),
        (Wanted(APPLICATION, "immich", ("/srv/immich/library",)), ""),
        (Wanted(APPLICATION, "immich", ("/srv/immich", "/srv/else")), "Its paths do not cover /srv/else"),
        (Wanted(APPLICATION, "immich", container="immich_server"), ""),
        (Wanted(APPLICATION, "immich", container="web"), "It has no container web"),
    ],
)
def test_a_job_that_does_something_else(wanted: Wanted, reason: str) -> None:
    assert contradiction(wanted, IMMICH) == reason


@pytest.mark.parametrize(
    "target",
    ["../etc", "a/b", ".", "..", "/srv/../etc", "/srv//x", "/srv/./x", "a\nb", "a\0b", " ", "", "\ud800", "x" * 5000],
)
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(UsageError):
        Wanted(APPLICATION, target)


@pytest.mark.parametrize("path", ["relative", "../etc", "/a/..", "/a\0"])
def test_directories_that_are_none(path: str) -> None:
    with pytest.raises(UsageError):
        Wanted(APPLICATION, "name", (path,))


def test_a_database_may_have_any_name() -> None:
    assert Wanted(DATABASE, "../etc/../x").paths == ()


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/srv/photos", "photos"),
        ("/srv/Photos & more/", "photos-more"),
        ("Übersicht", "ubersicht"),
        ("/", "job"),
        ("日本", "job"),
        ("--x--", "x"),
        ("x" * 80, "x" * 48),
        ("taken", "taken-3"),
        ("t" * 48, "t" * 46 + "-2"),
    ],
)
def test_names_of_new_jobs(target: str, name: str) -> None:
    assert job_name(target, {"taken", "taken-2", "t" * 48}) == name
    assert is_job_name(name)
