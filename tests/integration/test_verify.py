"""verify finds what is damaged and names it; the next run takes again what was lost, and never builds upon it."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.program import Program
from tests.support.storm import describe


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    for number in range(20):
        (program.tree / f"file{number}").write_bytes(os.urandom(5_000))
    program.age()
    return program


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def remove(path: Path) -> None:
    path.unlink()


DAMAGES: list[Callable[[Path], None]] = [flip, cut, remove]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["files.index.zst", "files.archives", "manifest.json", "SHA256SUMS"])
def test_a_damaged_file_of_a_backup_is_named(program: Program, damage: Callable[[Path], None], name: str) -> None:
    backup = program.run()
    path = program.backups / "files" / backup / name
    damage(path)
    done = program.call("verify", f"files/{backup}")
    assert done.returncode == 65
    assert str(path.parent) in done.stderr
    assert name in done.stderr or name == "SHA256SUMS"  # a wrong digest in it tells of the file it is for
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_named_healed_and_never_built_upon(
    program: Program, damage: Callable[[Path], None]
) -> None:
    first = program.run()
    second = program.run()
    archive = program.archives(first)[0]["path"]
    damage(program.backups / "files" / archive)
    for backup in (first, second):
        done = program.call("verify", f"files/{backup}")
        assert done.returncode == 65
        assert archive in done.stderr
    rows = {row["id"]: row for row in json.loads(program.ok("list", "--json"))}
    assert rows[first]["verified"]["result"] == "corrupt"
    third = program.run()
    assert [each["path"] for each in program.archives(third)] != [archive]
    said = program.ok("verify", f"files/{third}").splitlines()
    assert said[0] == f"files/{third}: proven, signed here"
    assert describe(program.restore(third)) == describe(program.tree)


def test_a_missing_archive_is_taken_again_without_a_verify(program: Program) -> None:
    first = program.run()
    (program.backups / "files" / program.archives(first)[0]["path"]).unlink()
    second = program.run()
    assert program.ok("verify", f"files/{second}")
    assert describe(program.restore(second)) == describe(program.tree)


def test_a_damaged_index_is_not_built_upon(program: Program) -> None:
    first = program.run()
    flip(program.backups / "files" / first / "files.index.zst")
    second = program.run()
    assert program.ok("verify", f"files/{second}")
    assert describe(program.restore(second)) == describe(program.tree)


def test_a_file_too_many_is_noticed(program: Program) -> None:
    backup = program.run()
    (program.backups / "files" / backup / "extra").write_text("who put me here?")
    done = program.call("verify", f"files/{backup}")
    assert done.returncode == 65
    assert "extra" in done.stderr


def test_nothing_stays_of_a_damaged_backup(program: Program) -> None:
    backup = program.run()
    flip(program.backups / "files" / program.archives(backup)[0]["path"])
    target = program.place / "out"
    assert program.call("restore", f"files/{backup}", "--to", str(target)).returncode == 65
    assert list(target.iterdir()) == []


def test_all_backups_are_verified_and_the_whole_ones_said_to_be(program: Program) -> None:
    whole = program.run()
    damaged = program.run()
    flip(program.backups / "files" / damaged / "files.index.zst")
    done = program.call("verify", "--all")
    assert done.returncode == 65
    index = program.backups / "files" / damaged / "files.index.zst"
    assert done.stdout.splitlines()[:-1] == [
        f"files/{damaged}: corrupt, signed here. {index} is damaged",
        f"files/{whole}: proven, signed here",
    ]
    assert done.stdout.splitlines()[-1].startswith("1 of 2 backups proven; 1 archive (")


def test_an_archive_put_right_again_is_trusted_again(program: Program) -> None:
    backup = program.run()
    archive = program.backups / "files" / program.archives(backup)[0]["path"]
    content = archive.read_bytes()
    flip(archive)
    assert program.call("verify", f"files/{backup}").returncode == 65
    archive.write_bytes(content)
    assert program.call("verify", f"files/{backup}").returncode == 0
    time.sleep(1)
    again = program.run()
    assert program.archives(again)[0]["added"] is False


def test_an_archive_found_damaged_stays_so_when_that_backup_is_deleted(program: Program) -> None:
    """Others name it too, and the next run must not build upon it."""
    program.age()
    older, newer = program.run(), program.run()
    (archive,) = program.archives(newer)
    flip(program.backups / "files" / archive["path"])
    assert program.call("verify", f"files/{older}").returncode == 65
    program.ok("delete", older, "--yes")
    made = program.run()
    assert archive["path"] not in [each["path"] for each in program.archives(made)]
    program.ok("verify", made)
    program.ok("delete", newer, "--yes")
    assert sorted(os.listdir(program.place / "state/verified/files")) == [f"{made}.json", "archives.json"]
    seen = json.loads((program.place / "state/verified/files/archives.json").read_text())["archives"]
    assert list(seen) == [each["path"] for each in program.archives(made)], "one is gone, and what was known of it"
