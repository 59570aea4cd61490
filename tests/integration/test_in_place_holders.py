"""What comes and goes in an in-place restore lies where no running container writes, or the restore waits for that."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.restore_record import HOLDER_PREFIX
from tests.integration.test_in_place import on_disk
from tests.support.dockerd import Engine
from tests.support.holders import holders, own_mount
from tests.support.job import App, Site, counting, site, stands_still
from tests.support.program import Program

MEDDLE = f"""
trap 'exit 0' TERM
while :; do
    for holder in /up/{HOLDER_PREFIX}*; do
        [ -d $holder ] || continue
        case $holder in *.trial) rmdir $holder; continue;; esac
        mkdir $holder/evil; mkdir $holder/new/evil; echo evil >$holder/new/evil/file; ln -s /up/outside $holder/old/evil
        mv $holder $holder.mine && ln -s /up/outside $holder
    done
    count=$((${{count:-0}} + 1)); echo $count >/data/counter.new && mv /data/counter.new /data/counter
done
"""
"""A container's root that sees what appears in /up, writes into it, and puts a link in its place.

The empty directory with which renames are tried comes within its reach for a moment, and is taken away.
"""


@pytest.fixture
def made(engine: Engine, tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, engine.url) as installation:
        yield installation


def backed_up(made: Site, app: App, **more: object) -> None:
    times = {"stop_timeout": "1s", "start_timeout": "20s"}
    made.configure({"app": {"paths": [str(app.data)], "containers": [app.name], **times, **more}})
    (app.data / "word").write_text("then")
    made.init().run("run", "app").succeeded()
    (app.data / "word").write_text("now")


def evil(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if "evil" in path.name]


def test_a_container_that_can_write_beside_what_is_replaced_is_not_let_near(made: Site, engine: Engine) -> None:
    outside = made.data / "outside"
    outside.mkdir()
    app = counting(engine, made.data / "app", command=("sh", "-c", MEDDLE), more_binds=[f"{made.data}:/up"])
    backed_up(made, app)
    process = made.start("restore", "app/latest", "--in-place", "--yes", failpoint="stage@2:hold")
    stands_still(process)
    (holder,) = holders(made.path)
    assert app.running
    assert holder.parent == made.path
    assert evil(holder) == []
    made.finish(process, signal.SIGCONT).succeeded()
    assert (app.data / "word").read_text() == "then"
    made.run("undo", "app", "--yes").succeeded()
    assert (app.data / "word").read_text() == "now"
    assert evil(holder) == []
    assert list(outside.iterdir()) == []


def test_where_every_place_is_within_reach_containers_are_down_first(made: Site, engine: Engine) -> None:
    """A disk of its own that a container has mounted as a whole: it is down while files are staged, too."""
    with own_mount(made.data):
        app = counting(engine, made.data / "app", command=("sh", "-c", MEDDLE), more_binds=[f"{made.data}:/up"])
        backed_up(made, app)
        told = made.run("restore", "app/latest", "--in-place")
        assert f"down while files are restored, too, for it can write to where that is done: {app.name}" in told.out
        assert made.run("restore", "app/latest", "--in-place", "--json").json["down_first"] == [app.name]
        assert holders(made.data) == []
        process = made.start("restore", "app/latest", "--in-place", "--yes", failpoint="stage@2:hold")
        stands_still(process)
        assert not app.running
        (holder,) = holders(made.data)
        assert (holder.parent, evil(holder)) == (made.data, [])
        made.finish(process, signal.SIGKILL)
        made.run("recover").succeeded()
        assert (app.running, holders(made.data), (app.data / "word").read_text()) == (True, [], "now")
        assert made.run("restore", "app/latest", "--in-place", "--yes", failpoint="stage@2:error").code != 0
        assert (app.running, (app.data / "word").read_text()) == (True, "now")


def test_where_one_that_goes_on_can_write_everywhere_it_is_refused(made: Site, engine: Engine) -> None:
    """It has the disk under another name."""
    store = made.path / "store"
    store.mkdir()
    subprocess.run(["mount", "--bind", str(store), str(made.data)], check=True)
    try:
        app = counting(engine, made.data / "app")
        backed_up(made, app)
        other = engine.run(binds=[f"{store}:/store"])
        for command in (("--in-place",), ("--in-place", "--yes")):
            done = made.run("restore", "app/latest", *command)
            done.failed(1, f"{app.data} cannot be replaced now", other, str(store), f"docker stop {other}")
        engine.api.stop(other, timeout=1)
        process = made.start("restore", "app/latest", "--in-place", "--yes", failpoint="stage@2:hold")
        stands_still(process)
        engine.api.start(other)
        made.finish(process, signal.SIGCONT).failed(1, other, str(store))
        assert (holders(made.data), (app.data / "word").read_text(), app.running) == ([], "now", True)
        engine.api.stop(other, timeout=1)
        made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
        engine.api.start(other)
        for undo in (("undo", "app"), ("undo", "app", "--yes")):
            made.run(*undo).failed(1, other, str(store))
        engine.api.stop(other, timeout=1)
        made.run("undo", "app", "--yes").succeeded()
        assert (app.data / "word").read_text() == "now"
        engine.api.remove_container(app.name, force=True)
    finally:
        subprocess.run(["umount", "--lazy", str(made.data)], check=True)


def test_a_directory_of_a_user_has_no_holder_while_root_has_one_above(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program = Program(home)
    os.chown(home, 12345, 12345)
    (program.tree / "file").write_text("then")
    program.ok("restore", f"files/{program.run()}", "--in-place", "--yes")
    (holder,) = holders(home)
    assert holder.parent == tmp_path.parent


def test_where_the_topmost_directory_takes_nothing_the_next_one_does(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    place = disk / "apps/shop"
    place.mkdir(parents=True)
    with own_mount(disk):
        program = on_disk(tmp_path, place)
        (program.tree / "file").write_text("then")
        backup = program.run()
        (program.tree / "file").write_text("now")
        subprocess.run(["chattr", "+i", str(disk)], check=True)
        try:
            program.ok("restore", f"files/{backup}", "--in-place", "--yes")
            assert (program.tree / "file").read_text() == "then"
            (holder,) = holders(place)
            assert holder.parent == disk / "apps"
            program.ok("undo", "files", "--yes")
            assert (program.tree / "file").read_text() == "now"
        finally:
            subprocess.run(["chattr", "-i", str(disk)], check=True)


def test_what_a_trial_left_goes_with_what_was_staged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program = Program(home)
    backup = program.run()
    done = program.call("restore", f"files/{backup}", "--in-place", "--yes", failpoint="stage@1:kill")
    assert done.returncode == -9
    (holder,) = holders(tmp_path)
    for place in (home, holder.parent):
        (place / f"{holder.name}.trial").mkdir()
    program.ok("recover")
    assert holders(home) == []
