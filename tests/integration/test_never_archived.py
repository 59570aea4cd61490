"""The backup directory and the state directory are never backed up, whatever name a bind mount gives them."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.job import Site, site
from tests.support.validation import check, said


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
        told = [row["message"] for row in check(bed) if (row["name"], row["status"]) == ("path", "OK")]
    assert told == [
        f"{bed.data}/all/backups is left out: it is the backup directory",
        f"{bed.data}/all/state is left out: it is the state directory",
        f"{bed.data}/pool is left out: it is the backup directory",
    ]
    paths = bed.run("show", "app/latest", "--files").succeeded().out.splitlines()
    assert f"{bed.data}/all/etc/config.toml" in paths
    for kept_out in ("pool", "all/backups", "all/state"):
        assert not [path for path in paths if path.startswith(f"{bed.data}/{kept_out}")]


def test_neither_can_be_a_path_of_a_job_under_another_name(bed: Site) -> None:
    with bound(bed.backups, bed.path / "pool"):
        bed.change(paths=[str(bed.path / "pool")])
        bed.run("run", "app").failed(1, f"{bed.path}/pool lies in the backup or state directory")


def test_a_part_of_it_is_not_archived_under_another_name_either(bed: Site) -> None:
    with bound(bed.job(), bed.data / "some"):
        assert f"{bed.data}/some is left out: it is a part of the backup or state directory" in said(bed, "OK")
        bed.run("run", "app").succeeded()
        bed.change(paths=[str(bed.data / "some")])
        bed.run("run", "app").failed(1, f"{bed.data}/some lies in the backup or state directory")
    assert bed.manifest()["artifacts"][0]["entries"] == 2


@pytest.mark.parametrize("exclude", [[], ["backups"], ["/nothing"]])
def test_a_path_above_both_is_backed_up_without_them(bed: Site, exclude: list[str]) -> None:
    """By whatever name the path has; a pattern that names them as well is not told to match nothing."""
    (bed.path / "alias").symlink_to(bed.path)
    bed.change(paths=[str(bed.path / "alias")], exclude=exclude)
    assert {f"{bed.backups} is left out: it is the backup directory"} <= set(said(bed, "OK"))
    assert {f"{bed.state} is left out: it is the state directory"} <= set(said(bed, "OK"))
    idle = [message for message in said(bed, "WARN") if "in-place restore" not in message]
    assert idle == [f'The exclude pattern "{each}" matches nothing' for each in exclude if each[0] == "/"]
    bed.run("run", "app").succeeded()
    paths = bed.run("show", "app/latest", "--files").succeeded().out.splitlines()
    assert f"{bed.data}/file" in paths
    assert not [path for path in paths if path.startswith((str(bed.backups), str(bed.state)))]
    restored = bed.restored("above")
    assert (restored / str(bed.data / "file").lstrip("/")).read_text() == "content"
    done = bed.run("restore", "app/latest", "--in-place", "--yes")
    done.failed(1, "which this program works with", "Restore with --to DIR")


def test_what_the_kernel_makes_up_is_left_out(bed: Site) -> None:
    """A tree with /proc in it, such as all of a machine, can be backed up."""
    (bed.data / "proc").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", str(bed.data / "proc")], check=True)
    try:
        assert f"{bed.data}/proc is left out: it is the kernel's own (proc)" in said(bed, "OK")
        bed.run("run", "app").succeeded()
    finally:
        subprocess.run(["umount", str(bed.data / "proc")], check=True)
    assert bed.manifest()["artifacts"][0]["entries"] == 2


def test_nor_as_a_union_of_file_systems_shows_it(bed: Site) -> None:
    """Such as a pool of disks, one of which has the backups: its inodes are others, and each run would add them all."""
    pool = bed.path / "pool"
    with overlaid(bed.path, pool):
        os.replace(pool / "data/file", pool / "data/moved")
        bed.change(paths=[str(pool)], exclude=["state"])
        assert f"{pool}/backups is left out: it is the backup directory, as another file system shows it" in said(
            bed, "OK"
        )
        bed.run("run", "app").succeeded()
        bed.run("run", "app").succeeded()
        paths = bed.run("show", "app/latest", "--files").succeeded().out.splitlines()
        assert f"{pool}/data/moved" in paths
        assert [path for path in paths if path.startswith(f"{pool}/backups")] == [f"{pool}/backups"]
        for root in ("backups", "backups/app"):
            bed.change(paths=[str(pool / root)])
            bed.run("run", "app").failed(1, f"{pool / root} lies in the backup or state directory")


def test_a_directory_that_has_another_marker_is_archived(bed: Site) -> None:
    (bed.data / ".hiveden-backup.json").write_text('{"format": 1, "id": "another"}')
    bed.run("run", "app").succeeded()
    assert bed.manifest()["artifacts"][0]["entries"] == 3


@contextlib.contextmanager
def overlaid(lower: Path, target: Path) -> Iterator[None]:
    target.mkdir()
    with small_disk(target, "16m"):
        upper, work = target / "upper", target / "work"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(target)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(target)], check=True)
