"""Containers that can write to where files are restored, or use what is replaced, be it under another name."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.dockerd import Engine
from tests.support.holders import own_mount
from tests.support.job import Site, counting, site, until

PLANT = """
touch /up/spins
while :; do
    for each in /up/back/out /up/back/out/* /up/back/out/*/* /up/back/out/*/*/* /up/back/out/*/*/*/*; do
        [ -d $each ] && [ ! -L $each ] && [ ! -e $each/evil ] && ln -s /up/outside $each/evil
    done
done
"""
"""A container's root, who may enter what is closed to all but root, and plants links in what comes."""


@pytest.fixture
def made(engine: Engine, tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, engine.url) as installation:
        yield installation


def backed_up(made: Site, tree: Path, **more: object) -> None:
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "word").write_text("then")
    made.configure({"app": {"paths": [str(tree)], **more}})
    made.init().run("run", "app").succeeded()
    (tree / "word").write_text("now")


@contextmanager
def bound(place: Path, name: Path) -> Iterator[Path]:
    """A directory under another name, too."""
    name.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(place), str(name)], check=True)
    try:
        yield name
    finally:
        subprocess.run(["umount", "--lazy", str(name)], check=True)


def test_no_files_are_restored_to_where_a_container_can_write(made: Site, engine: Engine) -> None:
    backed_up(made, made.data / "tree")
    place = made.data / "place"
    (place / "outside").mkdir(parents=True)
    spinning = engine.run(("sh", "-c", PLANT), binds=[f"{place}:/up"])
    until((place / "spins").exists, "it plants")
    target = place / "back/out"
    command = "restore", "app/latest", "--to", str(target)
    made.run(*command).failed(1, f"restored to {target} now", spinning, f"write to {place}", f"docker stop {spinning}")
    assert not target.parent.exists()
    with bound(place, made.data / "other") as name:
        made.run("restore", "app/latest", "--to", str(name / "back/out")).failed(1, spinning, str(place))
    target.mkdir(parents=True)
    until((target / "evil").is_symlink, "it planted")
    engine.api.kill(spinning)
    (target / "evil").unlink()
    made.run(*command).succeeded()
    assert [each.read_text() for each in target.rglob("word")] == ["then"]
    assert list((place / "outside").iterdir()) == []


def test_who_only_reads_there_or_writes_elsewhere_prevents_nothing(made: Site, engine: Engine) -> None:
    backed_up(made, made.data / "tree")
    engine.run(binds=[f"{made.data}:/seen:ro", f"{made.data / 'tree'}:/tree"])
    made.restored("out")


def test_where_docker_does_not_answer_the_files_come_with_a_warning(made: Site) -> None:
    backed_up(made, made.data / "tree")
    (made.path / "nobody").touch()
    made.configure({"app": {"paths": [str(made.data / "tree")]}}, docker=f"unix://{made.path / 'nobody'}")
    done = made.run("restore", "app/latest", "--to", str(made.data / "out")).succeeded()
    assert "can write to" in done.err
    assert "cannot be told" in done.err


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_who_has_what_is_replaced_under_another_name_prevents_it(made: Site, engine: Engine, mode: str) -> None:
    tree = made.data / "apps/tree"
    backed_up(made, tree)
    with bound(tree, made.data / "other") as name:
        app = engine.run(binds=[f"{name}:/tree:{mode}"])
        made.run("restore", "app/latest", "--in-place").failed(1, f"{tree} cannot be replaced", app, str(name))
        made.run("restore", "app/latest", "--in-place", "--yes").failed(1, f"{tree} cannot be replaced", app, str(name))
        assert (tree / "word").read_text() == "now"
        engine.api.kill(app)
    made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
    with bound(tree, made.data / "another") as name:
        app = engine.run(binds=[f"{name}:/tree:{mode}"])
        made.run("undo", "app", "--yes").failed(1, "cannot be replaced now", app, str(name))
        engine.api.kill(app)
        made.run("undo", "app", "--yes").succeeded()
    assert (tree / "word").read_text() == "now"


def test_who_sees_it_below_a_mount_of_a_directory_above_with_another_name_prevents_it(
    made: Site, engine: Engine
) -> None:
    tree = made.data / "apps/tree"
    backed_up(made, tree)
    with own_mount(made.data), bound(made.data / "apps", made.path / "store/apps"):
        app = engine.run(binds=[f"{made.path / 'store'}:/store"])
        done = made.run("restore", "app/latest", "--in-place", "--yes")
        done.failed(1, f"{tree} cannot be replaced", app, str(made.path / "store"))
        assert (tree / "word").read_text() == "now"


def test_what_the_job_stops_may_have_it_under_another_name(made: Site, engine: Engine) -> None:
    tree = made.data / "tree"
    tree.mkdir()
    with bound(tree, made.data / "other") as name:
        app = counting(engine, name)
        backed_up(made, tree, containers=[app.name], stop_timeout="1s")
        made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
        assert (tree / "word").read_text() == "then"
