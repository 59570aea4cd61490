"""Runs whose log nobody takes (a full disk, a terminal or a `tee` that went): they do their work all the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants
from tests.support.job import PATIENCE, Site, counting, site


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        yield made.init()


def run(bed: Site, stderr: IO[bytes] | int, *arguments: str) -> int:
    """The exit status of a command line whose errors go there."""
    command = [sys.executable, "-m", "hiveden_backup", "--config", str(bed.config), *arguments]
    return subprocess.run(
        command, env=bed.environment, stdout=subprocess.DEVNULL, stderr=stderr, check=False, timeout=PATIENCE
    ).returncode


def test_a_full_disk_for_the_log_fails_no_run(bed: Site) -> None:
    with open("/dev/full", "wb") as full:
        assert run(bed, full, "run", "app") == 0
        assert len(bed.ids()) == 1
        assert run(bed, full, "run", "nothing") == 66, "the exit status still tells what went wrong"
        assert run(bed, full, "no-such-command") == 2


def test_a_log_whose_reader_ends_leaves_nothing_down(bed: Site, engine: Engine) -> None:
    bed.docker = engine.url
    apps = [counting(engine, bed.data / name) for name in ("one", "two")]
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name for app in apps]}})
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(bed, writer, "--verbose", "run", "app") == 0
    finally:
        os.close(writer)
    assert len(bed.ids()) == 1
    check_invariants(bed, up=apps)
