"""A listing of an offsite held against the journal."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from hiveden_backup.core.offsite import sums
from hiveden_backup.core.offsite.compare import Wrong, compare, fault, lines_of, removable, unsent
from hiveden_backup.core.offsite.journal import Did, Line, There

AT = datetime(2026, 11, 23, tzinfo=UTC)
ARCHIVE = "archives/20261101T023000Z.hot-0001.tar.zst"
OLD = "archives/20251101T023000Z.hot-0001.tar.zst"
BACKUP = "20261123T023000Z"


@dataclass(frozen=True)
class Listed:
    bytes: int
    md5: str = ""


def there(*names: str, needs: Iterable[str] = ()) -> There:
    made = There()
    for name in names:
        made.note(Line(AT, Did.PUT, name, 5, "0" * 64, "f" * 32, needs=tuple(needs)))
    return made


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (None, Wrong.MISSING),
        (Listed(4), Wrong.TRUNCATED),
        (Listed(6), Wrong.REPLACED),
        (Listed(5, "e" * 32), Wrong.REPLACED),
        (Listed(5, "f" * 32), None),
        (Listed(5), None),
    ],
)
def test_what_is_wrong_with_an_object(seen: Listed | None, expected: Wrong | None) -> None:
    assert fault(Line(AT, Did.PUT, f"{ARCHIVE}.0000", 5, md5="f" * 32), seen) is expected


def test_each_object_is_something() -> None:
    known = there(f"{ARCHIVE}.0000", f"{ARCHIVE}.sums", f"{BACKUP}/SHA256SUMS")
    names = [f"{ARCHIVE}.0000", f"{ARCHIVE}.0001", f"{ARCHIVE}.sums", f"{OLD}.0000", f"{OLD}.0001.abcd1234.partial"]
    other = "20261122T023000Z"
    names += [f"{other}/SHA256SUMS", f"{other}/manifest.json", "20261121T023000Z/manifest.json", "mine.txt", "a/b"]
    found = compare(known, {name: Listed(5) for name in names})
    assert found.wrong == {f"{BACKUP}/SHA256SUMS": Wrong.MISSING}
    assert found.unknown == (f"{other}/SHA256SUMS",)
    assert found.strays == (f"{OLD}.0000", f"{OLD}.0001.abcd1234.partial", "20261121T023000Z/manifest.json")
    assert found.foreign == ("mine.txt", "a/b")


def test_what_is_sent_again_takes_its_sums_along() -> None:
    known = there(f"{ARCHIVE}.0000", f"{ARCHIVE}.0001", f"{ARCHIVE}.sums", f"{BACKUP}/SHA256SUMS")
    lines = unsent(known, [f"{ARCHIVE}.0001", f"{OLD}.0000"], AT)
    assert [(line.did, line.object) for line in lines] == [
        (Did.REMOVED, f"{ARCHIVE}.sums"),
        (Did.REMOVED, f"{ARCHIVE}.0001"),
    ]


@pytest.mark.parametrize(
    ("known", "is_here", "goes"),
    [
        (there(f"{ARCHIVE}.0000"), False, True),
        (there(f"{ARCHIVE}.0000"), True, False),
        (there(f"{OLD}.0001"), False, False),
        (there(f"{BACKUP}/SHA256SUMS", needs=[OLD]), False, False),
    ],
)
def test_only_what_nothing_will_need_goes(known: There, is_here: bool, goes: bool) -> None:  # noqa: FBT001 - a case
    stray = f"{OLD}.0000"
    assert removable([stray], known, lambda of: is_here and of == OLD) == ((stray,) if goes else ())


def test_sums_tell_what_the_journal_told() -> None:
    told = sums.ArchiveSums(
        sums.Content(ARCHIVE, 9, "a" * 64), (sums.Piece(f"{ARCHIVE.partition('/')[2]}.0000.age", 5, "b" * 64),)
    )
    name = f"{ARCHIVE}.sums"
    lines = lines_of(told, name, {name: told.dump(), f"{name}.sig": b"sig"}, {name: Listed(3, "c" * 32)}, AT)
    assert [line.object for line in lines] == [f"{ARCHIVE}.0000.age", f"{name}.sig", name]
    assert (lines[-1].plain_bytes, lines[-1].plain_sha256, lines[-1].md5) == (9, "a" * 64, "c" * 32)
    assert (lines[0].bytes, lines[0].sha256) == (5, "b" * 64)
    backup = sums.BackupSums(
        "home",
        BACKUP,
        (sums.Content("manifest.json", 7, "d" * 64),),
        (told.archive,),
        (sums.Piece("manifest.json.age", 8, "e" * 64),),
    )
    last = lines_of(backup, f"{BACKUP}/SHA256SUMS", {f"{BACKUP}/SHA256SUMS": backup.dump()}, {}, AT)[-1]
    assert (last.object, last.plain_bytes, last.needs) == (f"{BACKUP}/SHA256SUMS", 7, (ARCHIVE,))
