"""Paths longer than the system takes as a whole: they are left out by name, and all else is backed up."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.job import Site, site

NAME = "d" * 200


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init()
        yield made
        subprocess.run(["rm", "-rf", made.data], check=True)


def deep(top: Path, length: int, last: str) -> str:
    """A file below `top` whose absolute path has so many bytes, and ends in `last`; its path.

    Made step by step: the path as a whole may be one that no system call takes.
    """
    path, ahead = str(top), length - len(str(top)) - 1
    here = os.open(top, os.O_RDONLY)
    while ahead > 255:
        name = NAME[: min(len(NAME), ahead - 60)]
        if not os.access(name, os.F_OK, dir_fd=here):
            os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, path, ahead = inner, f"{path}/{name}", ahead - len(name) - 1
    name = last.rjust(ahead, "f")
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert len(path) + 1 + len(name) == length
    return f"{path}/{name}"


def backed_up(bed: Site) -> set[str]:
    return set(bed.run("show", "app/latest", "--files").succeeded().out.splitlines())


def test_what_is_too_long_is_left_out_by_name_and_told_of(bed: Site) -> None:
    kept = deep(bed.data, 4050, "kept")
    gone = [deep(bed.data, length, f"gone-{length}") for length in (4051, 4094, 4095, 4096, 4300, 9000)]
    (line,) = [line for line in bed.run("check", "app").succeeded().out.splitlines() if line.startswith("WARN")]
    assert "paths are left out, with all below" in line
    assert "gone-4" in line  # the first ones that were met: which, the directory that the test lies in decides
    bed.run("run", "app").succeeded()
    (warning,) = bed.manifest()["warnings"]
    assert warning in line
    assert bed.record()["warnings"] == [warning]
    found = backed_up(bed)
    assert {kept, str(bed.data / "file")} <= found
    assert not found & set(gone)
    bed.run("run", "app").succeeded()
    bed.run("verify", "--all").succeeded()
    restored = bed.restored("x")
    assert (restored / str(bed.data / "file").lstrip("/")).read_text() == "content"
    listed = subprocess.run(["find", restored, "-name", "*kept"], capture_output=True, text=True, check=True).stdout
    assert listed.strip().endswith(kept)


def test_a_directory_that_fits_loses_only_what_does_not(bed: Site) -> None:
    folder = os.path.dirname(deep(bed.data, 4050, "kept"))
    here = os.open(folder, os.O_RDONLY)
    for name in ("short", "g" * 255):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    bed.run("run", "app").succeeded()
    (warning,) = bed.manifest()["warnings"]
    assert warning.startswith("1 path is left out")
    assert f"{folder}/short" in backed_up(bed)


def test_who_excludes_it_is_not_told(bed: Site) -> None:
    deep(bed.data, 4200, "gone")
    bed.change(exclude=[f"{bed.data}/d*"])
    bed.run("run", "app").succeeded()
    assert bed.manifest()["warnings"] == []
