"""Looking into backups: what became of a path, and one file's content, without a restore."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_roundtrip import make_every_kind
from tests.support.forge import forged, member
from tests.support.program import ROOT, Program
from tests.support.storm import describe


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def found(program: Program, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(program.ok("find", *arguments, "--json"))
    return rows


def cat(
    program: Program, backup: str, path: Path, reader: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[bytes]":
    """As people have it: what comes is bytes."""
    return subprocess.run(
        command(program, backup, path),
        env=environment(program),
        stdout=reader,
        stderr=subprocess.PIPE,
        check=False,
    )


def command(program: Program, backup: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "hiveden_backup", "--config", str(program.config), "cat", backup, str(path)]


def environment(program: Program) -> dict[str, str]:
    return {**os.environ, "STATE_DIRECTORY": str(program.place / "state"), "PYTHONPATH": str(ROOT)}


def archive_of(program: Program, backup: str) -> Path:
    (archive,) = program.archives(backup)
    return program.backups / "files" / str(archive["path"])


# ---- find ----------------------------------------------------------------------------------------------------------


def test_find_tells_the_versions_of_a_path(program: Program) -> None:
    note, other = program.tree / "notes/note", program.tree / "notes/other"
    note.parent.mkdir()
    note.write_text("one")
    other.write_text("stays")
    os.utime(note, (10**9, 10**9))
    first = program.run()
    second = program.run("--full")
    note.write_text("two, longer")
    third = program.run()
    note.unlink()
    fourth = program.run()
    rows = found(program, "notes/note")
    assert [(row["path"], row["size"], row["backups"]) for row in rows] == [
        (str(note), 11, [third]),
        (str(note), 3, [second, first]),
    ]
    assert rows[1]["mtime"] == "2001-09-09T01:46:40Z"
    assert {row["job"] for row in rows} == {"files"}
    below = found(program, "notes", "--job", "files")
    assert {row["path"] for row in below} == {str(note.parent), str(note), str(other)}, "as --only: with all below"
    assert [row["backups"] for row in below if row["path"] == str(other)] == [[fourth, third, second, first]]
    table = program.ok("find", "note")
    assert f"files/{second} and 1 older" in table
    assert table.index(third) < table.index(second)


def test_find_without_a_match(program: Program) -> None:
    (program.tree / "file").touch()
    program.run()
    assert program.call("find", "fiel").returncode == 66
    assert program.call("find", "fiel", "--json").stdout.strip() == "[]"
    assert program.call("find", "file", "--job", "other").returncode == 66


def test_find_shows_odd_names_on_one_line(program: Program) -> None:
    make_every_kind(program.tree)
    program.run()
    lines = program.ok("find", "*").splitlines()
    rows = found(program, "*")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
    paths = {os.fsencode(str(row["path"])) for row in rows}
    assert {os.fsencode(program.tree / name) for name in describe(program.tree) if name} <= paths


def test_find_goes_on_past_a_damaged_index(program: Program) -> None:
    (program.tree / "file").write_text("x")
    first, second = program.run(), program.run()
    (program.backups / "files" / second / "files.index.zst").write_bytes(b"nonsense")
    done = program.call("find", "file", "--json")
    assert done.returncode == 65
    assert [row["backups"] for row in json.loads(done.stdout)] == [[first]]
    assert second in done.stderr


def test_find_takes_any_time(program: Program) -> None:
    (program.tree / "file").write_text("x")
    backup = program.run()
    with forged(program.backups / "files" / backup) as forgery:
        forgery.archive([(member("srv/file", size=1), b"x")], [("f", 0o644, 1, "srv/file")])
    index = program.backups / "files" / backup / "files.index.zst"
    text = subprocess.run(["zstd", "-dc", index], capture_output=True, check=True).stdout
    fields = text.split(b"\t")
    fields[7] = b"9" * 40
    packed = subprocess.run(["zstd", "-c"], input=b"\t".join(fields), capture_output=True, check=True).stdout
    index.write_bytes(packed)
    (row,) = found(program, "srv/file")
    assert row["mtime"] is None
    assert "/srv/file" in program.ok("find", "srv/file")


# ---- cat -----------------------------------------------------------------------------------------------------------


def test_cat_gives_every_regular_file_to_the_byte(program: Program) -> None:
    """Odd names, hard links (whichever name has the content), sparse files, large ones, capabilities."""
    make_every_kind(program.tree)
    (program.tree / "large").write_bytes(os.urandom(5_000_000))
    backup = program.run()
    names = ["linked", "z linked", "sparse", "empty/other name of nothing", "large", "new\nline", "\udcff\udcfe"]
    for name in names:
        path = program.tree / name
        done = cat(program, f"files/{backup}", path)
        assert (done.returncode, done.stderr) == (0, b""), name
        assert done.stdout == path.read_bytes(), name


def test_cat_of_what_has_no_content_says_so(program: Program) -> None:
    make_every_kind(program.tree)
    backup = program.run()
    for name, code, word in (
        ("empty", 2, "is a directory"),
        ("dangling", 2, "is a symbolic link"),
        ("fifo", 2, "is a FIFO"),
        ("absent", 66, "show"),
    ):
        done = program.call("cat", backup, str(program.tree / name))
        assert (done.returncode, done.stdout) == (code, ""), name
        assert word in done.stderr
    assert program.call("cat", backup, "linked").returncode == 2


def test_cat_of_a_version_that_is_gone(program: Program) -> None:
    path = program.tree / "file"
    path.write_text("then")
    first = program.run()
    path.write_text("now, and longer")
    second = program.run()
    assert program.ok("cat", first, str(path)) == "then"
    assert program.ok("cat", second, str(path)) == "now, and longer"


def beyond_the_file(archive: Path) -> None:
    """A byte at the very end, behind all that is printed."""
    with archive.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def cut_short(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size // 2)


def nothing_like_it(archive: Path) -> None:
    archive.write_bytes(b"x" * archive.stat().st_size)


def absent(archive: Path) -> None:
    archive.unlink()


def a_fifo(archive: Path) -> None:
    archive.unlink()
    os.mkfifo(archive)


@pytest.mark.parametrize("damage", [beyond_the_file, cut_short, nothing_like_it, absent, a_fifo])
def test_cat_does_not_end_well_with_a_damaged_archive(program: Program, damage: Callable[[Path], None]) -> None:
    first = program.tree / "a"
    first.write_text("content")
    (program.tree / "b").write_bytes(os.urandom(3_000_000))
    backup = program.run()
    damage(archive_of(program, backup))
    done = program.call("cat", backup, str(first))
    assert done.returncode == 65
    assert done.stdout in ("", "content")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_cat_takes_nothing_else_than_the_index_says(program: Program) -> None:
    (program.tree / "file").write_text("x")
    backup = program.run()
    home = program.backups / "files" / backup
    record = ("f", 0o644, 4, "srv/a")
    for members in (
        [],
        [(member("srv/a", size=5), b"12345")],
        [(member("srv/a", b"2", target="/etc/passwd"), b"")],
        [(member("srv/a", b"1", target="etc/passwd"), b"")],
        [(member("etc/passwd", size=4), b"root"), (member("srv/a", b"1", target="etc/passwd"), b"")],
    ):
        with forged(home) as forgery:
            forgery.archive(members, [record])
        done = program.call("cat", backup, "/srv/a")
        assert (done.returncode, done.stdout) == (65, ""), members


def test_cat_of_a_damaged_index(program: Program) -> None:
    (program.tree / "file").write_text("x")
    backup = program.run()
    index = program.backups / "files" / backup / "files.index.zst"
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    assert program.call("cat", backup, str(program.tree / "file")).returncode == 65


def test_cat_warns_of_a_backup_that_was_made_elsewhere(program: Program) -> None:
    (program.tree / "file").write_text("x")
    backup = program.run()
    with forged(program.backups / "files" / backup, genuine=False):
        pass
    done = program.call("cat", backup, str(program.tree / "file"))
    assert (done.returncode, done.stdout) == (0, "x")
    assert "This machine did not make" in done.stderr


def test_cat_ends_when_nobody_reads(program: Program) -> None:
    path = program.tree / "large"
    path.write_bytes(os.urandom(8_000_000))
    backup = program.run()
    reader, writer = os.pipe()
    os.close(reader)
    done = cat(program, backup, path, writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_cat_says_that_the_disk_is_full(program: Program) -> None:
    path = program.tree / "file"
    path.write_text("x")
    backup = program.run()
    with open("/dev/full", "wb") as full:
        done = cat(program, backup, path, full.fileno())
    assert done.returncode == 74
    assert b"No space left" in done.stderr


def test_who_reads_slowly_holds_up_no_run(program: Program) -> None:
    path = program.tree / "large"
    path.write_bytes(os.urandom(8_000_000))
    backup = program.run()
    with subprocess.Popen(command(program, backup, path), env=environment(program), stdout=subprocess.PIPE) as slow:
        assert slow.stdout is not None
        begun = slow.stdout.read(1000)
        program.run("--full")
        program.ok("delete", backup, "--yes")
        program.ok("prune")
        assert begun + slow.stdout.read() == path.read_bytes()
    assert slow.returncode == 0
