"""Some paths of a backup back in place: these alone change, by the same act as everything, with the same undo."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import Engine, unique_name
from tests.support.job import Site, site

FILES = ("photos/a", "photos/deep/b", "photos-old/c", "word", "docs/d")


def put(tree: Path, word: str) -> None:
    for name in FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{word} {name}")


def shows(tree: Path, then: set[str]) -> None:
    """These files are as they were then, the others as they are now."""
    for name in FILES:
        assert (tree / name).read_text() == f"{'then' if name in then else 'now'} {name}"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as installation:
        tree = installation.data / "tree"
        put(tree, "then")
        os.symlink("word", tree / "link")
        (tree / "photos").chmod(0o750)
        os.chown(tree / "photos/deep", 1234, 1235)
        installation.configure({"app": {"paths": [str(tree)], "exclude": ["**/cache"]}})
        installation.init().run("run", "app").succeeded()
        put(tree, "now")
        yield installation


def asked(tree: Path, *names: str) -> list[str]:
    return [word for name in names for word in ("--path", f"{tree}/{name}")]


@pytest.mark.parametrize(
    ("names", "then"),
    [
        (["photos"], {"photos/a", "photos/deep/b"}),
        (["photos/deep/b"], {"photos/deep/b"}),
        (["photos/", "photos-old", "photos/deep"], {"photos/a", "photos/deep/b", "photos-old/c"}),
        (["word", "link"], {"word"}),
        ([""], set(FILES)),
    ],
)
def test_only_these(made: Site, names: list[str], then: set[str]) -> None:
    tree = made.data / "tree"
    (tree / "photos/fresh").write_text("since")
    options = asked(tree, *names)
    told = made.run("restore", "app/latest", "--in-place", *options)
    assert told.code == 2
    replaced = [line.strip() for line in told.out.splitlines() if line.startswith("  /")]
    assert len(replaced) == len({name.partition("/")[0] for name in names})
    shows(tree, set())
    made.run("restore", "app/latest", "--in-place", "--yes", *options).succeeded()
    shows(tree, then)
    assert (tree / "photos/fresh").exists() == ("photos/a" not in then)
    made.run("undo", "app", "--yes").succeeded()
    shows(tree, set())
    assert (tree / "photos/fresh").read_text() == "since"
    assert [path.name for path in tree.iterdir() if path.name.startswith(".")] == []


def test_directories_above_come_as_they_were(made: Site) -> None:
    tree = made.data / "tree"
    shutil.rmtree(tree / "photos")
    made.run("restore", "app/latest", "--in-place", "--yes", *asked(tree, "photos/deep/b")).succeeded()
    deep = tree / "photos/deep"
    assert [path.name for path in (tree / "photos").iterdir()] == ["deep"]
    assert (deep.stat().st_uid, deep.stat().st_gid, deep.parent.stat().st_mode & 0o7777) == (1234, 1235, 0o750)
    assert (deep / "b").read_text() == "then photos/deep/b"
    made.run("undo", "app", "--yes").succeeded()
    assert not (tree / "photos").exists()


def test_what_is_not_in_the_backup(made: Site) -> None:
    tree = made.data / "tree"
    (tree / "since").write_text("now")
    for options in (
        asked(tree, "photos", "since"),
        asked(tree, "photos/cache"),
        asked(made.data, "elsewhere"),
        ["--path", "/"],
    ):
        done = made.run("restore", "app/latest", "--in-place", "--yes", *options)
        done.failed(66, f"{options[-1]} is not in app/")
    made.run("restore", "app/latest", "--in-place", "--path", "photos").failed(2, "not an absolute path")
    made.run("restore", "app/latest", "--path", str(tree), "--to", str(made.path / "x")).failed(2, "--in-place")
    made.run("restore", "app/latest", "--files", "--database", "x").failed(2, "--in-place")
    shows(tree, set())


@pytest.mark.parametrize("failpoint", ["stage@2", "commit", "swap@1", "swap@2"])
def test_killed(made: Site, failpoint: str) -> None:
    tree = made.data / "tree"
    options = asked(tree, "photos", "word")
    assert made.run("restore", "app/latest", "--in-place", "--yes", *options, failpoint=f"{failpoint}:kill").code == -9
    made.run("recover").succeeded()
    forward = failpoint.startswith("swap")
    shows(tree, {"photos/a", "photos/deep/b", "word"} if forward else set())


def test_said_again_after_a_crash(made: Site) -> None:
    """The same command goes on with what was broken off; another one is another restore."""
    tree = made.data / "tree"
    restore = ("restore", "app/latest", "--in-place", "--yes")
    photos, docs = asked(tree, "photos"), asked(tree, "docs")
    assert made.run(*restore, *photos, failpoint="swap@1:kill").code == -9
    done = made.run(*restore, *photos).succeeded()
    assert "that was broken off is finished now" in done.out
    assert "kept for" not in done.out
    shows(tree, {"photos/a", "photos/deep/b"})
    made.run("undo", "app", "--yes").succeeded()
    assert made.run(*restore, *photos, failpoint="swap@1:kill").code == -9
    made.run(*restore, *docs).succeeded()
    shows(tree, {"photos/a", "photos/deep/b", "docs/d"})


def test_in_a_volume(engine: Engine, tmp_path: Path) -> None:
    """A path in it changes places as a whole, while a container has another part of it in use."""
    name = unique_name("volume")
    volume = Path(engine.api.create_volume(name)["Mountpoint"])
    with site(tmp_path, engine.url) as made:
        put(volume, "then")
        made.configure({"app": {"volumes": [name]}})
        made.init().run("run", "app").succeeded()
        put(volume, "now")
        other = engine.run(binds=[f"{volume}/docs:/docs"])
        restore = ("restore", "app/latest", "--in-place", "--yes")
        made.run(*restore).failed(1, other)
        made.run(*restore, *asked(volume, "photos", "word")).succeeded()
        shows(volume, {"photos/a", "photos/deep/b", "word"})
        made.run("undo", "app", "--yes").succeeded()
        shows(volume, set())
        engine.api.remove_container(other, force=True)
        engine.api.remove_volume(name)
        done = made.run(*restore, *asked(volume, "photos"))
        done.failed(66, f"The volume {name} is not on this machine", f"--path {volume}")
