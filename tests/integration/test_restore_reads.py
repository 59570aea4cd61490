"""A restore reads what it needs: each archive once, several at a time; and forged ones steer none of that elsewhere."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hiveden_backup.core.backup.how_to_restore import TEXT
from tests.support import sandbox
from tests.support.forge import Record, forged, member
from tests.support.job import PATIENCE, ROOT
from tests.support.program import Program
from tests.support.storm import describe
from tests.support.watched import Watch

MIB = 1 << 20
Part = tuple[list[tarfile.TarInfo], list[Record]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "place").mkdir()
    return Program(tmp_path / "place")


def several_archives(program: Program) -> str:
    """A backup with three archives, each of which has something in the same odd directories."""
    tree = program.tree
    for name, mode in (("setgid", 0o2775), ("reading", 0o555), ("listed", 0o700), ("own/ed", 0o700)):
        (tree / name).mkdir(parents=True)
        (tree / name / "inner").mkdir()
        (tree / name / "first").write_text("first")
        (tree / name).chmod(mode)
    os.chown(tree / "own/ed", 1234, 4321)
    os.chown(tree / "setgid", 0, 4321)
    (tree / "setgid").chmod(0o2775)
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx,g:4321:r", str(tree / "listed")], check=True)
    subprocess.run(["setfacl", "-m", "u:1234:rwx", str(tree / "own")], check=True)
    os.setxattr(tree / "listed", "user.word", b"value")
    backup = ""
    for number in range(3):
        for name in ("setgid", "reading", "listed", "own/ed", "own", "setgid/inner"):
            (tree / name / f"file {number}").write_text(f"{name} {number}")
        for name in ("reading", "own"):
            os.link(tree / name / f"file {number}", tree / name / f"other name of {number}")
        for folder in (tree, tree / "listed", tree / "own/ed", tree / "setgid/inner"):
            os.utime(folder, ns=(1, (10**9 + number) * 10**9 + 123456789))
        program.age()
        backup = program.run()
    assert len(program.archives(backup)) == 3
    return backup


def test_all_of_it_comes_from_three_archives_each_opened_once(program: Program) -> None:
    backup = several_archives(program)
    home = program.backups / "files"
    watched = {each["path"]: Watch(home / each["path"]) for each in program.archives(backup)}
    restored = program.restore(backup)
    assert {path: watch.opens() for path, watch in watched.items()} == dict.fromkeys(watched, 1)
    assert describe(restored) == describe(program.tree)
    program.ok("restore", f"files/{backup}", "--in-place", "--yes")
    assert {path: watch.opens() for path, watch in watched.items()} == dict.fromkeys(watched, 1)
    assert describe(restored) == describe(program.tree)


def test_one_file_needs_one_archive(program: Program) -> None:
    backup = several_archives(program)
    home = program.backups / "files"
    watched = {each["path"]: Watch(home / each["path"]) for each in program.archives(backup)}
    restored = program.restore(backup, "--only", f"{program.tree}/own/other name of 1")
    opens = sorted(watch.opens() for watch in watched.values())
    assert opens in ([0, 0, 1], [0, 1, 1])  # with the directories above it, which may be in another one
    assert sorted(each.name for each in restored.rglob("*")) == ["other name of 1", "own"]
    wanted, found = (describe(tree / "own")["."] for tree in (program.tree, restored))
    assert found == wanted


def test_without_landlock_one_after_another_gives_the_same(program: Program) -> None:
    backup = several_archives(program)
    target = program.place / "target"
    done = call_within(program, sandbox.within(errno.EPERM), "restore", f"files/{backup}", "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert describe(target / str(program.tree).lstrip("/")) == describe(program.tree)


def test_who_is_not_root_gets_back_what_is_his(program: Program) -> None:
    """Directories that he himself may not write to, too."""
    him = 12345
    (program.tree / "reading/inner").mkdir(parents=True)
    os.chown(program.tree, him, him)
    for number in range(3):  # the directories' records are in the first archive alone, and files in each
        for name in ("reading", "reading/inner"):
            if number:
                (program.tree / name / f"file {number}").write_text(f"{name} {number}, changed")
                continue
            for file in range(3):
                (program.tree / name / f"file {file}").write_text(f"{name} {file}")
                os.chown(program.tree / name / f"file {file}", him, him)
            os.chown(program.tree / name, him, him)
            (program.tree / name).chmod(0o555)
        program.age()
        backup = program.run()
    assert len(program.archives(backup)) == 3
    target = program.place / "target"
    subprocess.run(["chown", "-R", f"{him}:{him}", str(program.place)], check=True)
    for each in program.place.parents:
        if not each.stat().st_mode & stat.S_IXOTH:
            each.chmod(0o711)
    within = ("setpriv", f"--reuid={him}", f"--regid={him}", "--clear-groups")
    done = call_within(program, within, "restore", f"files/{backup}", "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert describe(target / str(program.tree).lstrip("/")) == describe(program.tree)


def call_within(program: Program, within: Sequence[str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*within, sys.executable, "-m", "hiveden_backup", "--config", str(program.config), *arguments]
    environment = {**os.environ, "STATE_DIRECTORY": str(program.place / "state"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


# ---- what is damaged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_nothing_stays_of_a_damaged_backup(program: Program, there: bool) -> None:  # noqa: FBT001
    """The damage shows when most of it is there already: somebody could take that for all of it."""
    for number in range(20):
        (program.tree / f"file {number:02}").write_bytes(os.urandom(MIB))
    backup = program.run()
    archive = program.backups / "files" / program.archives(backup)[0]["path"]
    with archive.open("r+b") as file:
        file.seek(19 * MIB)
        file.write(b"something else")
    target = program.place / "target"
    if there:
        target.mkdir(mode=0o750)
        os.chown(target, 1234, 4321)
        before = target.stat()
    done = program.call("restore", f"files/{backup}", "--to", str(target))
    assert done.returncode == 65, done.stderr
    assert str(archive) in done.stderr
    assert f"Nothing of it was left in {target}" in done.stderr
    assert os.listdir(target) == []
    if there:
        now = target.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    tree = describe(program.tree)
    done = program.call("restore", f"files/{backup}", "--in-place", "--yes")
    assert done.returncode == 65, done.stderr
    assert describe(program.tree) == tree
    assert [each.name for each in program.place.iterdir() if each.name.startswith(".hiveden")] == []


def test_one_of_many_files_costs_no_more_than_all(program: Program) -> None:
    """GNU tar walks through its names for each member that comes after the last of them, with some of its options."""
    count, name = 80_000, str(program.tree).lstrip("/")
    (program.tree / "file").write_text("x")
    backup = program.run()
    names = [f"{name}/{number:06}" for number in range(count)]
    with forged(program.backups / "files" / backup) as forgery:
        members = [(member(name, tarfile.DIRTYPE, 0o755), b""), *((member(each), b"") for each in names)]
        forgery.sequence([(members, [("d", 0o755, 0, name), *(("f", 0o644, 0, each) for each in names)])])
    spent = []
    for only in ((), ("--only", f"/{names[0]}"), ("--only", f"{program.tree}/0[0-3]*")):
        before = os.times()
        restored = program.restore(backup, *only)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
        shutil.rmtree(restored)
    everything, one, half = spent
    assert one < everything
    assert half < 3 * everything  # its patterns cost more than what they save: without an end, it would take minutes


# ---- what is forged --------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that no restore may touch, with names in it that a restore has."""
    made = tmp_path / "outside"
    (made / "sub").mkdir(parents=True)
    (made / "sub").chmod(0o700)
    (made / "canary").write_text("sings")
    (made / "sub/canary").write_text("sings")
    os.utime(made / "sub", ns=(1, 1))
    return made


def slow(name: str) -> tuple[list[tuple[tarfile.TarInfo, bytes]], list[Record]]:
    """What takes a while, so that another archive is done before what comes after it."""
    data = os.urandom(MIB) * 48
    return [(member(name, size=len(data)), data)], [("f", 0o644, len(data), name)]


def a_link_for_an_empty_directory(top: str, target: str) -> list[Part]:
    """And a file below it out of the other archive."""
    return [
        ([member(f"{top}/d", tarfile.SYMTYPE, 0o777, target=target)], [("d", 0o755, 0, f"{top}/d")]),
        ([member(f"{top}/d/canary", size=4)], [("f", 0o644, 4, f"{top}/d/canary")]),
    ]


def a_link_for_a_directory_with_one_in_it(top: str, target: str) -> list[Part]:
    """GNU tar gives a directory that is there, wherever that is, owner and mode: Landlock knows nothing of these."""
    return [
        ([member(f"{top}/d", tarfile.SYMTYPE, 0o777, target=target)], [("d", 0o755, 0, f"{top}/d")]),
        ([member(f"{top}/d/sub", tarfile.DIRTYPE, 0o777)], [("d", 0o777, 0, f"{top}/d/sub")]),
    ]


def a_file_for_the_inner_one_first(top: str, target: str) -> list[Part]:
    return [
        (
            [member(f"{top}/d/sub", size=0), member(f"{top}/d", tarfile.SYMTYPE, 0o777, target=target)],
            [("d", 0o755, 0, f"{top}/d/sub")],
        ),
        (
            [member(f"{top}/d", tarfile.SYMTYPE, 0o777, target=target)],
            [("d", 0o755, 0, f"{top}/d")],
        ),
        ([member(f"{top}/d/sub/canary", size=4)], [("f", 0o644, 4, f"{top}/d/sub/canary")]),
    ]


def a_hard_link_through_a_link(top: str, target: str) -> list[Part]:
    """The link is the index's own. What comes by it would be another name of a file outside."""
    return [
        ([member(f"{top}/a", tarfile.SYMTYPE, 0o777, target=target)], [("l", 0o777, len(target), f"{top}/a")]),
        (
            [member(f"{top}/z", tarfile.LNKTYPE, target=f"{top}/a/canary")],
            [("f", 0o644, 5, f"{top}/z")],
        ),
    ]


FORGERIES = (
    a_link_for_an_empty_directory,
    a_link_for_a_directory_with_one_in_it,
    a_file_for_the_inner_one_first,
    a_hard_link_through_a_link,
)


@pytest.mark.parametrize("landlock", [True, False])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("make", FORGERIES)
def test_archives_that_work_together_write_nothing_elsewhere(
    program: Program,
    outside: Path,
    make: Callable[[str, str], list[Part]],
    relative: bool,  # noqa: FBT001
    landlock: bool,  # noqa: FBT001
) -> None:
    (program.tree / "file").write_text("as it is")
    backup = program.run()
    top, target = str(program.tree).lstrip("/"), program.place / "target"
    leads = os.path.relpath(outside, target / top) if relative else str(outside)
    with forged(program.backups / "files" / backup) as forgery:
        first, *others = make(top, leads)
        parts = [([(each, b"x" * each.size) for each in members], records) for members, records in (first, *others)]
        for number in range(1, len(parts)):
            before, more = slow(f"{top}/0{number}")
            parts[number] = [*before, *parts[number][0]], [*more, *parts[number][1]]
        parts[0] = [(member(top, tarfile.DIRTYPE, 0o755), b""), *parts[0][0]], [("d", 0o755, 0, top), *parts[0][1]]
        forgery.sequence(parts)
    canary, known = outside / "canary", describe(outside)
    within = () if landlock else sandbox.within(errno.EPERM)
    done = call_within(program, within, "restore", f"files/{backup}", "--to", str(target))
    print(done.stderr)  # noqa: T201 - for who looks at a failure
    assert describe(outside) == known
    assert canary.stat().st_nlink == 1
    assert done.returncode == 65, done.stderr
    assert os.listdir(target) == []
    if landlock and make is a_link_for_an_empty_directory:
        assert "File exists" in done.stderr  # it was never replaced, not even for a moment


# ---- the recipe ------------------------------------------------------------------------------------------------------


def test_a_run_renews_the_recipe(program: Program, outside: Path) -> None:
    """Of an older version, one that somebody changed, one that is gone, or a link; an unchanged one is left alone."""
    recipe = program.backups / "HOW-TO-RESTORE.txt"
    program.run()
    inode = recipe.stat().st_ino
    program.run()
    assert recipe.stat().st_ino == inode

    def link() -> None:
        recipe.unlink()
        recipe.symlink_to(outside / "canary")

    for change in (
        lambda: recipe.write_text("rm -rf /"),
        lambda: recipe.write_text(TEXT + "rm -rf /"),
        recipe.unlink,
        link,
    ):
        change()
        program.run()
        assert recipe.read_text() == TEXT
        assert stat.S_ISREG(recipe.lstat().st_mode)
        assert recipe.stat().st_mode & 0o777 == 0o600
    assert (outside / "canary").read_text() == "sings"
    recipe.unlink()
    recipe.mkdir()
    done = program.call("run", "files")
    assert done.returncode == 0, done.stderr
    assert "HOW-TO-RESTORE.txt" in done.stderr
    assert sorted(os.listdir(program.backups)) == [".hiveden-backup.json", "HOW-TO-RESTORE.txt", "files"]


def test_ended_in_the_middle_no_tar_goes_on(program: Program) -> None:
    """Two archives are in the making when SIGTERM comes: what was begun is ended before the program is."""
    for number in range(2):
        for name in range(30):
            (program.tree / f"{number} {name}").write_bytes(os.urandom(2 * MIB))
        program.age()
        backup = program.run()
    assert len(program.archives(backup)) == 2
    target = program.place / "target"
    command = [sys.executable, "-m", "hiveden_backup", "--config", str(program.config)]
    environment = {**os.environ, "STATE_DIRECTORY": str(program.place / "state"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "restore", f"files/{backup}", "--to", str(target)], env=environment, stderr=subprocess.PIPE
    ) as running:
        while not (target / str(program.tree).lstrip("/") / "1 2").exists():
            assert running.poll() is None
            time.sleep(0.001)
        running.terminate()
        _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 143, said
    assert b"Traceback" not in said
    count = sum(1 for _ in target.rglob("*"))
    time.sleep(0.5)
    assert sum(1 for _ in target.rglob("*")) == count
