"""In-place restores among containers: which are stopped, which are in the way, volumes, databases, a new machine."""

import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.disks import own_disk, small_disk
from tests.support.dockerd import Engine, unique_name
from tests.support.holders import holders
from tests.support.job import COUNT, App, Site, counting, site, stands_still, until
from tests.support.postgres import Server


@pytest.fixture
def made(engine: Engine, tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, engine.url) as installation:
        yield installation


def backed_up(made: Site, app: App, **more: object) -> str:
    """A backup of the app's directory, in which it says "then"; now it says "now"."""
    made.configure({"app": {"paths": [str(app.data)], "containers": [app.name], "stop_timeout": "1s", **more}})
    (app.data / "word").write_text("then")
    backup = made.init().run("run", "app").succeeded().out.strip()
    (app.data / "word").write_text("now")
    return backup


def restore(made: Site, *options: str) -> str:
    return made.run("restore", "app/latest", "--in-place", "--yes", *options).succeeded().out


def test_containers_are_stopped_for_the_swap_alone(made: Site, engine: Engine) -> None:
    app = counting(engine, made.data / "app")
    backup = backed_up(made, app)
    started = app.started_at()
    done = made.run("restore", f"app/{backup}", "--in-place")
    assert done.code == 2
    assert f"stopped meanwhile: {app.name}" in done.out
    assert app.started_at() == started
    then = app.count
    restore(made)
    assert (app.data / "word").read_text() == "then"
    assert app.started_at() != started
    assert app.count < then + 100
    app.counts()  # in the new tree, not in the old one
    assert made.owed() == []
    made.run("undo", "app", "--yes").succeeded()
    assert (app.data / "word").read_text() == "now"
    app.counts()


def test_a_container_that_was_not_running_stays_so(made: Site, engine: Engine) -> None:
    app = counting(engine, made.data / "app")
    backed_up(made, app)
    engine.api.stop(app.name, timeout=1)
    restore(made)
    assert not app.running
    assert (app.data / "word").read_text() == "then"


@pytest.mark.parametrize(
    ("source", "mode", "refused"),
    [
        ("app", "ro", True),
        ("app/inner", "rw", True),
        ("", "rw", True),
        ("", "ro", False),
        ("app/left/out", "rw", False),
    ],
)
def test_a_container_that_goes_on_in_the_old_tree_is_refused(
    made: Site, engine: Engine, source: str, mode: str, *, refused: bool
) -> None:
    app = counting(engine, made.data / "app")
    for name in ("inner", "left/out"):
        (app.data / name).mkdir(parents=True)
    backed_up(made, app, exclude=[f"{app.data}/left/out"])
    other = engine.run(binds=[f"{made.data / source}:/data:{mode}"])
    if refused:
        done = made.run("restore", "app/latest", "--in-place", "--yes")
        done.failed(1, other, f"docker stop {other}", "`containers`")
        assert (app.data / "word").read_text() == "now"
        app.counts()
        engine.api.pause(other)
        made.run("restore", "app/latest", "--in-place", "--yes").failed(1, other, "is paused")
        engine.api.unpause(other)
        engine.api.stop(other, timeout=1)
    restore(made)
    assert (app.data / "word").read_text() == "then"
    if refused:
        engine.api.start(other)
        made.run("undo", "app", "--yes").failed(1, other)
        engine.api.stop(other, timeout=1)
    made.run("undo", "app", "--yes").succeeded()


def test_a_container_that_comes_up_meanwhile_is_seen(made: Site, engine: Engine) -> None:
    """It is started while another one, which takes its time, is stopped: nothing is replaced."""
    app = counting(engine, made.data / "app", command=("sh", "-c", COUNT.replace("'exit 0'", "''")))
    other = engine.create(binds=[f"{app.data}:/data"])
    backed_up(made, app, stop_timeout="3s")
    process = made.start("restore", "app/latest", "--in-place", "--yes")
    until(made.owed, "the first container is to be stopped")
    engine.api.start(other)
    made.finish(process).failed(1, other, "cannot be replaced now")
    assert (app.data / "word").read_text() == "now"
    assert holders(made.data) == []
    app.counts()


def test_new_machine(made: Site, engine: Engine) -> None:
    """Only the backup directory survived: volumes are made, absent containers are named, show has the configuration."""
    name, server = unique_name("volume"), engine.postgres(name=unique_name("pg"), database="shop")
    app = counting(engine, made.data / "app", more_binds=[f"{name}:/volume"])
    volume = Path(engine.api.inspect_volume(name)["Mountpoint"])
    (volume / "in the volume").write_text("kept")
    volume.chmod(0o2771)
    backed_up(made, app, volumes=[name], postgres=[{"container": server, "databases": ["shop"]}], undo_keep="3d")
    for container in (app.name, server):
        engine.api.remove_container(container, force=True, v=True)
    engine.api.remove_volume(name)
    shutil.rmtree(app.data)
    shutil.rmtree(made.state)
    shutil.rmtree(made.config.parent)
    made.run("init", "--directory", str(made.backups)).succeeded()
    if engine.url not in made.config.read_text():  # the test's Engine is not where Docker usually is
        made.config.write_text(f'docker = "{engine.url}"\n{made.config.read_text()}')
    assert made.run("list", "--json").succeeded().json[0]["job"] == "app"
    made.run("verify", "app/latest").succeeded()
    shown = made.run("show", "app/latest").succeeded().out
    pasted = tomllib.loads(shown.partition("The job's configuration:\n")[2])["jobs"]["app"]
    assert pasted["volumes"] == [name]
    assert pasted["undo_keep"] == "3d"
    trust = ("--trust", made.run("verify", "app/latest", "--json").json[0]["signature"]["fingerprint"])
    consent = (*trust, "--allow-beyond")  # no job says yet that this is meant
    told = made.run("restore", "app/latest", "--in-place", *trust)
    assert f"the volume {name}" in told.out
    assert f"passed over: the container {app.name}" in told.out
    done = made.run("restore", "app/latest", "--in-place", *consent, "--yes")
    done.failed(1, f"There is no container {server}")
    assert f"There is no container {app.name} on this machine: it is passed over" in done.err
    volume = Path(engine.api.inspect_volume(name)["Mountpoint"])
    assert (volume / "in the volume").read_text() == "kept"
    assert volume.stat().st_mode & 0o7777 == 0o2771
    assert (app.data / "word").read_text() == "then"
    made.config.write_text(made.config.read_text() + shown.partition("The job's configuration:\n")[2])
    made.run("config", "get", "jobs.app.volumes").succeeded()
    made.run("undo", "app", "--yes").succeeded()
    assert not app.data.exists()
    assert list(volume.iterdir()) == []


def test_the_root_of_a_volume_stays_and_its_entries_change(made: Site, engine: Engine) -> None:
    name = unique_name("volume")
    engine.api.create_volume(name)
    volume = Path(engine.api.inspect_volume(name)["Mountpoint"])
    app = counting(engine, made.data / "app", more_binds=[f"{name}:/volume"])
    for entry in ("stays", "goes", "cache"):
        (volume / entry).mkdir()
        (volume / entry / "file").write_text("then")
    backed_up(made, app, volumes=[name], exclude=["cache", "**/cache"])
    root = volume.stat().st_ino
    cache = (volume / "cache").stat().st_ino
    shutil.rmtree(volume / "goes")
    (volume / "stays/file").write_text("now")
    (volume / "stays/cache").mkdir()
    (volume / "fresh").write_text("now")
    restore(made)
    assert {path.name for path in volume.iterdir()} == {"stays", "goes", "cache"}
    assert (volume / "stays/file").read_text() == "then"
    assert (volume / "stays/cache").is_dir()
    assert (volume.stat().st_ino, (volume / "cache").stat().st_ino) == (root, cache)
    (volume / "since").write_text("made by the application after the restore")
    made.run("undo", "app", "--yes").succeeded()
    assert {path.name for path in volume.iterdir()} == {"stays", "fresh", "cache"}
    assert (volume / "stays/file").read_text() == "now"
    assert (volume / "stays/cache").is_dir()
    (kept,) = [path for holder in {*holders(volume), *holders(made.data)} for path in holder.rglob("since")]
    assert kept.read_text() == "made by the application after the restore"


def test_a_volume_that_is_a_disk_of_its_own(made: Site, engine: Engine) -> None:
    """What comes and goes is kept inside of it then, and no backup takes that along."""
    name = unique_name("volume")
    volume = Path(engine.api.create_volume(name)["Mountpoint"])
    with small_disk(volume, "40m"):
        made.configure({"app": {"volumes": [name]}})
        (volume / "word").write_text("then")
        made.init().run("run", "app").succeeded()
        (volume / "word").write_text("now")
        restore(made)
        assert (volume / "word").read_text() == "then"
        (holder,) = holders(volume)
        made.run("run", "app").succeeded()
        assert holder.name not in made.run("show", "app/latest", "--files").out
        made.run("undo", "app", "--yes").succeeded()
        assert (volume / "word").read_text() == "now"
        (volume / "inner").mkdir()
        with small_disk(volume / "inner", "1m"):
            made.run("restore", "app/latest", "--in-place", "--yes").failed(1, f"{volume}/inner is a mount point")


def test_no_container_runs_on_a_mixture_of_old_and_new(made: Site, engine: Engine) -> None:
    """While a half done restore cannot be finished, since its disk is away, what it stopped stays down."""
    app = counting(engine, made.data / "app")
    backed_up(made, app)
    killed = made.run("restore", "app/latest", "--in-place", "--yes", failpoint="swap@1:kill")
    assert (killed.code, app.running) == (-signal.SIGKILL, False)
    (holder,) = holders(made.data)
    away = holder.rename(made.path / "away")
    for _ in range(2):
        assert made.run("recover").code == 74
        assert (app.running, made.owed()) == (False, [f"app/{app.name}"])
    away.rename(holder)
    made.run("recover").succeeded()
    assert (app.running, made.owed(), (app.data / "word").read_text()) == (True, [], "then")


def test_a_restore_that_can_go_neither_way_keeps_its_containers_down(made: Site, engine: Engine) -> None:
    app = counting(engine, made.data / "app")
    backed_up(made, app)
    process = made.start("restore", "app/latest", "--in-place", "--yes", failpoint="commit:hold")
    stands_still(process)
    (holder,) = holders(made.data)
    away = holder.rename(made.path / "away")
    made.finish(process, signal.SIGCONT).failed(74, "half done", "hiveden-backup recover --job app")
    assert (app.running, made.owed()) == (False, [f"app/{app.name}"])
    away.rename(holder)
    made.run("recover").succeeded()
    assert (app.running, made.owed(), (app.data / "word").read_text()) == (True, [], "now")


def test_an_undo_that_cannot_go_on_keeps_its_containers_down(made: Site, engine: Engine) -> None:
    with own_disk(made.data), ExitStack() as stack:
        app = counting(engine, made.data / "app")
        stack.callback(engine.api.remove_container, app.name, force=True)  # it holds the disk
        backed_up(made, app)
        restore(made)
        old = holders(made.data)[0] / "old"
        subprocess.run(["chattr", "+i", old], check=True)  # nothing leaves it
        made.run("undo", "app", "--yes").failed(77, "half done", "hiveden-backup recover --job app")
        assert (app.running, made.owed()) == (False, [f"app/{app.name}"])
        subprocess.run(["chattr", "-i", old], check=True)
        made.run("recover").succeeded()
        assert (app.running, made.owed(), (app.data / "word").read_text()) == (True, [], "now")


def test_a_power_cut_right_after_the_commit(made: Site, engine: Engine) -> None:
    """The record is on another disk, and durable sooner than what was made on the volume's: that must not be lost."""
    name = unique_name("volume")
    volume = Path(engine.api.create_volume(name)["Mountpoint"])
    with own_disk(volume) as image:
        shutil.rmtree(volume / "lost+found")
        made.configure({"app": {"volumes": [name]}})
        (volume / "word").write_text("then")
        made.init().run("run", "app").succeeded()
        (volume / "word").write_text("now")
        killed = made.run("restore", "app/latest", "--in-place", "--yes", failpoint="swap@1:kill")
        found = image.with_suffix(".found")
        shutil.copyfile(image, found)
        assert killed.code == -signal.SIGKILL
        subprocess.run(["umount", volume], check=True)
        found.rename(image)
        subprocess.run(["mount", "-o", "loop", image, volume], check=True)
        made.run("recover").succeeded()
        assert (volume / "word").read_text() == "then"


def test_a_database_alone(made: Site, engine: Engine, postgres: Server) -> None:
    app = counting(engine, made.data / "app")
    with postgres.database(unique_name("db"), "CREATE TABLE item AS SELECT 'then' AS word") as database:
        source = {"dsn": postgres.dsn(), "databases": [database]}
        backed_up(made, app, postgres=[source])
        postgres.sql("UPDATE item SET word = 'now'", dbname=database)
        command = ("restore", "app/latest", "--database", database)
        done = made.run(*command)
        assert done.code == 2
        assert f"the database {database}" in done.out
        assert "1 table, 1 row" in done.out
        started = app.started_at()
        made.run(*command, "--yes").succeeded()
        assert postgres.sql("SELECT word FROM item", dbname=database) == [("then",)]
        assert (app.data / "word").read_text() == "now"
        assert app.started_at() != started
        kept = [name for name in postgres.databases() if name.startswith(f"{database}_before_")]
        assert len(kept) == 1
        postgres.sql("UPDATE item SET word = 'since'", dbname=database)
        made.run("undo", "app", "--yes").succeeded()
        assert postgres.sql("SELECT word FROM item", dbname=database) == [("now",)]
        assert postgres.databases() & set(kept) == set()
        (aside,) = (name for name in postgres.databases() if name.startswith("hiveden_staged_"))
        postgres.sql(f'ALTER DATABASE "{aside}" ALLOW_CONNECTIONS true')
        assert postgres.sql("SELECT word FROM item", dbname=aside) == [("since",)]
        made.change(undo_keep="1us")
        made.run("prune", "app").succeeded()
        assert aside not in postgres.databases()
        assert postgres.sql("SELECT word FROM item", dbname=database) == [("now",)]


def test_a_database_in_a_container_with_its_raw_files_below_the_path(made: Site, engine: Engine) -> None:
    """As Immich has it: the server's files lie below the application's directory, are left out, and in use."""
    data = made.data / "app"
    raw = data / "postgres"
    raw.mkdir(parents=True)
    server = engine.postgres(database="shop", binds=[f"{raw}:/var/lib/postgresql/data"])
    app = counting(engine, data)
    psql = ("psql", "-U", "postgres", "-d", "shop", "-At", "-c")

    def sql(statement: str) -> str:
        made_exec = engine.api.exec_create(server, [*psql, statement], environment={"PGHOST": "/run/postgresql"})
        return str(engine.api.exec_start(made_exec["Id"]).decode()).strip()

    sql("CREATE TABLE item AS SELECT 'then' AS word")
    backed_up(made, app, exclude=[str(raw)], postgres=[{"container": server, "databases": ["shop"]}])
    sql("UPDATE item SET word = 'now'")
    restore(made)
    assert (data / "word").read_text() == "then"
    assert sql("SELECT word FROM item") == "then"
    engine.api.restart(server, timeout=10)
    engine.wait_postgres(server)
    assert sql("SELECT word FROM item") == "then"  # its files are where the container looks for them
    made.run("undo", "app", "--yes").succeeded()
    assert (data / "word").read_text() == "now"
    assert sql("SELECT word FROM item") == "now"
