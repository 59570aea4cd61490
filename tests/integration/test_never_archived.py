"""The backup directory and the state directory are never backed up, whatever name a bind mount gives them."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.job import Site, site


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        yield made


@contextlib.contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_neither_is_archived_under_another_name(bed: Site) -> None:
    with bound(bed.backups, bed.data / "pool"), bound(bed.path, bed.data / "all"):
        bed.run("run", "app").succeeded()
    paths = bed.run("show", "app/latest", "--files").succeeded().out.splitlines()
    assert f"{bed.data}/all/etc/config.toml" in paths
    for kept_out in ("pool", "all/backups", "all/state"):
        assert not [path for path in paths if path.startswith(f"{bed.data}/{kept_out}")]


def test_neither_can_be_a_path_of_a_job_under_another_name(bed: Site) -> None:
    with bound(bed.backups, bed.path / "pool"):
        bed.change(paths=[str(bed.path / "pool")])
        bed.run("run", "app").failed(1, f"{bed.path}/pool lies in the backup or state directory")
