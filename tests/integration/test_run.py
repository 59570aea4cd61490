"""Runs of every kind of job: files, volumes, databases, with containers and without."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.host.disk.repository import BackupDirectory
from tests.support.dockerd import Engine, unique_name
from tests.support.invariants import check_invariants
from tests.support.job import COUNT, App, Site, counting, site, until
from tests.support.postgres import Server


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure({})
        yield made.init()


def ran(bed: Site, *up: App, **job: Any) -> dict[str, Any]:
    """The manifest of a run of this job."""
    bed.configure({"app": job})
    done = bed.run("run", "app").succeeded()
    assert done.out.split() == bed.ids()[:1]
    check_invariants(bed, up=up)
    manifest = bed.manifest()
    record = bed.record()
    assert (record["result"], record["exit_code"], record["backup"]) == ("success", 0, manifest["id"])
    assert manifest["job_config"].keys() >= job.keys()
    return manifest


def kinds(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["type"], each["target"]) for each in manifest["artifacts"]]


def test_files(bed: Site) -> None:
    (bed.data / "file").write_text("content")
    manifest = ran(bed, paths=[str(bed.data)])
    assert kinds(manifest) == [("application", "app")]
    assert manifest["containers"] == []
    assert (bed.restored("x") / str(bed.data / "file").lstrip("/")).read_text() == "content"


def test_a_database(bed: Site, postgres: Server) -> None:
    with postgres.database("shop", "CREATE TABLE item AS SELECT 1 AS id") as name:
        manifest = ran(bed, postgres=[{"dsn": postgres.dsn(), "databases": [name]}])
    assert kinds(manifest) == [("database", "shop")]
    assert (manifest["archives"], manifest["roots"], manifest["containers"]) == ([], [], [])
    assert {path.name.split(".")[0] for path in (bed.job() / manifest["id"]).iterdir()} == {
        *("SHA256SUMS", "database", "globals", "manifest"),  # and what signs it
    }
    bed.run("restore", "app/latest", "--to", str(bed.path / "x")).failed(66)


def test_a_database_with_a_container_that_uses_it(bed: Site, engine: Engine, postgres: Server) -> None:
    bed.docker = engine.url
    app = counting(engine, bed.data)
    with postgres.database("shop") as name:
        manifest = ran(bed, app, containers=[app.name], postgres=[{"dsn": postgres.dsn(), "databases": [name]}])
    assert kinds(manifest) == [("database", "shop")]
    (container,) = manifest["containers"]
    assert set(container) == {"name", "image", "digest", "downtime_seconds"}
    assert container["name"] == app.name
    assert 0 < container["downtime_seconds"] == bed.record()["downtime_seconds"]


def test_one_name_on_two_servers(bed: Site, postgres: Server, second_postgres: Server) -> None:
    servers = (postgres, second_postgres)
    with postgres.database("shop", "CREATE TABLE one ()"), second_postgres.database("shop", "CREATE TABLE two ()"):
        sources = [{"dsn": server.dsn(), "databases": ["shop"]} for server in servers]
        manifest = ran(bed, paths=[str(bed.data)], postgres=sources)
        databases = [each for each in manifest["artifacts"] if each["type"] == "database"]
        assert len({each["server"] for each in databases}) == 2
        assert [each["tables"][0]["name"] for each in databases] == ["public.one", "public.two"]
        bed.run("restore", "app/latest", "--database", "shop", "--as", "back").failed(2, "--server")
        server = databases[1]["server"]
        bed.run("restore", "app/latest", "--database", "shop", "--server", server, "--as", "back").succeeded()
        assert "back" in second_postgres.databases()
        assert "back" not in postgres.databases()
        second_postgres.drop("back")


def test_a_volume(bed: Site, engine: Engine) -> None:
    """Of a container that is stopped, and of one that is not there any more."""
    bed.docker = engine.url
    volumes = [unique_name("vol"), unique_name("vol")]
    writing = "trap 'echo last >>/data/log; exit 0' TERM; echo first >/data/log; while :; do sleep 0.02; done"
    name = engine.run(("sh", "-c", writing), binds=[f"{volumes[0]}:/data"])
    places = [Path(engine.api.create_volume(volume)["Mountpoint"]) for volume in volumes]
    (places[1] / "file").write_text("content")
    time.sleep(0.2)
    manifest = ran(bed, volumes=volumes, containers=[name])
    assert manifest["artifacts"][0]["sources"] == [
        {"kind": "volume", "name": volume, "path": str(place)} for volume, place in zip(volumes, places, strict=True)
    ]
    files = bed.restored("x")
    assert (files / str(places[0] / "log").lstrip("/")).read_text() == "first\nlast\n"
    assert (files / str(places[1] / "file").lstrip("/")).read_text() == "content"


def test_containers_are_stopped_and_started_in_order(bed: Site, engine: Engine) -> None:
    """Who needs another goes first and comes back last; one that joins another's network could not start otherwise."""
    bed.docker = engine.url
    base = counting(engine, bed.data / "base")
    guest = counting(engine, bed.data / "guest", network_mode=f"container:{base.name}")
    ran(bed, guest, base, paths=[str(bed.data)], containers=[base.name, guest.name])
    assert base.started_at() < guest.started_at()
    assert [each["name"] for each in bed.manifest()["containers"]] == [guest.name, base.name]


def test_a_service_comes_back_after_the_one_that_it_depends_on(bed: Site, engine: Engine) -> None:
    """Docker itself would start the two in any order."""
    bed.docker = engine.url
    project = {"com.docker.compose.project": unique_name("project")}
    needed = {**project, "com.docker.compose.service": "base"}
    needs = {**project, "com.docker.compose.service": "guest", "com.docker.compose.depends_on": "base:healthy:true"}
    base = counting(engine, bed.data / "base", config={"labels": needed})
    guest = counting(engine, bed.data / "guest", config={"labels": needs})
    ran(bed, guest, base, paths=[str(bed.data)], containers=[base.name, guest.name])
    assert base.started_at() < guest.started_at()
    assert [each["name"] for each in bed.manifest()["containers"]] == [guest.name, base.name]


def test_what_has_no_order_is_down_at_once(bed: Site, engine: Engine) -> None:
    """The last one is asked to end before the first one has ended."""
    bed.docker = engine.url
    slow = COUNT.replace("exit 0", "touch /data/asked; sleep 3; touch /data/ended; exit 0")
    apps = [counting(engine, bed.data / name, command=("sh", "-c", slow)) for name in "abcd"]
    manifest = ran(bed, *apps, paths=[str(bed.data)], containers=[app.name for app in apps])
    assert {each["name"] for each in manifest["containers"]} == {app.name for app in apps}
    asked, ended = ([(app.data / name).stat().st_mtime for app in apps] for name in ("asked", "ended"))
    assert max(asked) < min(ended)


def test_containers_of_an_old_compose_keep_the_order_that_they_are_given_in(bed: Site, engine: Engine) -> None:
    bed.docker = engine.url
    labels = {"com.docker.compose.project": unique_name("project")}
    apps = [counting(engine, bed.data / name, config={"labels": labels}) for name in "abc"]
    names = [app.name for app in apps]
    bed.configure({"app": {"paths": [str(bed.data)], "containers": names}})
    assert f"{', '.join(names)} are stopped one after another as `containers` has them" in bed.run("check").out
    done = bed.run("run", "app").succeeded()
    check_invariants(bed, up=apps)
    places = [done.err.index(f"Stopped container {name}") for name in names]
    assert places == sorted(places)
    moments = [app.started_at() for app in apps]
    assert moments == sorted(moments, reverse=True)


def checked(engine: Engine, data: Path, begin: str, test: str) -> App:
    """A container that counts, and whose health is what `test` says; it is healthy."""
    check = {"test": ["CMD-SHELL", test], "interval": 200_000_000, "timeout": 30 * 10**9, "retries": 2}
    app = counting(engine, data, command=("sh", "-c", f"{begin}\n{COUNT}"), config={"healthcheck": check})
    until(lambda: health(app) == "healthy", f"{app.name} is healthy")
    return app


def health(app: App) -> str:
    return str(app.engine.state(app.name)["Health"]["Status"])


def test_a_run_ends_when_its_containers_are_healthy(bed: Site, engine: Engine) -> None:
    bed.docker = engine.url
    app = checked(engine, bed.data, "rm -f /ready; (sleep 3; touch /ready) &", "test -e /ready")
    ran(bed, app, paths=[str(bed.data)], containers=[app.name], start_timeout="1m")
    assert health(app) == "healthy"


def test_a_container_that_is_healthy_no_more_is_told(bed: Site, engine: Engine) -> None:
    """The backup is good all the same."""
    bed.docker = engine.url
    app = checked(engine, bed.data, "test ! -e /begun || touch /sick; touch /begun", "test ! -e /sick")
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name], "start_timeout": "2s"}})
    done = bed.run("run", "app").failed(1, f"{app.name} is not healthy after 2 seconds")
    assert done.out.split() == bed.ids()
    check_invariants(bed, up=[app])


def test_full_takes_everything_again(bed: Site) -> None:
    (bed.data / "file").write_text("content")
    time.sleep(2.1)
    first = ran(bed, paths=[str(bed.data)])
    second = ran(bed, paths=[str(bed.data)])
    assert [each["path"] for each in second["archives"]] == [each["path"] for each in first["archives"]]
    bed.run("run", "app", "--full").succeeded()
    (archive,) = bed.manifest()["archives"]
    assert archive["path"] == f"archives/{bed.ids()[0]}.hot-0001.tar.zst"
    assert archive["added"]


def test_the_hot_pass_of_a_failed_run_is_built_upon(bed: Site) -> None:
    """What it archived is not archived again; the backup that takes it over counts it as its own."""
    (bed.data / "old").write_text("old")
    time.sleep(2.1)
    ran(bed, paths=[str(bed.data)])
    (bed.data / "new").write_bytes(bytes(1 << 20))
    time.sleep(2.1)
    for _ in range(2):
        bed.run("run", "app", failpoint="manifest:error").failed(1)
        assert ".checkpoint" in bed.names()
        check_invariants(bed)
    made = {path.name for path in (bed.job() / "archives").iterdir()}
    assert len(made) == 2
    bed.run("run", "app").succeeded()
    assert ".checkpoint" not in bed.names()
    assert {path.name for path in (bed.job() / "archives").iterdir()} == made
    assert [each["added"] for each in bed.manifest()["archives"]] == [False, True]
    check_invariants(bed)


def test_a_checkpoint_older_than_a_backup_is_not_built_upon(bed: Site) -> None:
    """It is still there when it could not be removed; what it does not know would be archived again."""
    bed.configure({"app": {"paths": [str(bed.data)]}})
    (bed.data / "old").write_text("old")
    time.sleep(2.1)
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    (bed.data / "new").write_text("new")
    time.sleep(2.1)
    shutil.copytree(bed.job() / ".checkpoint", bed.path / "kept")
    bed.run("run", "app").succeeded()
    archives = {path.name for path in (bed.job() / "archives").iterdir()}
    shutil.copytree(bed.path / "kept", bed.job() / ".checkpoint")
    bed.run("run", "app").succeeded()
    assert {path.name for path in (bed.job() / "archives").iterdir()} == archives
    assert bed.restored("x").joinpath(str(bed.data / "new").lstrip("/")).read_text() == "new"


def test_a_damaged_checkpoint_is_not_built_upon(bed: Site) -> None:
    (bed.data / "file").write_text("content")
    bed.configure({"app": {"paths": [str(bed.data)]}})
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    (bed.job() / ".checkpoint/files.index.zst").write_bytes(b"damaged")
    done = bed.run("run", "app").succeeded()
    assert "warning: app: The checkpoint of app is damaged and not built upon" in done.err
    check_invariants(bed)
    assert (bed.restored("x") / str(bed.data / "file").lstrip("/")).read_text() == "content"


def test_an_id_is_taken_by_archives_too(bed: Site) -> None:
    """A run that failed in this second left archives to its checkpoint: the next one must not replace them."""
    bed.configure({"app": {"paths": [str(bed.data)]}})
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    (archive,) = (bed.job() / "archives").iterdir()
    directory = BackupDirectory.open(bed.backups)
    with pytest.raises(FileExistsError):
        directory.begin("app", archive.name.partition(".")[0])
    assert not list(bed.job().glob(".incoming-*"))


def test_runs_in_quick_succession_get_ids_of_their_own(bed: Site) -> None:
    bed.configure({"app": {"paths": [str(bed.data)]}})
    codes = [bed.run("run", "app", failpoint="manifest:error" if odd else "").code for odd in (0, 1, 0, 1, 0)]
    assert codes == [0, 1, 0, 1, 0]
    assert len(bed.ids()) == 3
    assert len(list(bed.state.glob("runs/app/*.json"))) == 5
    check_invariants(bed)
