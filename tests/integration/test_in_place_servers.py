"""In-place restores of files that the database's own container has mounted: down for them, up for the rest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.docker_proxy import FORBIDDEN, PASS, proxy
from tests.support.dockerd import Engine
from tests.support.holders import holders
from tests.support.job import App, Site, counting, site

THEN, NOW = "then", "now"
HBA = "local all all trust\n"


@dataclass(frozen=True)
class Bed:
    """An application, and a server that has one of its files mounted."""

    site: Site
    app: App
    server: str

    @property
    def hba(self) -> Path:
        return self.app.data / "pg_hba.conf"

    def sql(self, statement: str) -> str:
        argv = ["psql", "-U", "postgres", "-d", "shop", "-At", "-c", statement]
        api = self.app.engine.api
        made = api.exec_create(self.server, argv, environment={"PGHOST": "/run/postgresql"})
        return str(api.exec_start(made["Id"]).decode()).strip()

    def put(self, word: str) -> None:
        (self.app.data / "word").write_text(word)
        self.hba.write_text(f"{HBA}# {word}\n")
        self.sql(f"UPDATE item SET word = '{word}'")

    def started(self) -> str:
        return str(self.app.engine.state(self.server)["StartedAt"])

    def check(self, word: str) -> None:
        """All of it is in one state, and everything runs."""
        assert (self.app.data / "word").read_text() == word
        assert self.sql("SELECT word FROM item") == word
        assert self.hba.read_text() == f"{HBA}# {word}\n"
        assert self.app.engine.execute(self.server, ["grep", f"# {word}", "/srv/pg_hba.conf"]) == 0
        assert self.site.owed() == []
        self.app.counts()

    def restore(self, *options: str, failpoint: str = "") -> int:
        done = self.site.run("restore", "app/latest", "--in-place", "--yes", *options, failpoint=failpoint)
        assert "Traceback" not in done.err
        return done.code

    def left(self) -> list[str]:
        records = self.site.state.glob("undo/app/*.json")
        return [*map(str, holders(self.app.data)), *map(str, records)]


@contextmanager
def made_bed(engine: Engine, tmp_path: Path, docker: str, **server: Any) -> Iterator[Bed]:
    """The bed, whose Docker is at an address of its own; `server` are settings of the server's container."""
    with site(tmp_path, docker) as made:
        data = made.data / "app"
        data.mkdir()
        (data / "pg_hba.conf").write_text(HBA)
        name = engine.postgres(
            database="shop",
            settings={"hba_file": "/srv/pg_hba.conf"},
            binds=[f"{data}/pg_hba.conf:/srv/pg_hba.conf:ro"],
            config=server,
        )
        bed = Bed(made, counting(engine, data), name)
        bed.sql(f"CREATE TABLE item AS SELECT '{THEN}' AS word")
        bed.put(THEN)
        postgres = [{"container": name, "databases": ["shop"]}]
        made.configure(
            {
                "app": {
                    "paths": [str(data)],
                    "containers": [bed.app.name],
                    "postgres": postgres,
                    "stop_timeout": "2s",
                    "start_timeout": "10s",
                }
            }
        )
        made.init().run("run", "app").succeeded()
        bed.put(NOW)
        yield bed


@pytest.fixture
def bed(engine: Engine, tmp_path: Path) -> Iterator[Bed]:
    with made_bed(engine, tmp_path, engine.url) as bed:
        yield bed


def test_the_server_is_down_for_the_files_alone(bed: Bed) -> None:
    started = bed.started()
    told = bed.site.run("restore", "app/latest", "--in-place")
    assert told.code == 2
    assert f"stopped meanwhile: {bed.app.name}" in told.out
    assert f"stopped while files change places: {bed.server}" in told.out
    assert bed.started() == started
    assert bed.restore() == 0
    assert bed.started() != started
    bed.check(THEN)
    told = bed.site.run("undo", "app")
    assert f"stopped while files change places: {bed.server}" in told.out
    bed.site.run("undo", "app", "--yes").succeeded()
    bed.check(NOW)


def test_files_alone_leave_the_database(bed: Bed) -> None:
    assert bed.restore("--files") == 0
    assert bed.sql("SELECT word FROM item") == NOW
    bed.sql(f"UPDATE item SET word = '{THEN}'")
    bed.check(THEN)


@pytest.mark.parametrize(
    ("failpoint", "word"),
    [
        ("owe@2", NOW),
        pytest.param("commit", NOW, marks=pytest.mark.slow),
        *((point, THEN) for point in ("swap@1", "start@1")),
        *(pytest.param(point, THEN, marks=pytest.mark.slow) for point in ("swap@3", "swap@4")),
    ],
)
def test_killed(bed: Bed, failpoint: str, word: str) -> None:
    """Before the commit all goes back, after it all goes forward; the server runs whenever its databases are needed."""
    assert bed.restore(failpoint=f"{failpoint}:kill") == -9
    bed.site.run("recover").succeeded()
    bed.check(word)
    assert bool(bed.left()) == (word == THEN)


@pytest.mark.parametrize(
    "points",
    [("undo@3", "undo@4"), pytest.param(("undo@1", "start@1", "undo@4"), marks=pytest.mark.slow)],
    ids=", ".join,
)
def test_killed_while_it_is_undone(bed: Bed, points: Sequence[str]) -> None:
    assert bed.restore() == 0
    for point in points:
        done = bed.site.run("undo", "app", "--yes", failpoint=f"{point}:kill")
        assert done.code == -9
        bed.site.run("recover").succeeded()
        bed.check(NOW)
        if point != "undo@4":
            assert bed.restore() == 0


@pytest.mark.parametrize("failpoint", ["stop@2", pytest.param("swap@1", marks=pytest.mark.slow), "swap@4"])
def test_failed(bed: Bed, failpoint: str) -> None:
    """Before the commit nothing is replaced; what fails once after it is done a second time."""
    code = bed.restore(failpoint=f"{failpoint}:error")
    assert code == 1
    bed.check(THEN if failpoint.startswith("swap") else NOW)


def test_a_server_that_does_not_come_up_on_what_is_restored(bed: Bed) -> None:
    """Then all goes back, and it runs on what there was."""
    good = bed.hba.read_text()
    bed.hba.write_text("this is no line of pg_hba.conf\n")
    bed.site.run("run", "app").succeeded()
    bed.hba.write_text(good)
    done = bed.site.run("restore", "app/latest", "--in-place", "--yes")
    assert done.code == 1, done.err
    assert bed.server in done.err
    bed.app.engine.wait_postgres(bed.server)
    bed.check(NOW)
    assert bed.left() == []


def test_a_server_that_listens_only_after_a_while_is_waited_for(engine: Engine, tmp_path: Path) -> None:
    """It has no address and no socket until then: there is no way to it, which says nothing of its files."""
    slow = ["/bin/sh", "-c", 'sleep 3; exec "$0" "$@"']
    with made_bed(engine, tmp_path, engine.url, entrypoint=slow) as bed:
        assert bed.restore() == 0
        bed.check(THEN)
        bed.site.run("undo", "app", "--yes").succeeded()
        bed.check(NOW)


def test_a_server_that_starts_the_second_time_is_no_problem_at_the_end(engine: Engine, tmp_path: Path) -> None:
    """Docker refuses its first start, and all is done again: the restore ends as any that was made good does."""
    refused: list[str] = []

    def once(method: str, path: str) -> str:
        if refused or method != "POST" or not path.endswith("/start") or identifier not in path:
            return PASS
        refused.append(path)
        return FORBIDDEN

    with proxy(engine.socket, tmp_path / "proxy.sock") as through, made_bed(engine, tmp_path, through.url) as bed:
        identifier = engine.api.inspect_container(bed.server)["Id"]
        through.rule = once
        done = bed.site.run("restore", "app/latest", "--in-place", "--yes")
        assert refused
        assert done.code == 1, done.err
        assert "Restored app/" in done.out, done.err
        assert f"{bed.server} could not be started again" in done.err
        bed.check(THEN)
        refused.clear()
        done = bed.site.run("undo", "app", "--yes")
        assert done.code == 1, done.err
        assert "Back as before the restore" in done.out, done.err
        bed.check(NOW)


def test_all_that_prevents_it_is_said_at_once(bed: Bed, engine: Engine) -> None:
    others = [engine.run(binds=[f"{bed.app.data}/{name}:/data"]) for name in ("word", "counter")]
    engine.api.pause(bed.server)
    done = bed.site.run("restore", "app/latest", "--in-place", "--files")
    done.failed(1, "cannot be restored in place now", *others, bed.server, "is paused")
    engine.api.unpause(bed.server)


def test_check_says_so_beforehand(bed: Bed, engine: Engine) -> None:
    """While there is time; the run itself is not troubled by it."""
    reader = engine.run(binds=[f"{bed.app.data}:/data:ro"])
    told = bed.site.run("check", "app", "--json").succeeded().json
    warned = [each["message"] for each in told if each["status"] == "WARN"]
    assert len(warned) == 1, warned
    assert f"also stops {bed.server}" in warned[0]
    assert any("waits for this" in each["message"] and reader in each["message"] for each in told)
    bed.site.run("run", "app").succeeded()
    assert bed.site.manifest()["warnings"] == []


@dataclass(frozen=True)
class Moved:
    """The server made anew, with its data below what the job backs up."""

    bed: Bed
    engine: Engine

    def to(self, bind: str, within: str = "/var/lib/postgresql/data") -> None:
        bed, engine = self.bed, self.engine
        engine.api.remove_container(bed.server, force=True, v=True)
        engine.postgres(
            name=bed.server,
            database="shop",
            settings={"hba_file": "/srv/pg_hba.conf"},
            binds=[f"{bed.hba}:/srv/pg_hba.conf:ro", bind],
            config={"environment": {"PGDATA": within}},
        )
        bed.sql(f"CREATE TABLE item AS SELECT '{NOW}' AS word")
        bed.put(NOW)

    def refuses(self) -> None:
        started = self.bed.started()
        done = self.bed.site.run("restore", "app/latest", "--in-place", "--yes", "--files")
        done.failed(1, "has its data in", "--to DIR")
        assert self.bed.started() == started
        self.bed.check(NOW)
        assert self.bed.left() == []


@pytest.fixture
def moved(bed: Bed, engine: Engine) -> Moved:
    return Moved(bed, engine)


@pytest.mark.parametrize(("bind", "within"), [("/pg", "/var/lib/postgresql/data"), ("", "/srv/all/pg")])
def test_the_data_of_a_server_never_changes_places(moved: Moved, bind: str, within: str) -> None:
    """What a backup has of it was copied while it ran: neither while it runs nor while it is down."""
    data = moved.bed.app.data
    moved.to(f"{data}{bind}:{within if bind else '/srv/all'}", within)
    moved.refuses()
    moved.engine.api.stop(moved.bed.server)
    done = moved.bed.site.run("restore", "app/latest", "--in-place", "--files")
    done.failed(1, f"has its data in {data}/pg")


def test_nor_does_a_tablespace(moved: Moved) -> None:
    """Only the server knows of it."""
    space = moved.bed.app.data / "space"
    moved.to(f"{space}:/space")
    assert moved.engine.execute(moved.bed.server, ["chown", "postgres:postgres", "/space"]) == 0
    moved.bed.sql("CREATE TABLESPACE space LOCATION '/space'")
    moved.refuses()


def test_data_that_the_backup_leaves_out_is_carried_over(moved: Moved) -> None:
    data = moved.bed.app.data
    moved.to(f"{data}/pg:/var/lib/postgresql/data")
    moved.bed.put(THEN)
    moved.bed.site.change(exclude=[f"{data}/pg"])
    moved.bed.site.run("run", "app").succeeded()
    moved.bed.put(NOW)
    assert moved.bed.restore() == 0
    moved.bed.check(THEN)
    moved.bed.site.run("undo", "app", "--yes").succeeded()
    moved.bed.check(NOW)


@pytest.mark.parametrize("whole", [False, True])
def test_data_that_cannot_be_carried_over_stays(moved: Moved, *, whole: bool) -> None:
    """The backup has no directory to carry it into, which is found out while the server is down."""
    data = moved.bed.app.data
    moved.bed.site.change(exclude=[f"{data}/new/pg"])
    moved.bed.put(THEN)
    moved.bed.site.run("run", "app").succeeded()
    moved.to(f"{data}:/srv/all" if whole else f"{data}/new/pg:/srv/all/new/pg", "/srv/all/new/pg")
    done = moved.bed.site.run("restore", "app/latest", "--in-place", "--yes")
    done.failed(1, f"{data}/new/pg cannot be carried over")
    moved.engine.wait_postgres(moved.bed.server)
    moved.bed.check(NOW)
    assert moved.bed.left() == []


def test_what_lives_in_the_server_must_be_one_that_can_be_stopped(bed: Bed, engine: Engine) -> None:
    guest = engine.run(network_mode=f"container:{bed.server}", auto_remove=True)
    started = bed.started()
    done = bed.site.run("restore", "app/latest", "--in-place", "--yes")
    done.failed(1, guest, "lives in", bed.server, "--rm")
    assert bed.started() == started
    assert engine.is_running(guest)
