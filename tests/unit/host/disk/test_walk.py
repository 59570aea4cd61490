"""Trees are walked by descriptors: what lies behind a link is never read, whenever that was put there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.host.disk.tree import Scan, census
from hiveden_backup.host.disk.walk import Way


def relative(path: Path) -> bytes:
    return os.fsencode(path).lstrip(b"/")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """What nobody is to read, with names as in the tree."""
    (tmp_path / "secret/inner").mkdir(parents=True)
    (tmp_path / "secret/inner/shadow").write_text("secret")
    return tmp_path / "secret"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/d/inner").mkdir(parents=True)
    (tmp_path / "tree/d/inner/mine").write_text("mine")
    (tmp_path / "tree/z").write_text("last")
    return tmp_path / "tree"


def replaced(directory: Path, target: Path) -> Callable[[], None]:
    """Puts a link in a directory's place."""

    def put() -> None:
        directory.rename(directory.with_name(".away"))
        directory.symlink_to(target)

    return put


def scanned(tree: Path, at: bytes, meddle: Callable[[], None]) -> list[bytes]:
    """The paths of a scan, in which something is done when it comes to `at`."""
    found = []
    for entry in Scan(roots=(relative(tree),)).entries():
        found.append(entry[0])
        if entry[0].endswith(at):
            meddle()
    return found


@pytest.mark.parametrize("at", [b"tree/d", b"tree/d/inner"])
def test_a_scan_never_reads_behind_a_link_that_took_a_directorys_place(tree: Path, secret: Path, at: bytes) -> None:
    found = scanned(tree, at, replaced(tree / "d", secret))
    assert not [path for path in found if path.endswith(b"shadow")]
    assert found[-1] == relative(tree / "z")


def test_a_root_is_not_reached_through_a_link(tree: Path, secret: Path) -> None:
    replaced(tree / "d", secret)()
    with pytest.raises(NotFoundError):
        list(Scan(roots=(relative(tree / "d/inner"),)).entries())
    with pytest.raises(OSError, match="symbolic links"):
        census(str(tree / "d/inner"), lambda _: False)


def test_a_census_counts_nothing_behind_a_link(tree: Path, secret: Path) -> None:
    swap = replaced(tree / "d", secret)

    def excluded(path: str) -> bool:
        if path == "d/inner":
            swap()
        return False

    counted = census(str(tree), excluded)
    assert counted is not None
    assert counted.bytes == len("mine" + "last")


def test_a_directory_that_came_where_another_was_is_hidden_all_the_same(tree: Path) -> None:
    kept_out = tree.parent / "backups"
    kept_out.mkdir()
    (kept_out / "marker").touch()
    status = kept_out.stat()
    scan = Scan(roots=(relative(tree),), hidden={(status.st_dev, status.st_ino): "the backup directory"})
    found = []
    for entry in scan.entries():
        found.append(entry[0])
        if entry[0].endswith(b"tree/d"):
            (tree / "d").rename(tree.parent / "away")
            kept_out.rename(tree / "d")
    assert not [path for path in found if path.endswith(b"marker")]
    assert scan.kept_out == [(relative(tree / "d"), "the backup directory")]


def test_few_descriptors_are_held_however_deep_a_tree_is(tmp_path: Path) -> None:
    """Two directories on each of 400 floors: what was let go of on the way down is walked to again."""
    path, expected = tmp_path / "t", 1
    path.mkdir()
    for floor in range(400):
        (path / "d").mkdir()
        (path / "e").mkdir()
        (path / "e/file").touch()
        expected += 3
        path /= "d" if floor < 399 else "e"
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    paths = []
    for entry in Scan(roots=(relative(tmp_path / "t"),)).entries():
        paths.append(entry[0])
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
    assert len(paths) == expected
    assert paths == sorted(paths)
    assert most < 140
    assert len(os.listdir("/proc/self/fd")) == before
    counted = census(str(tmp_path / "t"), lambda _: False)
    assert counted is not None
    assert counted.paths == expected


def test_a_way_tells_a_link_from_a_file(tree: Path, secret: Path) -> None:
    (tree / "link").symlink_to(secret)
    with Way() as way:
        for name, number in (("link", errno.ELOOP), ("z", errno.ENOTDIR), ("none", errno.ENOENT)):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is looked at
                way.directory(relative(tree / name))
            assert caught.value.errno == number
        assert way.status(relative(tree / "link")).st_ino == (tree / "link").lstat().st_ino
        assert os.listdir(way.directory(relative(tree / "d"), read=True)) == ["inner"]
        with pytest.raises(OSError, match="symbolic links"):
            way.file(relative(tree / "link"))
