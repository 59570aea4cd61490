"""An in-place restore or an undo that fails or is killed at any step: all is old or all is new, and services run."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.dockerd import Engine, unique_name
from tests.support.holders import holders
from tests.support.invariants import check_nothing_runs, check_services
from tests.support.job import App, Site, counting, site, until
from tests.support.postgres import Server

THEN, NOW = "then", "now"


@dataclass(frozen=True)
class Bed:
    """A job with files, a volume's entries and a database, each of which tells which state it shows."""

    site: Site
    app: App
    volume: Path
    postgres: Server
    database: str
    backup: str

    def put(self, word: str) -> None:
        (self.app.data / "word").write_text(word)
        (self.volume / "word").write_text(word)
        self.postgres.sql(f"UPDATE item SET word = '{word}'", dbname=self.database)

    def spread(self, word: str, other: str) -> None:
        """An entry that only this state has."""
        for place in (self.app.data, self.volume):
            (place / other).unlink(missing_ok=True)
            (place / word).mkdir(exist_ok=True)
            (place / word / "file").write_text(word)

    def state(self) -> str:
        """The one state that everything shows."""
        words = {(self.app.data / "word").read_text(), (self.volume / "word").read_text()}
        words |= {str(word) for (word,) in self.postgres.sql("SELECT word FROM item", dbname=self.database)}
        for place in (self.app.data, self.volume):
            words |= {name for name in (THEN, NOW) if (place / name / "file").exists()}
        assert len(words) == 1, f"a mixture of {words}"
        return words.pop()

    def check(self, expected: str) -> None:
        check_services(self.site, [self.app], [])
        check_nothing_runs(self.site, self.postgres)
        assert self.state() == expected
        assert self.app.data.stat().st_mode & 0o7777 == 0o751
        assert self.volume.stat().st_mode & 0o7777 == (0o750 if expected == THEN else 0o770)

    def left(self) -> list[str]:
        """What lies around of in-place restores: trees, records, databases."""
        trees = [*holders(self.app.data), *holders(self.volume)]
        databases = [name for name in self.postgres.databases() if name.startswith(("hiveden_", f"{self.database}_"))]
        return [*map(str, trees), *map(str, self.site.state.glob("undo/app/*.json")), *databases]


@pytest.fixture(scope="module")
def bed(dockerd: Engine, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    statement = "CREATE TABLE item AS SELECT generate_series(1, 10) AS id, 'then' AS word"
    name = unique_name("volume")
    with (
        postgres.database(unique_name("shop"), statement) as database,
        site(tmp_path_factory.mktemp("faults"), dockerd.url) as made,
    ):
        volume = Path(dockerd.api.create_volume(name)["Mountpoint"])
        app = counting(dockerd, made.data / "app", more_binds=[f"{name}:/volume"])
        made.configure(
            {
                "app": {
                    "paths": [str(app.data)],
                    "volumes": [name],
                    "containers": [app.name],
                    "postgres": [{"dsn": postgres.dsn(), "databases": [database]}],
                    "stop_timeout": "1s",
                }
            }
        )
        made.init()
        app.data.chmod(0o751)
        volume.chmod(0o750)
        bed = Bed(made, app, volume, postgres, database, "")
        bed.put(THEN)
        bed.spread(THEN, NOW)
        backup = made.run("run", "app").succeeded().out.strip()
        yield Bed(made, app, volume, postgres, database, backup)
        dockerd.api.remove_container(app.name, force=True)
        dockerd.api.remove_volume(name)


@pytest.fixture
def changed(bed: Bed) -> Bed:
    """As the backup is not."""
    for place in (bed.app.data, bed.volume):
        for word in (THEN, NOW):
            if (place / word).exists():
                (place / word / "file").unlink()
                (place / word).rmdir()
    bed.put(NOW)
    bed.spread(NOW, THEN)
    bed.volume.chmod(0o770)
    return bed


def restore(bed: Bed, failpoint: str = "") -> int:
    done = bed.site.run("restore", f"app/{bed.backup}", "--in-place", "--yes", failpoint=failpoint)
    assert "Traceback" not in done.err
    return done.code


def forget(bed: Bed) -> None:
    """Let the time of what was replaced be over."""
    bed.site.change(undo_keep="1us")
    bed.site.run("prune", "app").succeeded()
    assert bed.left() == []
    bed.site.change(undo_keep="7d")


STAGES = ("stage@1", "stage@2", "stage@3", "commit")
SWAPS = ("swap@1", "swap@2", "swap@4", "swap@6")
"""Before the database, the path, entries of the volume, and behind the last one."""
UNDOS = ("undo@1", "undo@3", "undo@5", "undo@6")


@pytest.mark.parametrize("phase", STAGES)
@pytest.mark.parametrize("how", ["error", "kill"])
def test_before_the_commit_all_goes_back(changed: Bed, phase: str, how: str) -> None:
    code = restore(changed, f"{phase}:{how}")
    if how == "kill":
        assert code == -9
        changed.site.run("recover").succeeded()
    else:
        assert code == 1
    changed.check(NOW)
    assert changed.left() == []


@pytest.mark.parametrize("phase", SWAPS)
def test_killed_after_the_commit_all_goes_forward(changed: Bed, phase: str) -> None:
    assert restore(changed, f"{phase}:kill") == -9
    assert changed.site.owed() == [f"app/{changed.app.name}"]
    assert not changed.app.running
    changed.site.run("recover").succeeded()
    assert (changed.site.record()["kind"], changed.site.record()["result"]) == ("restore", "killed")
    changed.check(THEN)
    changed.site.run("undo", "app", "--yes").succeeded()
    changed.check(NOW)
    forget(changed)


@pytest.mark.parametrize("phase", ["swap@1", "swap@3", "swap"])
def test_an_error_in_the_swap_is_made_good_at_once(changed: Bed, phase: str) -> None:
    assert restore(changed, f"{phase}:error") == 1
    changed.check(THEN)
    changed.site.run("undo", "app", "--yes").succeeded()
    changed.check(NOW)
    forget(changed)


@pytest.mark.parametrize("phase", UNDOS)
def test_a_killed_undo_is_finished(changed: Bed, phase: str) -> None:
    assert restore(changed) == 0
    changed.check(THEN)
    assert changed.site.run("undo", "app", "--yes", failpoint=f"{phase}:kill").code == -9
    if phase == UNDOS[0]:  # by the next run, or the same command once more: it is not another undo
        changed.site.run("undo", "app", "--yes").succeeded()
    else:
        changed.site.run("recover", "--job", "app").succeeded()
    changed.check(NOW)
    changed.site.run("undo", "app", "--yes").failed(66, "no in-place restore")
    forget(changed)


@pytest.mark.parametrize("phase", ["undo@1", "undo"])
def test_an_error_in_an_undo_is_made_good_at_once(changed: Bed, phase: str) -> None:
    assert restore(changed) == 0
    changed.site.run("undo", "app", "--yes", failpoint=f"{phase}:error").failed(1, "fail point")
    changed.check(NOW)
    forget(changed)


@pytest.mark.parametrize("phase", ["swap-database", "undo-database"])
def test_what_cannot_go_forward_goes_back(changed: Bed, phase: str) -> None:
    """The database refuses twice: nothing is replaced, and nothing is left of it."""
    if phase == "swap-database":
        assert restore(changed, f"{phase}:error") == 1
        changed.check(NOW)
        assert changed.left() == []
        return
    assert restore(changed) == 0
    done = changed.site.run("undo", "app", "--yes", failpoint=f"{phase}:error")
    done.failed(1, "half done", f"{changed.app.name} stopped until then", "recover --job app")
    changed.site.run("run", "app", failpoint=f"{phase}:error").failed(1)
    assert not changed.app.running
    changed.site.run("recover").succeeded()
    changed.check(NOW)
    forget(changed)


@pytest.mark.parametrize("phase", ["stage@1", "commit"])
@pytest.mark.parametrize("how", ["enospc", "eio"])
def test_a_disk_that_fails_before_the_commit(changed: Bed, phase: str, how: str) -> None:
    assert restore(changed, f"{phase}:{how}") == 74
    changed.check(NOW)
    assert changed.left() == []


def test_the_next_run_finishes_a_killed_restore(changed: Bed) -> None:
    assert restore(changed, "swap@3:kill") == -9
    changed.site.run("run", "app").succeeded()
    changed.check(THEN)
    changed.site.run("undo", "app", "--yes").succeeded()
    forget(changed)


def test_what_came_up_after_a_boot_is_stopped_again(changed: Bed) -> None:
    """Docker starts what has a restart policy before anybody finishes the swap: not on a mixture."""
    assert restore(changed, "swap@3:kill") == -9
    changed.app.engine.api.start(changed.app.name)
    started = changed.app.started_at()
    changed.site.run("recover").succeeded()
    assert changed.app.started_at() != started
    changed.check(THEN)
    changed.site.run("undo", "app", "--yes").succeeded()
    forget(changed)


def test_a_signal_while_staging_leaves_everything_as_it_was(changed: Bed) -> None:
    process = changed.site.start("restore", f"app/{changed.backup}", "--in-place", "--yes")
    until(lambda: changed.left() or process.poll() is not None, "something is staged")
    process.send_signal(signal.SIGSTOP)
    (record,) = changed.site.state.glob("undo/app/*.json")
    assert json.loads(record.read_text())["phase"] == "staging"
    process.send_signal(signal.SIGTERM)
    assert changed.site.finish(process, signal.SIGCONT).code == 143
    changed.check(NOW)
    assert changed.left() == []


def test_the_same_command_finishes_a_killed_restore(changed: Bed) -> None:
    assert restore(changed, "swap@4:kill") == -9
    assert restore(changed) == 0
    changed.check(THEN)
    assert len(os.listdir(changed.site.state / "undo/app")) == 1
    changed.site.run("undo", "app", "--yes").succeeded()
    changed.check(NOW)
    forget(changed)


@pytest.mark.parametrize("command", [("recover",), ("run", "app")])
def test_what_cannot_be_taken_back_keeps_no_container_down(changed: Bed, command: tuple[str, ...]) -> None:
    """What was staged is only in the way: nothing is a mixture."""
    assert restore(changed, "commit:kill") == -signal.SIGKILL
    (holder,) = holders(changed.app.data)
    with small_disk(holder / "new", "1m"):
        done = changed.site.run(*command)
        assert done.code != 0
        assert "is mounted in it" in done.out + done.err
        changed.check(NOW)
    changed.site.run("recover").succeeded()
    assert changed.left() == []
