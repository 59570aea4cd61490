"""The sums at an offsite: written, read, bounded, and checked by sha256sum without a key."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.backup import layout
from hiveden_backup.core.offsite.sums import (
    ArchiveSums,
    BackupSums,
    Content,
    Piece,
    load_archive,
    load_backup,
)

PATH = "archives/20261101T023000Z.hot-0001.tar.zst"
NAME = PATH.partition("/")[2]
KEY = "age17ll4e9x0c0xlev87vvh8cs4x4vttp5pkm6hee7yy07d37y4n4q6q79ukc8"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ARCHIVE = ArchiveSums(
    Content(PATH, 300, sha("whole")),
    tuple(Piece(f"{NAME}.{number:04}.age", 100 + number, sha(str(number))) for number in range(3)),
    (KEY,),
)
BACKUP = BackupSums(
    "immich",
    "20261123T023000Z",
    (Content("manifest.json", 5, sha("m")), Content("database.a.b.dump.zst", 200, sha("d"))),
    (Content(PATH, 300, sha("whole")),),
    (
        Piece("manifest.json.age", 205, sha("m.age")),
        Piece("database.a.b.dump.zst.0000.age", 300, sha("d0")),
        Piece("database.a.b.dump.zst.0001.age", 90, sha("d1")),
    ),
    b"-----BEGIN SSH SIGNATURE-----\nxyz\n",
    (KEY,),
)


def test_sums_of_an_archive_are_read_back() -> None:
    assert load_archive(ARCHIVE.dump()) == ARCHIVE


def test_sums_of_a_backup_are_read_back() -> None:
    assert load_backup(BACKUP.dump()) == BACKUP
    assert [each.name for each in BACKUP.pieces_of("database.a.b.dump.zst")] == [
        each.name for each in BACKUP.pieces[1:]
    ]
    assert BACKUP.pieces_of("manifest.json") == BACKUP.pieces[:1]


def test_the_backups_own_sums_are_the_same_to_the_byte() -> None:
    written = layout.sums([("files.index.zst", "d" * 64), ("manifest.json", "e" * 64)])
    files = tuple(Content(name, 1, digest) for name, digest in layout.parse_sums(written).items())
    assert BackupSums("a", "20261123T023000Z", files, (), ()).own_sums == written


def test_a_key_of_ssh_is_told_without_its_comment() -> None:
    made = ArchiveSums(ARCHIVE.archive, ARCHIVE.pieces, ("ssh-ed25519 AAAA me at hömé",))
    assert load_archive(made.dump()).recipients == ("ssh-ed25519 AAAA",)


def test_sha256sum_checks_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "a.0000.age").write_bytes(b"0")
    made = ArchiveSums(Content(PATH, 1, sha("x")), (Piece("a.0000.age", 1, sha("0")),))
    (tmp_path / "sums").write_bytes(made.dump())
    check = ("sha256sum", "--strict", "--quiet", "-c", "sums")
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "a.0000.age").write_bytes(b"1")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("offsite 1", "offsite 2", id="another format"),
        pytest.param(f"# archive {PATH}", "# archive archives/../../etc/passwd", id="no archive"),
        pytest.param(" 300 ", " -300 ", id="a negative size"),
        pytest.param(" 300 ", " 3e2 ", id="no number"),
        pytest.param(" 300 ", f" {'9' * 30} ", id="an endless number"),
        pytest.param(f"  {NAME}.0001.age", "  ../x", id="a name that leads away"),
        pytest.param(".0001.age", ".0004.age", id="a gap"),
        pytest.param(sha("1"), sha("1").upper(), id="no digest"),
        pytest.param(f"{sha('1')}  {NAME}.0001.age\n", "", id="an object without a digest"),
        pytest.param(f"# object {NAME}.0001.age 101\n", "", id="a digest without an object"),
        pytest.param("# archive", "# unknown", id="another line"),
        pytest.param("# recipient", "# archive", id="two archives"),
    ],
)
def test_damaged_sums_of_an_archive_are_refused(old: str, new: str) -> None:
    text = ARCHIVE.dump().decode()
    assert old in text
    with pytest.raises(ValueError, match=r"."):
        load_archive(text.replace(old, new).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("# backup immich/", "# backup ../", id="no job"),
        pytest.param("20261123T023000Z", "20261323T023000Z", id="no backup"),
        pytest.param("# file manifest.json", "# file ../manifest.json", id="a file elsewhere"),
        pytest.param("# file manifest.json", "# file other", id="a file without an object"),
        pytest.param("dump.zst.0001", "dump.zst.0002", id="a gap"),
        pytest.param(f"# needs {PATH}", "# needs /etc/passwd", id="no archive"),
        pytest.param("# signature ", "# signature !", id="no base64"),
    ],
)
def test_damaged_sums_of_a_backup_are_refused(old: str, new: str) -> None:
    text = BACKUP.dump().decode()
    assert old in text
    with pytest.raises(ValueError, match=r"."):
        load_backup(text.replace(old, new).encode())


@pytest.mark.parametrize(
    "name", ["SHA256SUMS", "SHA256SUMS.sig", "checkpoint.json", "x.offsite", "database.a.b.dump.zst.offsite"]
)
def test_a_file_that_no_backup_has_is_refused(name: str) -> None:
    content = Content(name, 205, sha("m"))
    made = BackupSums("immich", "20261123T023000Z", (content,), (), (Piece(f"{name}.age", 300, sha("m.age")),))
    with pytest.raises(ValueError, match="no file of a backup"):
        load_backup(made.dump())


@pytest.mark.parametrize("cut", [0, 1, 30, 200, -1])
def test_sums_that_are_cut_short_are_refused(cut: int) -> None:
    for content, load in ((ARCHIVE.dump(), load_archive), (BACKUP.dump(), load_backup)):
        with pytest.raises(ValueError, match=r"."):
            load(content[:cut])


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        load_archive(b"\xff" * 100)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(
            ArchiveSums(Content(PATH, 3 << 30, "0" * 64), (Piece(f"{NAME}.0000", 3 << 30, "0" * 64),)), id="a slice"
        ),
        pytest.param(
            ArchiveSums(Content(PATH, 9, "0" * 64), (Piece(f"{NAME}.0000", 10, "0" * 64),)), id="not the same"
        ),
        pytest.param(
            ArchiveSums(Content(PATH, 9, "0" * 64), (Piece(f"{NAME}.0000.age", 8, "0" * 64),)), id="too light"
        ),
        pytest.param(
            ArchiveSums(Content(PATH, 100_000, "0" * 64), (Piece(f"{NAME}.0000.age", 167_000, "0" * 64),)),
            id="too heavy",
        ),
    ],
)
def test_objects_of_an_archive_weigh_what_it_does(made: ArchiveSums) -> None:
    with pytest.raises(ValueError, match=r"weigh|larger"):
        load_archive(made.dump())


@pytest.mark.parametrize("name", [layout.MANIFEST, layout.ARCHIVE_NAMES, "globals.a.sql.zst"])
def test_files_that_are_read_whole_are_bounded(name: str) -> None:
    size = (1 << 30) + 1
    file, piece = Content(name, size, "0" * 64), Piece(name, size, "0" * 64)
    with pytest.raises(ValueError, match="larger"):
        load_backup(BackupSums("a", "20261123T023000Z", (file,), (), (piece,)).dump())


def test_files_of_a_backup_weigh_what_their_objects_do() -> None:
    text = BACKUP.dump().decode()
    for old, new in (("manifest.json.age 205", "manifest.json.age 70000"), ("dump.zst 200", "dump.zst 391")):
        assert old in text
        with pytest.raises(ValueError, match="weigh"):
            load_backup(text.replace(old, new).encode())
