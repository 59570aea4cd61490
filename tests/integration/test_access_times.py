"""Times of access say what people and programs read; a backup is neither."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.disks import own_disk
from tests.support.job import site

NOBODY = 65534


def times(paths: Iterable[Path]) -> dict[Path, int]:
    """When each was read last."""
    return {path: path.stat().st_atime_ns for path in paths}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "disk/tree"


def filled(tree: Path) -> None:
    for folder in (tree, tree / "mine", tree / "theirs"):
        folder.mkdir()
        (folder / "file").write_text("content")
    (tree / "link").symlink_to("file")
    for path in (tree / "theirs", tree / "theirs/file"):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700)


def test_they_stay_also_of_what_belongs_to_others(tmp_path: Path, tree: Path) -> None:
    """On a file system that writes each of them down."""
    tree.parent.mkdir()
    with own_disk(tree.parent), site(tmp_path / "site") as bed:
        subprocess.run(["mount", "-o", "remount,strictatime", str(tree.parent)], check=True)
        filled(tree)
        bed.configure({"app": {"paths": [str(tree)], "exclude": ["**/none"]}})
        bed.init()
        # no symbolic links: the system has no way to read one without a trace
        paths = [tree, *(path for path in tree.rglob("*") if not path.is_symlink())]
        before = times(paths)
        for arguments in (("check", "app"), ("run", "app"), ("run", "app"), ("run", "app", "--full")):
            time.sleep(0.01)
            bed.run(*arguments)
            assert times(paths) == before
        assert len(bed.ids()) == 3


def test_a_user_who_may_not_read_without_a_trace_reads_all_the_same(tmp_path: Path, tree: Path) -> None:
    """In a namespace of its own, what belongs to others is readable at most."""
    tree.parent.mkdir()
    filled(tree)
    for path in (tree / "theirs", tree / "theirs/file"):
        path.chmod(0o755)
    with site(tmp_path / "site") as bed:
        bed.configure({"app": {"paths": [str(tree)]}})
        bed.init()
        bed.finish(bed.start("run", "app", within=("unshare", "--user", "--map-root-user"))).succeeded()
        assert (bed.restored("x") / str(tree / "theirs/file").lstrip("/")).read_text() == "content"
