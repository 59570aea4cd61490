"""Targets that no job has get a job of their own; and the settings that a dashboard changes."""

import os
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.api_targets import Wanted
from hiveden_backup.core.errors import AmbiguousError, BackupError, ConfigError, NotFoundError, UnfitError, UsageError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.host import config_files
from hiveden_backup.host.state.records import Records
from hiveden_backup.jobs.setup import managed as module
from hiveden_backup.jobs.setup.managed import Settings, current
from hiveden_backup.jobs.setup.targets import adopt_application, adopt_database, find
from tests.support.dockerd import Engine
from tests.support.job import Site, site
from tests.support.postgres import Server

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def application(target: str, *dirs: str, container: str | None = None) -> Wanted:
    return Wanted(ArtifactType.APPLICATION, target, dirs, container)


def database(name: str) -> Wanted:
    return Wanted(ArtifactType.DATABASE, name)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure({"files": {"paths": [str(made.data)]}})
        yield made.init()


def managed(place: Site) -> dict[str, Any]:
    path = config_files.managed_file(place.config)
    return tomllib.loads(path.read_text()) if path.exists() else {}


# ---- files -----------------------------------------------------------------------------------------------------------


def test_an_application_is_its_paths(place: Site) -> None:
    (place.path / "My Photos").mkdir()
    wanted = application(str(place.path / "My Photos"))
    assert adopt_application(place.config, wanted) == "my-photos"
    assert managed(place) == {"jobs": {"my-photos": {"paths": [str(place.path / "My Photos")]}}}
    found = find(config_files.load(place.config), wanted)
    assert found is not None
    assert found.name == "my-photos"
    assert adopt_application(place.config, wanted) == "my-photos"


def test_a_name_is_not_that_of_an_older_jobs_backups(place: Site) -> None:
    (place.backups / "photos").mkdir()
    (place.path / "photos").mkdir()
    assert adopt_application(place.config, application(str(place.path / "photos"))) == "photos-2"


def test_what_is_not_there_is_no_job(place: Site) -> None:
    with pytest.raises(UsageError):
        adopt_application(place.config, application("photos"))
    with pytest.raises(NotFoundError):
        adopt_application(place.config, application("/nothing/there"))
    with pytest.raises(ConfigError):
        adopt_application(place.config, application(str(place.backups)))
    assert managed(place) == {}


@pytest.mark.parametrize("target", ["/proc/self", "/sys/kernel", "/dev/shm", "/run", "/", "/proc/self/root/srv"])
def test_what_no_backup_is_for_is_no_job(place: Site, target: str) -> None:
    with pytest.raises(BackupError):
        adopt_application(place.config, application(target, "/srv", target))
    with pytest.raises(BackupError):
        adopt_application(place.config, application(target), place.state)
    assert managed(place) == {}


def test_what_is_ours_or_no_tree_is_no_job(place: Site) -> None:
    (place.path / "link").symlink_to(place.data)
    (place.data / "below").mkdir()
    os.mkfifo(place.path / "pipe")
    (place.path / "line\u2028separator").mkdir()
    odd = ["link", "link/below", "pipe", "line\u2028separator"]
    state, config = place.state, place.config.parent
    (state / "runs").mkdir(parents=True, exist_ok=True)
    for each in (*(place.path / name for name in odd), state, state / "runs", config, place.path, place.path.parent):
        with pytest.raises(BackupError):
            adopt_application(place.config, application("new", str(each)), state)
    assert managed(place) == {}
    assert adopt_application(place.config, application("new", str(place.data / "below")), state) == "new"


def test_a_container_that_is_not_there_makes_no_job(tmp_path: Path, engine: Engine) -> None:
    with site(tmp_path, engine.url) as made:
        made.configure({"files": {"paths": [str(made.data / "other")]}})
        made.init()
        (made.data / "tree").mkdir()
        with pytest.raises(NotFoundError, match="nobody"):
            adopt_application(made.config, application(str(made.data / "tree"), container="nobody"))
        assert managed(made) == {}
        there = engine.create()
        assert adopt_application(made.config, application(str(made.data / "tree"), container=there)) == "tree"
        assert managed(made)["jobs"]["tree"]["containers"] == [there]


def test_many_at_once_get_what_they_want(place: Site) -> None:
    for name in ("a", "b"):
        (place.path / name / "data").mkdir(parents=True)
    wanted = [application(str(place.path / name / "data")) for name in "abababab"]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda each: adopt_application(place.config, each), wanted))
    assert set(names) == {"data", "data-2"}
    assert {names[0::2].count(names[0]), names[1::2].count(names[1])} == {4}


def test_a_target_of_two_jobs_is_nobodys(place: Site) -> None:
    place.configure({"one": {"paths": ["/etc"]}, "two": {"paths": ["/etc"]}})
    with pytest.raises(AmbiguousError, match="one, two"):
        find(config_files.load(place.config), application("/etc"))


# ---- databases -------------------------------------------------------------------------------------------------------


def test_a_database_of_a_configured_server(place: Site, postgres: Server) -> None:
    place.configure({"db": {"postgres": [{"dsn": postgres.dsn(), "databases": ["postgres"]}]}})
    with postgres.database("Shop & Co"):
        assert adopt_database(place.config, database("Shop & Co")) == "shop-co"
    (source,) = managed(place)["jobs"]["shop-co"]["postgres"]
    assert source == {"dsn": postgres.dsn(), "databases": ["Shop & Co"]}
    found = find(config_files.load(place.config), database("Shop & Co"))
    assert found is not None
    assert found.name == "shop-co"


def test_a_job_that_takes_all_databases_has_it(place: Site, postgres: Server) -> None:
    place.configure({"db": {"postgres": [{"dsn": postgres.dsn()}]}})
    assert find(config_files.load(place.config), database("wiki")) is None
    with postgres.database("wiki"):
        assert adopt_database(place.config, database("wiki")) == "db"
        place.run("run", "db").succeeded()
    assert managed(place) == {}
    found = find(config_files.load(place.config), database("wiki"))  # its newest backup has it
    assert found is not None
    assert found.name == "db"


def test_a_database_that_nobody_has(place: Site, postgres: Server) -> None:
    place.configure(
        {"db": {"postgres": [{"dsn": postgres.dsn()}, {"dsn": "host=/nowhere"}, {"container": "nobody"}]}},
        docker="unix:///nowhere/docker.sock",
    )
    with pytest.raises(UnfitError) as refused:
        adopt_database(place.config, database("template0"))
    for words in (str(postgres.sockets), "/nowhere", "Docker"):
        assert words in str(refused.value)
    assert managed(place) == {}


# ---- settings --------------------------------------------------------------------------------------------------------


def change(place: Site, directory: Path | str | None = None, keep_last: int | None = None) -> bool:
    wanted = Settings(None if directory is None else str(directory), keep_last)
    return module.change(place.config, Records(place.state), wanted, NOW)


def test_a_new_directory_is_initialised(place: Site) -> None:
    assert change(place, place.path / "new", 3)
    assert current(place.config) == Settings(str(place.path / "new"), 3)
    assert (place.path / "new/.hiveden-backup.json").exists()
    assert not change(place, None, 4)
    assert managed(place) == {"directory": str(place.path / "new"), "retention": {"keep_last": 4}}
    assert change(place, place.backups)  # which is marked: adopted as it is


def test_a_directory_with_other_things_is_refused(place: Site) -> None:
    (place.path / "link").symlink_to(place.path / "somewhere")
    for directory in (place.path, place.config, place.path / "link", "/", "relative"):
        with pytest.raises(BackupError):
            change(place, directory, 3)
    assert managed(place) == {}
    assert not list(place.data.iterdir())


def test_an_unmounted_directory_is_not_initialised(place: Site) -> None:
    place.run("run", "files").succeeded()
    place.backups.rename(place.path / "unplugged")
    assert not change(place, place.backups, 5)
    assert not place.backups.exists()
    assert current(place.config).keep_last == 5


def test_a_directory_that_was_never_initialised_is(place: Site) -> None:
    place.configure({"files": {"paths": [str(place.data)]}}, directory=str(place.path / "fresh"))
    change(place, place.path / "fresh", 5)
    assert (place.path / "fresh/.hiveden-backup.json").exists()
