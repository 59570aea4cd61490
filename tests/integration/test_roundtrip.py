"""What goes into a backup comes out of it again: every kind of file, with all that belongs to it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.backup.how_to_restore import TEXT
from tests.support.program import Program
from tests.support.sockets import listening
from tests.support.storm import describe

ODD_NAMES = (
    "new\nline",
    "tab\tin",
    "trailing ",
    " leading",
    "-rf",
    "--",
    "*",
    "?[a]",
    "a -> b",
    "a link to b",
    "back\\slash",
    "quote'\"",
    "\udcff\udcfe",
    "\x01\x7f",
    "ünï",
    "C:",
)


def make_every_kind(tree: Path) -> None:
    """One of everything that a tree can have."""
    for name in ODD_NAMES:
        (tree / name).write_text(name.encode("utf-8", "surrogateescape").hex())
        (tree / f"d{name}").mkdir()
        (tree / f"d{name}" / name).symlink_to(name)
    (tree / "empty").mkdir(mode=0o700)
    (tree / "nothing").touch()
    os.link(tree / "nothing", tree / "empty" / "other name of nothing")
    (tree / "linked").write_text("content")
    os.link(tree / "linked", tree / "z linked")
    (tree / "dangling").symlink_to("/nowhere/at/all")
    (tree / "long link").symlink_to("x" * 300)
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "device", 0o20660, os.makedev(1, 3))
    with (tree / "sparse").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
    deep = tree
    while len(str(deep)) < len(str(tree)) + 300:
        deep /= "directory"
    deep.mkdir(parents=True)
    (deep / ("n" * 250)).write_text("deep")
    special = tree / "special"
    special.write_text("#!/bin/sh\n")
    os.chown(special, 1234, 4321)
    special.chmod(0o6755)
    os.utime(special, ns=(10**18, 987654321))
    os.setxattr(special, "user.note", b"kept\0as it is")
    subprocess.run(["setfacl", "-m", "u:1000:rw,g:1000:r", tree / "linked"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1000:rwx", tree / "empty"], check=True)
    capable = tree / "capable"
    shutil.copyfile("/bin/true", capable)
    capable.chmod(0o755)
    subprocess.run(["setcap", "cap_net_bind_service+ep", capable], check=True)
    before_epoch = tree / "before 1970"
    before_epoch.write_text("old")
    os.utime(before_epoch, ns=(-(10**18), -(10**18)))


def holes(path: Path) -> bool:
    status = path.stat()
    return status.st_blocks * 512 < status.st_size


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_every_kind_of_file_survives(program: Program) -> None:
    make_every_kind(program.tree)
    with listening(program.tree / "socket"):
        wanted = describe(program.tree)
    del wanted["socket"]
    backup = program.run()
    restored = program.restore(backup)
    assert describe(restored) == wanted
    assert holes(restored / "sparse")
    assert (restored / "device").stat().st_rdev == os.makedev(1, 3)
    assert "1 socket" in program.ok("check", "files")
    assert program.ok("verify", f"files/{backup}").startswith(f"files/{backup}: proven, signed here\n")


def test_an_unchanged_tree_adds_no_archive_and_restores_all_the_same(program: Program) -> None:
    make_every_kind(program.tree)
    program.age()
    program.run()
    second = program.run()
    assert [archive["added"] for archive in program.archives(second)] == [False]
    assert describe(program.restore(second)) == describe(program.tree)


def test_types_that_change_are_followed_back_and_forth(program: Program) -> None:
    path = program.tree / "changing"
    moments = {}
    for step in range(6):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if step % 3 == 0:
            path.mkdir()
            (path / "inside").write_text(str(step))
        elif step % 3 == 1:
            path.write_text(str(step))
        else:
            path.symlink_to(str(step))
        moments[program.run()] = describe(program.tree)
    for backup, moment in moments.items():
        assert describe(program.restore(backup)) == moment


def test_hard_links_stay_links_when_a_directory_with_one_of_them_moves(program: Program) -> None:
    (program.tree / "a").mkdir()
    (program.tree / "a/one").write_text("content")
    os.link(program.tree / "a/one", program.tree / "two")
    program.age()
    program.run()
    (program.tree / "a").rename(program.tree / "b")
    restored = program.restore(program.run())
    assert (restored / "b/one").samefile(restored / "two")


def test_only_takes_a_link_whose_content_lies_under_another_name(program: Program) -> None:
    (program.tree / "first").write_text("content")
    (program.tree / "d").mkdir(mode=0o711)
    os.link(program.tree / "first", program.tree / "d/second")
    (program.tree / "d/other").write_text("not wanted")
    backup = program.run()
    restored = program.restore(backup, "--only", "**/second")
    assert (restored / "d/second").read_text() == "content"
    assert sorted(path.name for path in restored.rglob("*")) == ["d", "second"]
    assert (restored / "d").stat().st_mode & 0o7777 == 0o711


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.txt", {"a.txt", "sub/b.txt"}),
        ("sub", {"sub/b.txt", "sub/c.md"}),
        ("sub/*.md", {"sub/c.md"}),
        ("**/b.*", {"sub/b.txt"}),
        ("[ab].txt", {"a.txt", "sub/b.txt"}),
        ("[!a].txt", {"sub/b.txt"}),
    ],
)
def test_only_restores_what_a_glob_matches(program: Program, glob: str, found: set[str]) -> None:
    (program.tree / "sub").mkdir()
    for name in ("a.txt", "sub/b.txt", "sub/c.md"):
        (program.tree / name).write_text(name)
    restored = program.restore(program.run(), "--only", glob)
    assert {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_file()} == found


def test_only_with_nothing_to_find_is_an_error(program: Program) -> None:
    (program.tree / "file").write_text("x")
    backup = program.run()
    target = program.place / "out"
    done = program.call("restore", backup, "--to", str(target), "--only", "nothing")
    assert done.returncode == 66
    assert not target.exists()


def test_each_only_must_find_something(program: Program) -> None:
    """Whoever asked for two things and got one would take it for all."""
    (program.tree / "file").write_text("x")
    backup = program.run()
    target = program.place / "out"
    done = program.call("restore", backup, "--to", str(target), "--only", "file", "--only", "fiel", "--only", "f*")
    assert done.returncode == 66
    assert f"{backup} matches fiel." in done.stderr
    assert not target.exists()


def test_excluded_paths_are_left_out_with_all_below(tmp_path: Path) -> None:
    program = Program(tmp_path, f'exclude = ["**/cache", "*.tmp", "{tmp_path}/tree/secret"]')
    for name in ("cache/a", "x/cache/b", "x/c.tmp", "secret/d", "kept/secret/e", "kept/cached"):
        (program.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (program.tree / name).write_text(name)
    restored = program.restore(program.run())
    found = {str(path.relative_to(restored)) for path in restored.rglob("*") if path.is_file()}
    assert found == {"kept/secret/e", "kept/cached"}


def test_a_restore_never_writes_over_anything(program: Program) -> None:
    (program.tree / "file").write_text("x")
    backup = program.run()
    occupied = program.place / "occupied"
    occupied.mkdir()
    (occupied / "mine").write_text("mine")
    assert program.call("restore", backup, "--to", str(occupied)).returncode == 2
    assert [path.name for path in occupied.iterdir()] == ["mine"]
    inside = program.backups / "files" / "restored"
    assert program.call("restore", backup, "--to", str(inside)).returncode != 0
    assert not inside.exists()


def test_the_recipe_in_the_backup_directory_restores_with_stock_tools(program: Program) -> None:
    make_every_kind(program.tree)
    program.age()
    program.run()
    (program.tree / "linked").write_text("changed")
    shutil.rmtree(program.tree / "d*")
    (program.tree / "more").mkdir()
    (program.tree / "more/file").write_text("new")
    backup = program.run()
    moment = describe(program.tree)
    assert len(program.archives(backup)) > 1
    recipe = (program.backups / "HOW-TO-RESTORE.txt").read_text()
    assert recipe == TEXT
    target = program.place / "by hand"
    target.mkdir()
    section = recipe.split("1. Check")[1].split("3. A database")[0]
    commands = "\n".join(re.findall(r"^     (.*)$", section, re.MULTILINE))
    commands = commands.replace("JOB/20261123T023000Z", f"{program.backups}/files/{backup}")
    commands = commands.replace("cd DIR", f'cd "{target}"').replace("/tmp/live", f"{program.place}/live")
    done = subprocess.run(["bash", "-c", commands], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert describe(target / str(program.tree).lstrip("/")) == moment
    assert f"{program.tree}/more/file".lstrip("/") in done.stdout.decode("utf-8", "replace")
    assert b"manifest.json: OK" in done.stdout
