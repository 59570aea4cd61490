"""Validation against a real Docker: what must be there, and who else writes to the files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import Engine, unique_name
from tests.support.invariants import check_invariants
from tests.support.job import Site, counting, site
from tests.support.validation import check, refused, said


@pytest.fixture
def docked(tmp_path: Path, engine: Engine) -> Iterator[Site]:
    """An installation with Docker, and a job over one file."""
    with site(tmp_path, engine.url) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        yield made.init()


# ---- Docker ----------------------------------------------------------------------------------------------------------


def test_docker_is_out_of_reach(docked: Site) -> None:
    docked.configure(
        {"app": {"paths": [str(docked.data)], "containers": ["web"]}}, docker="unix:///nowhere/docker.sock"
    )
    refused(docked, 69, "Docker does not answer")


def test_docker_is_not_needed(docked: Site) -> None:
    """A job of files alone asks it only whether something writes to them."""
    docked.configure({"app": {"paths": [str(docked.data)]}}, docker="unix:///nowhere/docker.sock")
    assert said(docked, "FAIL") == []
    docked.configure({"app": {"paths": [str(docked.data)]}}, docker="tcp://127.0.0.1:1")
    assert said(docked, "FAIL") == []
    docked.run("run", "app").succeeded()


def test_container_is_missing(docked: Site, engine: Engine) -> None:
    name = engine.run(name=unique_name("immich"))
    docked.change(containers=[name.upper()])
    refused(docked, 66, f"There is no container {name.upper()}")
    hint = next(row["hint"] for row in check(docked) if row["status"] == "FAIL")
    assert "docker ps" in hint or name in hint


def test_container_that_docker_would_remove(docked: Site, engine: Engine) -> None:
    name = engine.run(auto_remove=True)
    docked.change(containers=[name])
    refused(docked, 1, f"The container {name} was started with --rm")
    assert engine.is_running(name)


def test_container_both_stopped_and_dumped(docked: Site, engine: Engine) -> None:
    name = engine.postgres()
    docked.change(containers=[name], postgres=[{"container": name}])
    refused(docked, 1, f"The container {name} is both stopped and dumped")
    assert engine.is_running(name)


@pytest.mark.parametrize("state", ["stopped", "paused", "created"])
def test_container_that_does_not_run_stays_as_it_is(docked: Site, engine: Engine, state: str) -> None:
    name = engine.create() if state == "created" else engine.run()
    if state != "created":
        getattr(engine.api, {"stopped": "kill", "paused": "pause"}[state])(name)
    docked.change(containers=[name])
    (message,) = said(docked, "WARN")
    assert "it is left as it is" in message
    before = engine.state(name)
    docked.run("run", "app").succeeded()
    assert engine.state(name) == before
    assert message in docked.manifest()["warnings"]
    check_invariants(docked)
    if state == "paused":
        engine.api.unpause(name)


def test_volume_is_missing(docked: Site) -> None:
    docked.change(volumes=["nothing"])
    refused(docked, 66, "There is no volume nothing")


def test_volume_that_is_mounted_only_while_it_is_used(docked: Site, engine: Engine) -> None:
    volume = unique_name("vol")
    engine.api.create_volume(volume, driver_opts={"type": "none", "o": "bind", "device": str(docked.data)})
    docked.change(volumes=[volume])
    refused(docked, 66, f"The volume {volume} is mounted only while a container uses it", str(docked.data))


# ---- who else writes -------------------------------------------------------------------------------------------------


def test_a_running_container_that_writes_to_the_files(docked: Site, engine: Engine) -> None:
    app = counting(engine, docked.data / "app")
    (message,) = said(docked, "WARN")
    assert f"The running container {app.name} writes to what the job archives" in message
    docked.run("run", "app").succeeded()
    assert message in docked.manifest()["warnings"]
    docked.change(containers=[app.name])
    assert said(docked, "WARN") == []
    docked.change(containers=[], exclude=[f"{app.data}"])
    assert said(docked, "WARN") == [], "what is excluded may be written to"
    docked.change(exclude=[])
    engine.api.stop(app.name)
    assert said(docked, "WARN") == []


def test_a_running_container_that_writes_to_files_of_one_file_system(docked: Site, engine: Engine) -> None:
    """Only what is mounted below is left out then, and nothing is."""
    app = counting(engine, docked.data / "app")
    docked.change(one_file_system=True)
    (message,) = said(docked, "WARN")
    assert f"The running container {app.name} writes" in message


def test_a_running_container_that_reads_the_files(docked: Site, engine: Engine) -> None:
    engine.run(binds=[f"{docked.data}:/data:ro"])
    assert said(docked, "WARN") == []


def test_a_volume_that_a_running_container_writes_to(docked: Site, engine: Engine) -> None:
    volume = unique_name("vol")
    name = engine.run(binds=[f"{volume}:/data"])
    docked.change(volumes=[volume])
    assert f"The running container {name} writes" in " ".join(said(docked, "WARN"))


def test_a_live_database(docked: Site, engine: Engine) -> None:
    """Of a container that is not stopped: a copy of its files would not restore."""
    app = counting(engine, docked.data / "app")
    for name in ("postmaster.pid", "ibdata1", "mongod.lock", "db.sqlite3-wal"):
        file = app.data / name
        file.write_text("in use")
        (row,) = (row for row in check(docked) if row["status"] == "FAIL")
        assert row["name"] == "live database"
        assert row["message"].startswith(f"{file} belongs to a database that runs in the container {app.name}")
        assert f'Add "{app.name}" to `containers`' in row["hint"]
        if name != "db.sqlite3-wal":
            file.unlink()
    refused(docked, 1, "db.sqlite3-wal", f"runs in the container {app.name}")
    docked.change(containers=[app.name])
    docked.run("run", "app").succeeded()
    docked.change(containers=[], exclude=["**/*-wal"])
    assert said(docked, "FAIL") == []


def test_a_database_at_rest(docked: Site, engine: Engine) -> None:
    app = counting(engine, docked.data / "app")
    (app.data / "db.sqlite3-wal").touch()  # an empty log belongs to a database that was closed
    (docked.data / "ibdata1").write_text("mounted by nobody")
    assert said(docked, "FAIL") == []


def test_a_live_postgres_in_a_container(docked: Site, engine: Engine) -> None:
    """The real thing. It may be dumped, when its files are left out."""
    name = engine.postgres(binds=[f"{docked.data}/pg:/var/lib/postgresql/data"])
    docked.change(postgres=[{"container": name}])
    refused(docked, 1, "postmaster.pid", f"runs in the container {name}")
    docked.change(exclude=[f"{docked.data}/pg"])
    assert [row for row in check(docked) if row["status"] != "OK"] == []
    docked.run("run", "app").succeeded()
    assert {each["type"] for each in docked.manifest()["artifacts"]} == {"application", "database"}
    check_invariants(docked)


def test_a_database_belongs_to_who_mounts_no_more_than_it(docked: Site, engine: Engine) -> None:
    """A file browser that may write everywhere is not asked to stop for another one's database."""
    app = counting(engine, docked.data / "app")
    (app.data / "db.sqlite3-wal").write_text("in use")
    browser = engine.run(binds=[f"{docked.data}:/srv"])
    refused(docked, 1, f"runs in the container {app.name}")
    docked.change(containers=[app.name])
    assert said(docked, "FAIL") == []
    (message,) = said(docked, "WARN")
    assert f"The running container {browser} writes" in message
