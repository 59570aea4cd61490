"""A disk that has lost a sector of one backup: that one is damaged, and nothing else stands still for it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.job import Site, site


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Make a file one whose beginning cannot be read: EIO, as of this process's memory."""
    subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)], "retention": {"keep_last": 5}}})
        made.init()
        made.run("run", "app").succeeded()
        yield made


@pytest.mark.parametrize("name", ["manifest.json", "files.archives", "SHA256SUMS"])
def test_new_backups_are_made_all_the_same(bed: Site, name: str) -> None:
    damaged = bed.ids()[0]
    path = bed.job() / damaged / name
    with unreadable(path):
        bed.run("verify", damaged).failed(65, str(path))
        if name == "manifest.json":
            bed.run("list").failed(65, str(path), "cannot be read")
        done = bed.run("run", "app")
        assert "defect" not in done.err
        assert done.code == 0, done.err  # what archives it names is in two of these files
        assert damaged in done.err
        assert bed.record()["backup"] == bed.ids()[0]
        bed.run("verify", bed.ids()[0]).succeeded()
        assert len(bed.ids()) == 2
