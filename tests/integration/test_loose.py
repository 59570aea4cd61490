"""Trees on a FUSE file system: nothing that did not change is archived again."""

import os
import subprocess
from pathlib import Path

from tests.support.job import site

LONG_AGO = 10**9


def linked(library: Path, name: str, other: str) -> None:
    (library / name).write_text("content")
    os.link(library / name, library / other)
    for path in (library / name, library):
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_hard_links_there_are_archived_once(tmp_path: Path) -> None:
    """A library of hard links on a pool of disks must not be archived whole in each run."""
    with site(tmp_path) as made:
        library, pool = made.path / "library", made.data / "pool"
        library.mkdir()
        pool.mkdir()
        linked(library, "a", "b")
        made.configure({"app": {"paths": [str(pool)]}})
        made.init()
        subprocess.run(["bindfs", "--ctime-from-mtime", str(library), str(pool)], check=True)
        try:
            made.run("run", "app").succeeded()
            assert made.manifest()["roots"][0]["mounts"] == [str(pool)]
            linked(library, "c", "d")
            made.run("run", "app").succeeded()
            older, newer = made.manifest()["archives"]
            assert older["live_bytes"] > newer["live_bytes"]
            (library / "a").unlink()  # b's times do not tell on this file system, its count of links does
            made.run("run", "app").succeeded()
        finally:
            subprocess.run(["umount", str(pool)], check=True)
        restored = made.restored("x") / str(pool).lstrip("/")
        assert sorted(path.name for path in restored.iterdir()) == ["b", "c", "d"]
        assert (restored / "b").read_text() == "content"


def test_a_file_system_without_extended_attributes_is_one_warning(tmp_path: Path) -> None:
    """As sshfs, mergerfs with `xattr=nosys`, squashfs, rclone and CIFS mounts are: tar complains of each file there."""
    with site(tmp_path) as made:
        behind, pool, other = made.path / "behind", made.data / "pool", made.data / "other"
        for folder in (behind / "folder", pool, other):
            folder.mkdir(parents=True)
        for name in ("folder/a", "b"):
            (behind / name).write_text(name)
        (behind / "link").symlink_to("b")
        (other / "file").write_text("with attributes")
        os.setxattr(other / "file", "user.kept", b"yes")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init()
        subprocess.run(["bindfs", "--xattr-none", str(behind), str(pool)], check=True)
        try:
            made.run("run", "app").succeeded()
            warnings = made.manifest()["warnings"]
            told = f"The file system at {pool} tells of no extended attributes"
            assert [told in warning for warning in warnings].count(True) == 1
            assert not [warning for warning in warnings if "tar:" in warning]
            (behind / "folder/a").write_text("changed")
            made.run("run", "app").succeeded()
        finally:
            subprocess.run(["umount", str(pool)], check=True)
        restored = made.restored("x")
        assert (restored / str(pool / "folder/a").lstrip("/")).read_text() == "changed"
        assert os.getxattr(restored / str(other / "file").lstrip("/"), "user.kept") == b"yes"


def test_backups_on_such_a_file_system_are_whole(tmp_path: Path) -> None:
    """Archives are digested on their way there, not read back: some do not let a file be read that is written."""
    with site(tmp_path) as made:
        behind = made.path / "behind"
        behind.mkdir()
        made.backups.mkdir()
        made.archive_bytes = 500_000
        for number in range(5):
            (made.data / f"{number}").write_bytes(os.urandom(400_000))
        made.configure({"app": {"paths": [str(made.data)]}})
        subprocess.run(["bindfs", str(behind), str(made.backups)], check=True)
        try:
            made.init()
            made.run("run", "app", failpoint="archive@2:kill")
            made.run("run", "app").succeeded()
            made.run("verify", "app/latest").succeeded()
        finally:
            subprocess.run(["umount", "-l", str(made.backups)], check=True)
        assert len(list((behind / "app/archives").iterdir())) == 5
