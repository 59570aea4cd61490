"""Directories by descriptors, without links: what is refused, what a rename takes, what a removal never touches."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.host.disk import beneath


def test_no_component_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/file").touch()
    with beneath.opened(f"{tmp_path}/real/below") as descriptor:
        assert os.fstat(descriptor).st_ino == (tmp_path / "real/below").stat().st_ino
    for path, number in (("link", errno.ELOOP), ("link/below", errno.ELOOP), ("real/file", errno.ENOTDIR)):
        with pytest.raises(OSError, match=path.split("/")[0]) as told, beneath.opened(f"{tmp_path}/{path}"):
            pass
        assert (told.value.errno, told.value.filename) == (number, f"{tmp_path}/{path.removesuffix('/below')}")
    with pytest.raises(FileNotFoundError), beneath.opened(f"{tmp_path}/real/gone/far"):
        pass
    with pytest.raises(ValueError, match="no path"), beneath.opened(f"{tmp_path}/real/../real"):
        pass


def test_what_is_held_stays_the_same_whatever_its_name_becomes(tmp_path: Path) -> None:
    held, other = tmp_path / "held", tmp_path / "other"
    for place in (held, other):
        (place / "in").mkdir(parents=True)
    with beneath.opened(str(held)) as descriptor:
        known = beneath.identity(descriptor)  # on an overlay that is owner and mode alone
        held.rename(tmp_path / "moved")
        held.symlink_to(other)
        with beneath.opened("in", descriptor) as inner, beneath.made(inner, "new") as new:
            beneath.sync(new)
        assert Path(beneath.through(descriptor, "in")).samefile(tmp_path / "moved/in")
    assert (tmp_path / "moved/in/new").stat().st_mode & 0o7777 == 0o700
    assert list((other / "in").iterdir()) == []
    other.chmod(0o700)
    with beneath.opened(str(other)) as descriptor:
        assert not known.is_met(beneath.identity(descriptor), same_boot=True)


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    with beneath.parent(f"{tmp_path}/a/b") as (descriptor, name):
        assert (beneath.exists(descriptor, name), beneath.exists(descriptor, "c")) == (True, False)
        beneath.remove_tree(descriptor, name)
    with pytest.raises(OSError, match="symbolic link"), beneath.opened(f"{tmp_path}/link/b"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("flags", [True, False])
def test_a_rename_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, flags: bool) -> None:
    if not flags:  # as a file system that does not know how
        monkeypatch.setattr(beneath, "_NOREPLACE", 1 << 20)
    (tmp_path / "full").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full/file").touch()
    with beneath.opened(str(tmp_path)) as place:
        with pytest.raises(FileExistsError):
            beneath.rename(place, "full", place, "empty")
        beneath.rename(place, "full", place, "other")
        with pytest.raises(FileNotFoundError):
            beneath.rename(place, "full", place, "more")
    assert (tmp_path / "other/file").exists()


def test_a_removal_follows_no_link_and_takes_every_kind(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "in").mkdir(parents=True)
    (kept / "file").write_text("stays")
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/file").hardlink_to(kept / "file")
    (tree / "link").symlink_to(kept)
    os.mkfifo(tree / "a/pipe")
    (tmp_path / "top").symlink_to(kept)
    with beneath.opened(str(tmp_path)) as place:
        beneath.remove_tree(place, "top")
        beneath.remove_tree(place, "tree")
        with pytest.raises(FileNotFoundError):
            beneath.remove_tree(place, "tree")
    assert sorted(os.listdir(tmp_path)) == ["kept"]
    assert (kept / "file").read_text() == "stays"
    assert (kept / "in").is_dir()


def test_a_removal_knows_no_depth(tmp_path: Path) -> None:
    """Whose tree it was may have made it so deep that no path leads to its end."""
    below = beneath.open_directory(str(tmp_path))
    for number in range(1100):
        for name in ("tree", f".deep-{number % 3}"):
            os.mkdir(name, dir_fd=below)
        above, below = below, beneath.open_directory("tree", below)
        os.close(above)
    os.close(below)
    with beneath.opened(str(tmp_path)) as place:
        beneath.remove_tree(place, "tree")
    assert os.listdir(tmp_path) == [".deep-0"]


def test_nothing_is_removed_of_what_is_mounted(tmp_path: Path) -> None:
    """Not even of the same file system, which device numbers do not tell."""
    other, point = tmp_path / "other", tmp_path / "tree/point"
    other.mkdir()
    point.mkdir(parents=True)
    (other / "file").touch()
    subprocess.run(["mount", "--bind", str(other), str(point)], check=True)
    try:
        with beneath.opened(str(tmp_path)) as place, pytest.raises(OSError, match="mounted") as told:
            beneath.remove_tree(place, "tree")
        assert told.value.errno == errno.EXDEV
    finally:
        subprocess.run(["umount", str(point)], check=True)
    assert (other / "file").exists()
