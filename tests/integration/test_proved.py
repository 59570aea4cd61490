"""Proved, not stored again: what only has another inode or ctime costs its line in the index, and all else is archived.

After an in-place restore, `cp -a`, a move to another disk or a chown there and back, a backup would otherwise be as
large as the first one.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.host.disk.index_files import records
from tests.integration.test_roundtrip import ODD_NAMES, make_every_kind
from tests.integration.test_storm import Chain, difference
from tests.support.disks import own_disk, small_disk
from tests.support.invariants import check_invariants
from tests.support.job import Site, site
from tests.support.storm import describe

MIB = 1 << 20
OLD = (10**18, 10**18)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """A tree with one of everything, archived; from now on any amount pays."""
    chain = Chain(tmp_path, compact_ratio=0.001)
    make_every_kind(chain.tree)
    (chain.tree / "fifo").unlink()
    (chain.tree / "device").unlink()  # what has no content is archived again
    for name in ("file", "other"):
        (chain.tree / name).write_bytes(os.urandom(3 * MIB))
        os.utime(chain.tree / name, ns=OLD)
    big = 3 * 10**6
    os.chown(chain.tree / "other", big, big)
    with (chain.tree / "holes").open("wb") as file:
        for at in range(0, 20 * MIB, 2 * MIB):
            file.seek(at)
            file.write(b"data")
        file.truncate(30 * MIB)
    os.utime(chain.tree / "before 1970", ns=(-(10**18) + 5 * 10**8, -(10**18) + 5 * 10**8))
    for path in everything(chain.tree):
        if not stat.S_ISREG(path.lstat().st_mode):  # rsync leaves times that are of the same second
            os.utime(path, ns=OLD, follow_symlinks=False)
    chain.worth_proving = 0
    chain.run(None)
    return chain


def everything(tree: Path) -> list[Path]:
    """The tree and all below it, what is in directories first."""
    walked = [Path(folder) / name for folder, folders, files in os.walk(tree) for name in (*folders, *files)]
    return sorted([tree, *walked], reverse=True)


def index(chain: Chain) -> list[Record]:
    manifest = chain.finished.manifest
    with records(chain.directory.backup_path("storm", manifest.id) / "files.index.zst", manifest.paths) as lines:
        return [parse(line) for line in lines]


def again(chain: Chain) -> set[str]:
    """Run; what was archived, relative to the tree. The backup restores to what is there."""
    chain.run(None)
    manifest = chain.finished.manifest
    added = {number for number, archive in enumerate(manifest.archives) if archive.added}
    paths = {os.fsdecode(record.path) for record in index(chain) if record.archive in added}
    for record in index(chain):
        assert record.inode == os.lstat(b"/" + record.path).st_ino
    assert difference(chain.restored(manifest.id), describe(chain.tree)) == []
    assert bool(added) == bool(paths)
    return {os.path.relpath(f"/{path}", chain.tree) for path in paths}


def copied(tree: Path, *, by: tuple[str, ...] = ("cp", "-a")) -> None:
    """Put a copy in the place of a tree."""
    there, here = tree.with_name("copy"), tree.with_name("before")
    subprocess.run([*by, f"{tree}/.", there], check=True)
    tree.rename(here)
    there.rename(tree)
    shutil.rmtree(here)


def touched(tree: Path) -> None:
    """Give all paths another ctime: chmod or chown, there and back."""
    for path in everything(tree):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):  # else it would lose its capabilities, and setuid
            path.chmod(stat.S_IMODE(status.st_mode) ^ 0o100)
            path.chmod(stat.S_IMODE(status.st_mode))
        else:
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


# ---- what is proved --------------------------------------------------------------------------------------------------


def test_a_copy_in_its_place(chain: Chain) -> None:
    copied(chain.tree)
    assert again(chain) == set()
    assert again(chain) == set()


def test_a_copy_by_rsync(chain: Chain) -> None:
    copied(chain.tree, by=("rsync", "-aHAXS"))
    assert again(chain) == set()


def test_a_touch_of_ctimes(chain: Chain) -> None:
    touched(chain.tree)
    assert again(chain) == set()


@pytest.mark.parametrize("disk", [own_disk, small_disk], ids=["ext4", "tmpfs"])
def test_another_disk(chain: Chain, disk: Callable[[Path, str], object]) -> None:
    before, place = chain.tree.with_name("before"), chain.tree
    chain.tree.rename(before)
    place.mkdir()
    with disk(place, "512M"):  # type: ignore[attr-defined]
        subprocess.run(["rsync", "-aHAXS", f"{before}/", place], check=True)
        assert again(chain) <= {"lost+found"}


@contextmanager
def large(tmp_path: Path) -> Iterator[Site]:
    """A job large enough that it pays, and that compresses well."""
    with site(tmp_path) as made:
        make_every_kind(made.data)
        (made.data / "large").write_bytes(os.urandom(MIB) * 70)
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        yield made


def added(made: Site) -> set[str]:
    """What a run archives again."""
    made.run("run", "app").succeeded()
    found = subprocess.run(
        "zstd -dc files.index.zst", shell=True, cwd=made.job() / made.ids()[0], capture_output=True, check=True
    ).stdout
    fresh = {number for number, archive in enumerate(made.manifest()["archives"]) if archive["added"]}
    paths = [parse(line) for line in found.split(b"\0")[:-1]]
    return {
        os.path.relpath(b"/" + each.path, os.fsencode(made.data)).decode() for each in paths if each.archive in fresh
    }


def test_an_in_place_restore_and_its_undo(tmp_path: Path) -> None:
    with large(tmp_path) as made:
        made.run("restore", "app/latest", "--in-place", "--yes").succeeded()
        assert "up to" in made.run("check").out
        assert "up to" in made.run("run", "app", "--dry-run").out
        assert added(made) == {"fifo", "device"}
        made.run("undo", "app", "--yes").succeeded()
        assert added(made) == {"fifo", "device"}
        assert not made.manifest()["unusual"]
        made.run("verify", "--all").succeeded()
        made.run("run", "app", "--full").succeeded()
        assert made.manifest()["archives"][0]["added"]


def test_a_kill_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    with large(tmp_path) as made:
        copied(made.data)
        assert made.run("run", "app", failpoint="prove:kill").code == -9
        check_invariants(made, swept=False)
        assert added(made) == {"fifo", "device"}
        check_invariants(made)


def test_room_for_what_may_not_be_needed_is_no_condition(tmp_path: Path) -> None:
    """A restore on a nearly full disk must not keep the next run from its few bytes."""
    with site(tmp_path) as made:
        made.backups.mkdir()
        with small_disk(made.backups, "100m"):
            (made.data / "large").write_bytes(os.urandom(70 * MIB))
            made.configure({"app": {"paths": [str(made.data)]}})
            made.init().run("run", "app").succeeded()
            copied(made.data)
            assert "may need" in made.run("check").out
            assert added(made) == set()
            (made.data / "large").write_bytes(os.urandom(70 * MIB))
            made.run("run", "app").failed(73, "free")


# ---- what is archived ------------------------------------------------------------------------------------------------


def flip(path: Path, at: int = 2 * MIB) -> None:
    """Another byte, the same time of modification."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=times)


def relink(path: Path) -> None:
    """A symbolic link that says something else of the same length."""
    said, times = os.readlink(path), path.lstat().st_mtime_ns
    path.unlink()
    path.symlink_to(said[:-1] + "y")
    os.utime(path, ns=(times, times), follow_symlinks=False)
    os.utime(path.parent, ns=OLD)


def shorten(path: Path) -> None:
    os.truncate(path, 3 * MIB - 1)
    os.utime(path, ns=OLD)


def command(*words: str) -> Callable[[Path], object]:
    return lambda path: subprocess.run([*words, path], check=True)


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "the first byte": ("file", lambda path: flip(path, 0)),
    "the last byte": ("file", lambda path: flip(path, 3 * MIB - 1)),
    "a byte": ("file", flip),
    "a byte of data between holes": ("holes", lambda path: flip(path, 4 * MIB)),
    "a byte in a hole": ("holes", lambda path: flip(path, 5 * MIB)),
    "a byte in the last hole": ("holes", lambda path: flip(path, 29 * MIB)),
    "a byte of a hard link": ("linked", lambda path: flip(path, 0)),
    "mode": ("file", lambda path: path.chmod(0o640)),
    "owner": ("file", lambda path: os.chown(path, 1, 0)),
    "group": ("file", lambda path: os.chown(path, 0, 1)),
    "time": ("file", lambda path: os.utime(path, ns=(OLD[0], OLD[0] + 1))),
    "size": ("file", shorten),
    "a new attribute": ("file", lambda path: os.setxattr(path, "user.note", b"x")),
    "another attribute": ("special", lambda path: os.setxattr(path, "user.note", b"kept\0as it iS")),
    "one attribute less": ("special", lambda path: os.removexattr(path, "user.note")),
    "a trusted attribute": ("file", lambda path: os.setxattr(path, "trusted.note", b"x")),
    "an ACL": ("linked", command("setfacl", "-m", "u:1000:r")),
    "an ACL less": ("linked", command("setfacl", "-b")),
    "a new ACL": ("file", command("setfacl", "-m", "u:1000:r")),
    "a capability": ("capable", command("setcap", "cap_net_raw+ep")),
    "a capability less": ("capable", command("setcap", "-r")),
    "what a symbolic link says": ("long link", relink),
    "an attribute of a symbolic link": (
        "dangling",
        lambda path: os.setxattr(path, "trusted.note", b"x", follow_symlinks=False),
    ),
    "a default ACL of a directory": ("empty", command("setfacl", "-d", "-m", "u:1000:rx")),
    "no default ACL of a directory": ("empty", command("setfacl", "-k")),
    "an attribute of a directory": ("empty", lambda path: os.setxattr(path, "user.note", b"x")),
}
GROUPS = {"linked": {"linked", "z linked"}}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_archived_and_no_more(chain: Chain, change: str) -> None:
    name, act = CHANGES[change]
    copied(chain.tree)
    act(chain.tree / name)
    assert again(chain) == GROUPS.get(name, {name})


def test_a_change_of_content_in_place_alone(chain: Chain) -> None:
    """Nothing else of the archive is in question: it does not pay to read that."""
    changed = {"file", "other", *ODD_NAMES[:2]}
    for name in changed:
        flip(chain.tree / name, 0)
    assert again(chain) == changed


@pytest.mark.parametrize("how", ["broken", "joined", "one more", "one less", "exchanged"])
def test_hard_links_with_other_names(chain: Chain, how: str) -> None:
    """The group is not what it was: its names are archived as they are now."""
    tree = chain.tree
    for name in ("one", "two", "three", "four"):
        (tree / name).write_text("the same")
        os.utime(tree / name, ns=OLD)
    os.link(tree / "one", tree / "one b")
    os.link(tree / "two", tree / "two b")
    chain.run(None)
    copied(tree)
    if how == "broken":
        shutil.copy2(tree / "one b", tree / "new")
        (tree / "new").rename(tree / "one b")
    elif how == "joined":
        (tree / "four").unlink()
        os.link(tree / "three", tree / "four")
    elif how == "one more":
        os.link(tree / "one", tree / "one c")
    elif how == "one less":
        (tree / "one b").unlink()
    else:
        os.rename(tree / "one b", tree / "x")
        os.rename(tree / "two b", tree / "one b")
        os.rename(tree / "x", tree / "two b")
    os.utime(tree, ns=OLD)
    expected = {
        "broken": {"one", "one b"},
        "joined": {"three", "four"},
        "one more": {"one", "one b", "one c"},
        "one less": {"one"},
        "exchanged": {"one", "one b", "two", "two b"},
    }
    assert again(chain) - {"."} == expected[how]
