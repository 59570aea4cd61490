"""The way down to many paths: each directory opened once, beneath the one above it, and never through a link."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.descent import Descent


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Descent]:
    (tmp_path / "top").mkdir()
    with beneath.opened(str((tmp_path / "top").resolve())) as top, Descent(top) as descent:
        yield descent


def held() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_there_is_found(tmp_path: Path, way: Descent) -> None:
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "top/a/b/file").write_text("12345")
    (tmp_path / "top/a-b").write_text("")
    for path, size in ((b"a-b", 0), (b"a/b/file", 5), (b"a-b", 0), (b"a/b/file", 5)):
        found = way.find(path)
        assert found is not None
        assert found.st_size == size
    assert way.find(b"a/b") is not None
    for path in (b"a/c", b"c/d", b"a/b/file/more"):
        assert way.find(path) is None


def test_a_link_leads_nowhere(tmp_path: Path, way: Descent) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("")
    (tmp_path / "top/a").mkdir()
    (tmp_path / "top/link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic link"):
        way.parent(b"link/file")
    assert way.find(b"a/file") is None
    (tmp_path / "top/a").rename(tmp_path / "top/b")  # it is held: what it is, not what it is called
    (tmp_path / "top/a").symlink_to(tmp_path / "outside")
    (tmp_path / "top/b/file").write_text("mine")
    found = way.find(b"a/file")
    assert found is not None
    assert found.st_size == len("mine")


def test_of_a_deep_tree_no_more_is_held_than_needed(tmp_path: Path, way: Descent) -> None:
    deep = "/".join(["d"] * 500)
    (tmp_path / "top" / deep).mkdir(parents=True)
    (tmp_path / "top" / deep / "file").write_text("")
    before = held()
    for path in (f"{deep}/file", "d", f"{deep}/file", f"{deep}/none"):
        assert (way.find(path.encode()) is None) == path.endswith("none")
        assert held() <= before + 66
