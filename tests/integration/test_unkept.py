"""Restores to places that do not keep owners, modes, attributes, links or devices: the content comes, the rest is told.

bindfs stands for NFS with root_squash, SMB and FUSE; Landlock for file systems without links and devices.
"""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.disks import own_disk
from tests.support.job import ROOT, Done, Site, site, stands_still, until

LANDLOCK = """
import ctypes, os, sys
REFER, MAKE_CHAR, MAKE_FIFO, MAKE_SYM = 1 << 13, 1 << 6, 1 << 10, 1 << 12
libc = ctypes.CDLL(None, use_errno=True)
handled = ctypes.c_uint64(REFER | MAKE_CHAR | MAKE_FIFO | MAKE_SYM)
ruleset = libc.syscall(444, ctypes.byref(handled), ctypes.c_size_t(8), 0)
assert ruleset >= 0 and libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(446, ruleset, 0) == 0, ctypes.get_errno()
os.execv(sys.executable, [sys.executable, "-m", "hiveden_backup", *sys.argv[1:]])
"""
"""Starts the program where the kernel lets nobody make devices, FIFOs and links, hard ones across directories."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    """A backup of a tree that has something of everything."""
    with site(tmp_path) as installation:
        tree = installation.data
        (tree / "inner").mkdir()
        (tree / "word").write_text("then")
        (tree / "inner/deep").write_text("deep")
        os.link(tree / "word", tree / "inner/again")
        os.symlink("word", tree / "link")
        os.mkfifo(tree / "fifo")
        os.mknod(tree / "null", 0o640 | stat.S_IFCHR, os.makedev(1, 3))
        subprocess.run(["setfacl", "-m", "u:1234:r", str(tree / "inner/deep")], check=True)
        os.setxattr(tree / "inner/deep", "user.word", b"value")
        for name in ("word", "inner/deep", "inner"):
            os.chown(tree / name, 1234, 1235)
        (tree / "word").chmod(0o4755)
        (tree / "inner").chmod(0o2770)
        installation.configure({"app": {"paths": [str(tree)]}})
        installation.init().run("run", "app").succeeded()
        yield installation


@contextlib.contextmanager
def poor(place: Path, *options: str) -> Iterator[Path]:
    """A file system that refuses some things, at `place`."""
    behind = place.with_name(f"{place.name}.behind")
    behind.mkdir(exist_ok=True)
    place.mkdir(exist_ok=True)
    subprocess.run(["bindfs", *options, str(behind), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def restored(made: Site, target: Path, *more: str) -> tuple[Done, Path]:
    done = made.run("restore", "app/latest", "--to", str(target), *more)
    return done, target / str(made.data).lstrip("/")


def whole(tree: Path) -> None:
    """All that has content is there."""
    assert (tree / "word").read_text() == (tree / "inner/again").read_text() == "then"
    assert (tree / "inner/deep").read_text() == "deep"


OWNERS = "owners of 4 paths"
AS_OWNER = "modes of 2 paths"
MODES = "modes of 3 paths"  # what an ACL says comes all the same


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--chown-deny", "--chgrp-deny"], [OWNERS, AS_OWNER]),
        (["--chown-ignore", "--chgrp-ignore"], [OWNERS, AS_OWNER]),
        (["--chmod-deny"], [MODES]),
        (["--chmod-ignore"], [MODES]),
        (["--xattr-none"], ["ACLs of 1 path (", "inner/deep)", "extended attributes of 1 path ("]),
        (["--xattr-ro"], ["ACLs of 1 path (", "extended attributes of 1 path ("]),
        (
            ["--chown-deny", "--chgrp-deny", "--chmod-deny", "--xattr-none"],
            [OWNERS, "modes of 6 paths", "ACLs of 1 path", "extended attributes of 1 path"],
        ),
    ],
    ids=lambda value: "".join(value) if str(value[0]).startswith("--") else "",
)
def test_the_content_comes_and_the_rest_is_told(made: Site, options: Sequence[str], told: Sequence[str]) -> None:
    with poor(made.path / "poor", *options) as place:
        done, tree = restored(made, place / "new")
        done.failed(1, "did not keep everything", "content of all files is there", *told)
        assert "Run as root" not in done.err
        assert "verify" not in done.err.lower()
        whole(tree)
        other = (tree / "word").stat()
        assert other.st_uid == 1234 or not other.st_mode & stat.S_ISUID  # it must not run as somebody else
        table, _ = restored(made, place / "again", "--json")
        assert table.code == 1
        kinds = {each.partition(" of ")[0] for each in told if " of " in each}
        found = {each["what"] for each in table.json["not_kept"]}
        assert found - {"times"} == kinds  # bindfs loses what tar sets; it shows when that is over two seconds ago


def test_a_place_that_keeps_all_of_it(made: Site) -> None:
    done, tree = restored(made, made.path / "new", "--json")
    assert done.succeeded().json["not_kept"] == []
    whole(tree)
    assert os.getxattr(tree / "inner/deep", "user.word") == b"value"


def test_links_and_devices(made: Site) -> None:
    target = made.path / "new"
    argv = [sys.executable, "-c", LANDLOCK, "--config", str(made.config), "restore", "app/latest", "--to", str(target)]
    ended = subprocess.run(argv, env=made.environment, cwd=ROOT, capture_output=True, text=True, check=False)
    done = Done(ended.returncode, ended.stdout, ended.stderr)
    done.failed(1, "special files of 2 paths", "symbolic links of 1 path", "hard links of 1 path")
    tree = target / str(made.data).lstrip("/")
    whole(tree)
    assert (tree / "inner/again").stat().st_ino != (tree / "word").stat().st_ino
    assert [(tree / each).stat().st_mode & 0o7777 for each in ("word", "inner/again")] == [0o4755] * 2
    assert (tree / "inner/again").stat().st_uid == 1234


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--chown-deny", "--chgrp-deny"], "owners of 1 path"),
        (["--chmod-ignore"], "modes of 1 path"),
        (["--xattr-ro"], "extended attributes of 1 path"),
    ],
)
def test_in_place_nothing_is_replaced_by_less(made: Site, options: Sequence[str], told: str) -> None:
    """Else an application would stand before files that are not its own any more."""
    with in_place(made, *options) as file:
        done = made.run("restore", "app/latest", "--in-place", "--yes")
        done.failed(74, "would not keep everything", told, "Nothing was replaced", "--to DIR")
        assert file.read_text() == "now"
        assert [path.name for path in file.parents[1].iterdir()] == ["tree"]


def test_in_place_where_there_are_no_attributes_at_all(made: Site) -> None:
    """What is replaced cannot have had any either: it goes on, and says so."""
    with in_place(made, kept=bare) as file:
        done = made.run("restore", "app/latest", "--in-place", "--yes")
        done.failed(1, "without some attributes", "extended attributes of 1 path", str(file))
        assert (file.read_text(), file.stat().st_uid) == ("then", 1234)
        assert [path.stat().st_mtime_ns for path in (file, file.parent)] == [1, 1]
        made.run("undo", "app", "--yes").succeeded()
        assert file.read_text() == "now"


@contextlib.contextmanager
def bare(place: Path) -> Iterator[Path]:
    """A file system without attributes that keeps all else, at `place`, with what is there; bindfs loses times."""
    before = place.with_name(f"{place.name}.before")
    shutil.copytree(f"{place}.behind", before, symlinks=True)
    subprocess.run(["mount", "-t", "ramfs", "ramfs", str(place)], check=True)
    try:
        shutil.copytree(before, place, dirs_exist_ok=True)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextlib.contextmanager
def in_place(
    made: Site, *options: str, kept: Callable[..., contextlib.AbstractContextManager[Path]] = poor
) -> Iterator[Path]:
    """A file that was backed up on a pool that keeps everything, which is one that does not by now."""
    pool = made.path / "pool"
    file = pool / "tree/file"
    with poor(pool):
        file.parent.mkdir()
        file.write_text("then")
        os.setxattr(file, "user.word", b"value")
        os.chown(file, 1234, 1234)
        file.chmod(0o4750)
        for old in (file, file.parent):
            os.utime(old, ns=(1, 1))
        made.configure({"app": {"paths": [str(file.parent)]}})
        made.run("run", "app").succeeded()
        file.write_text("now")
    with kept(pool, *options):
        yield file


def test_space_is_no_such_thing(made: Site) -> None:
    """A disk that is full or read-only is an error as ever."""
    with poor(made.path / "poor", "-r") as place:
        done, _ = restored(made, place)
        assert done.code == 74


def test_a_full_disk_leaves_nothing_and_gives_the_directory_back(made: Site) -> None:
    """Half of a tree could pass for all of it, and the next try wants an empty directory."""
    (made.data / "large").write_bytes(os.urandom(3 << 20))
    made.run("run", "app").succeeded()
    place = made.path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(place)], check=True)
    try:
        target = place / "target"
        target.mkdir(mode=0o750)
        os.chown(target, 1234, 4321)
        done = made.run("restore", "app/latest", "--to", str(target)).failed(74, "Restore to a disk with room")
        assert f"Nothing of it was left in {target}" in done.err
        found = target.stat()
        assert (os.listdir(target), found.st_uid, found.st_gid, found.st_mode & 0o7777) == ([], 1234, 4321, 0o750)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_what_others_put_into_a_place_that_cannot_be_closed_stays_theirs(made: Site) -> None:
    """A share where everybody may write: what a damaged backup left there is said, and nothing is removed."""
    (made.data / "large").write_bytes(os.urandom(3 << 20))
    made.run("run", "app").succeeded()
    for archive in (made.job() / "archives").iterdir():
        with archive.open("r+b") as file:
            file.seek(-20, os.SEEK_END)
            file.write(b"damaged")
    with poor(made.path / "poor", "--perms=a+rwX", "--chmod-ignore", "--chown-ignore") as place:
        target = place / "target"
        target.mkdir()
        process = made.start("restore", "app/latest", "--to", str(target), failpoint="stage:hold")
        stands_still(process)
        process.send_signal(signal.SIGCONT)
        until(lambda: list(target.rglob("*")) or process.poll() is not None, "something is there")
        (target / "mine").write_text("mine")
        done = made.finish(process)
        assert done.code == 65, done.err
        assert f"What is in {target} is not all of it" in done.err
        assert (target / "mine").read_text() == "mine"


def test_flags_of_chattr_are_not_kept(made: Site) -> None:
    """As the README says: tar knows nothing of them."""
    disk = made.path / "disk"
    disk.mkdir()
    with own_disk(disk):
        (disk / "tree").mkdir()
        (disk / "tree/file").write_text("content")
        subprocess.run(["chattr", "+d", str(disk / "tree/file")], check=True)
        made.configure({"app": {"paths": [str(disk / "tree")]}})
        made.run("run", "app").succeeded()
        made.run("restore", "app/latest", "--to", str(disk / "new")).succeeded()
        restored = disk / "new" / str(disk / "tree/file").lstrip("/")
        flags = [
            subprocess.run(["lsattr", str(each)], check=True, capture_output=True, text=True).stdout.split()[0]
            for each in (disk / "tree/file", restored)
        ]
        assert ["d" in each for each in flags] == [True, False]
