"""A disk that is away must not look as if all had been deleted: no run without it, until a person says it is gone."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.automount import automounted
from tests.support.disks import own_disk, small_disk
from tests.support.history import seal
from tests.support.job import Site, site
from tests.support.validation import said


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job that keeps two backups."""
    with site(tmp_path) as made:
        made.configure({"app": {"paths": [str(made.data)], "retention": {"keep_last": 2}}})
        yield made.init()


@pytest.fixture
def disk(bed: Site) -> Path:
    """A mount point in the job's files."""
    point = bed.data / "disk"
    point.mkdir()
    return point


@contextlib.contextmanager
def bound(source: Path, point: Path) -> Iterator[None]:
    """A bind mount for the block."""
    subprocess.run(["mount", "--bind", str(source), str(point)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)


def two_backups(bed: Site, disk: Path) -> list[str]:
    """Backups with a photo that is on the disk."""
    (disk / "photo").write_text("precious")
    for _ in range(2):
        bed.run("run", "app").succeeded()
    return bed.ids()


def refused_each_night(bed: Site, disk: Path, kept: list[str]) -> None:
    """However often it is tried, nothing is made and nothing goes."""
    for options in ((), (), ("--full",)):
        bed.run("run", "app", *options).failed(
            66, f"Nothing is mounted at {disk}", f"app/{kept[0]}", "Mount it", "hiveden-backup accept app"
        )
    assert bed.ids() == kept
    (line,) = said(bed, "FAIL")
    assert str(disk) in line
    assert bed.run("status").code == 1
    restored = bed.restored("before-accept", backup=f"app/{kept[0]}")
    assert (restored / str(disk)[1:] / "photo").read_text() == "precious"


def accepted(bed: Site, disk: Path) -> None:
    """A person says that it is gone for good: then runs go on without it, and say nothing of it."""
    done = bed.run("accept", "app").succeeded()
    assert f"Nothing is mounted at {disk}" in done.out
    assert "nothing to accept" in bed.run("accept", "app").succeeded().out
    for _ in range(2):
        bed.run("run", "app").succeeded()
    assert bed.manifest()["unusual"] == []
    bed.run("status").succeeded()


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("left", ["nothing", "a directory", "no mount point"])
def test_no_run_without_the_disk(bed: Site, disk: Path, *, below: bool, left: str) -> None:
    """It is mounted at the job's path, or below it. An application has left a directory, or somebody took the point."""
    bed.change(paths=[str(bed.data if below else disk)])
    with small_disk(disk, "1m"):
        kept = two_backups(bed, disk)
    if left == "a directory":
        (disk / "cache").mkdir()
    if left == "no mount point":
        disk.rmdir()
        if not below:
            bed.run("run", "app").failed(66, f"{disk} does not exist")
            return
    refused_each_night(bed, disk, kept)
    accepted(bed, disk)
    assert bed.ids()[0] > kept[0]


def test_the_path_lies_on_the_disk(bed: Site, disk: Path) -> None:
    """The mount point is above the path, of which a program made an empty one."""
    album = disk / "album"
    bed.change(paths=[str(album)])
    with small_disk(disk, "1m"):
        album.mkdir()
        kept = two_backups(bed, album)
        assert bed.manifest()["roots"] == [
            {"path": str(album), "device": album.stat().st_dev, "filesystem": "tmpfs", "mounts": [], "mount": str(disk)}
        ]
    album.mkdir()
    bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}", kept[0])
    accepted(bed, disk)


def test_the_same_file_system_elsewhere_is_a_disk_too(bed: Site, disk: Path) -> None:
    """A bind mount of a directory that lies beside."""
    photos = bed.path / "photos"
    photos.mkdir()
    with bound(photos, disk):
        kept = two_backups(bed, disk)
    refused_each_night(bed, disk, kept)


def test_what_another_mount_hides_is_away(bed: Site, disk: Path) -> None:
    with own_disk(disk):
        kept = two_backups(bed, disk)
        with small_disk(bed.data, "1m"):
            disk.mkdir()
            bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}", kept[0])
            bed.change(paths=[str(disk)])
            bed.run("accept", "app").succeeded()
            bed.run("run", "app").succeeded()
            assert [(root["mounts"], root["mount"]) for root in bed.manifest()["roots"]] == [([], str(bed.data))]


def test_a_new_disk_in_its_place_will_do(bed: Site, disk: Path) -> None:
    with small_disk(disk, "1m"):
        two_backups(bed, disk)
    with own_disk(disk):
        bed.run("run", "app").succeeded()


def test_an_older_backup_is_enough(bed: Site, disk: Path) -> None:
    """The newest one lacks it, as one that an older version made without a word."""
    with small_disk(disk, "1m"):
        two_backups(bed, disk)
    manifest = bed.job() / bed.ids()[0] / "manifest.json"
    table = json.loads(manifest.read_text())
    table["roots"][0]["mounts"] = []
    manifest.write_text(json.dumps(table))
    seal(manifest.parent)
    bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}", bed.ids()[1])


def test_a_backup_of_before_tells_by_the_type_of_the_file_system(bed: Site, disk: Path) -> None:
    """Version 0.1.0 recorded no more of a path that lies on a disk."""
    album = disk / "album"
    bed.change(paths=[str(album)])
    with small_disk(disk, "1m"):
        album.mkdir()
        bed.run("run", "app").succeeded()
    manifest = bed.job() / bed.ids()[0] / "manifest.json"
    table = json.loads(manifest.read_text())
    del table["roots"][0]["mount"]
    manifest.write_text(json.dumps(table))
    seal(manifest.parent)
    album.mkdir()
    bed.run("run", "app").failed(66, f"Nothing is mounted at {album}")
    accepted(bed, album)


@pytest.mark.parametrize(
    "change",
    [{"exclude": ["disk"]}, {"one_file_system": True}, {"paths": ["kept"]}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_backed_up_any_more_may_go(bed: Site, disk: Path, change: dict[str, Any]) -> None:
    (bed.data / "kept").mkdir()
    with small_disk(disk, "1m"):
        two_backups(bed, disk)
    if "paths" in change:
        change = {"paths": [str(bed.data / "kept")]}
    bed.change(**change)
    bed.run("run", "app").succeeded()
    assert "nothing to accept" in bed.run("accept", "app").succeeded().out


def test_a_disk_that_came_back_may_not_go_again(bed: Site, disk: Path) -> None:
    """What was accepted holds for the backups of before."""
    with small_disk(disk, "1m"):
        two_backups(bed, disk)
    accepted(bed, disk)
    with small_disk(disk, "1m"):
        bed.run("run", "app").succeeded()
    bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}", bed.ids()[0])


def test_a_mount_that_shows_a_directory_in_its_own_place_is_none(bed: Site, disk: Path) -> None:
    """Units have such ones: without them, the same is there."""
    (disk / "photo").write_text("precious")
    with bound(disk, disk):
        bed.run("run", "app").succeeded()
        assert bed.manifest()["roots"][0]["mounts"] == []
    bed.run("run", "app").succeeded()
    with small_disk(disk, "1m"):
        bed.run("run", "app").succeeded()
        with bound(disk, disk):  # over a disk, it is the disk
            bed.run("run", "app").succeeded()
            assert bed.manifest()["roots"][0]["mounts"] == [str(disk)]
    with bound(disk, disk):  # and in its place, no disk
        bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}")


@pytest.mark.parametrize("below", [True, False])
def test_a_disk_that_is_mounted_when_somebody_looks(bed: Site, disk: Path, *, below: bool) -> None:
    """An automounter takes it away between the nights, and has it again."""
    bed.change(paths=[str(bed.data if below else disk)])
    with automounted(disk):
        for _ in range(2):
            bed.run("run", "app").succeeded()
            root = bed.manifest()["roots"][0]
            assert disk.as_posix() in (*root["mounts"], root["mount"])
            assert bed.manifest()["warnings"] == []
            subprocess.run(["umount", str(disk)], check=True)
        restored = bed.restored("there")
        assert (restored / str(disk)[1:] / "photo").read_text() == "precious"
        kept = bed.ids()
    bed.run("run", "app").failed(66, f"Nothing is mounted at {disk}", kept[0])


def test_what_a_unit_must_not_see_is_no_disk(bed: Site, disk: Path) -> None:
    """An empty directory of systemd hides it there, and nowhere else."""
    hidden = bed.path / "run"
    hidden.mkdir()
    with small_disk(hidden, "1m"):
        (hidden / "systemd/inaccessible/dir").mkdir(parents=True)
        with bound(hidden / "systemd/inaccessible/dir", disk):
            bed.run("run", "app").succeeded()
            assert bed.manifest()["roots"][0]["mounts"] == []
    bed.run("run", "app").succeeded()


def test_accept_wants_a_job(bed: Site) -> None:
    bed.run("accept", "other").failed(66, "There is no job other")
    assert "nothing to accept" in bed.run("accept", "app").succeeded().out
    assert not (bed.state / "accepted").exists()
