"""tar's listing decides what is in an archive: what a finished index has of a draft, and what is struck from it."""

import pytest

from hiveden_backup.core.backup.creation import classify, torn
from hiveden_backup.core.backup.tar_listing import FinishedIndex

MTIME = 1_000_000_000 * 10**9
SHOWN = "2001-09-09 01:46:40"


def draft(path: str, kind: str = "f", nlink: int = 1, inode: int = 1, size: int = 5) -> bytes:
    return f"+\t{kind}\t644\t0\t0\t{nlink}\t{size}\t{MTIME}\t{MTIME}\t{inode}\t{path}".encode()


def member(name: str, letter: str = "-", size: int = 5, shown: str = SHOWN) -> bytes:
    return f"{letter}rw-r--r-- 0/0 {size} {shown} {name}\n".encode()


def settled(
    lines: list[bytes], listing: list[bytes], *, diagnostics: tuple[str, ...] = ()
) -> tuple[FinishedIndex, list[bytes]]:
    """The finished of a draft of which all was handed to tar, and its records."""
    names = [line.split(b"\t")[-1] for line in lines]
    finished = FinishedIndex(lines, names, listing, {}, b"0", torn=torn(diagnostics))
    return finished, list(finished.records())


PAIR = [draft("a", nlink=2), draft("b", nlink=2)]


@pytest.mark.parametrize(
    ("lines", "listing", "struck"),
    [
        ([draft("a")], [member("a")], []),
        ([draft("a"), draft("b")], [member("b")], [b"a"]),
        ([draft("a")], [member("a", "d")], [b"a"]),
        (PAIR, [member("a"), member("b link to a", "h", 0)], []),
        (PAIR, [member("b link to a", "h", 0)], [b"a", b"b"]),
        (PAIR, [member("a", "d"), member("b link to a", "h", 0)], [b"a", b"b"]),
        (PAIR, [member("a"), member("b link to elsewhere", "h", 0)], [b"b"]),
        ([draft("a", nlink=2), draft("b")], [member("a"), member("b link to a", "h", 0)], [b"b"]),
        ([draft("a"), draft("b", nlink=2)], [member("a"), member("b link to a", "h", 0)], [b"b"]),
        ([draft("a", nlink=2), draft("b", nlink=2, inode=2)], [member("a"), member("b link to a", "h", 0)], [b"b"]),
    ],
    ids=[
        "held",
        "no member",
        "another type",
        "a link",
        "a link to what is absent",
        "a link to what is struck",
        "a link to what was not asked for",
        "a link, but the record has one link",
        "a link to what has one link",
        "a link to another inode",
    ],
)
def test_what_is_struck(lines: list[bytes], listing: list[bytes], struck: list[bytes]) -> None:
    """With `-T`, tar links even single files when a rename shows it the same inode twice."""
    found, records = settled(lines, listing)
    assert found.struck == struck
    assert found.entries == len(lines) - len(struck) == len(records)


@pytest.mark.parametrize(
    ("listing", "diagnostics"),
    [
        ([member("a", size=6)], ()),
        ([member("a", shown="2001-09-09 01:46:41")], ()),
        ([member("a")], ("a: file changed as we read it",)),
        ([member("a")], ("a: File shrank by 1 byte; padding with zeros",)),
    ],
    ids=["size", "mtime", "changed", "shrank"],
)
def test_what_changed_between_the_scan_and_the_end_of_its_reading_is_taken_again(
    listing: list[bytes], diagnostics: tuple[str, ...]
) -> None:
    """A ctime of 0 is in no tree, so that the next pass takes the path again."""
    found, (record,) = settled([draft("a")], listing, diagnostics=diagnostics)
    assert (found.struck, found.unsure, record.split(b"\t")[8]) == ([], [b"a"], b"0")


def test_what_was_read_in_a_directory_that_moved_is_struck() -> None:
    """There may have been a link in its place; its own record has nothing of what lies behind that."""
    lines = [draft("a", "d"), draft("a/b", "d", size=0), draft("a/b/c"), draft("a/b-c"), draft("d")]
    listing = [member("a/", "d", 0), member("a/b/", "d", 0), member("a/b/c"), member("a/b-c"), member("d")]
    names = [line.split(b"\t")[-1] for line in lines]
    finished = FinishedIndex(lines, names, listing, {}, b"0", moved={b"a/b"})
    again = [record.split(b"\t")[-1] for record in finished.records() if record.split(b"\t")[8] == b"0"]
    assert (again, finished.disturbed, finished.struck) == ([b"a/b"], {b"a/b"}, [b"a/b/c"])
    assert (finished.unsure, finished.entries) == ([], 4)


def test_a_directory_that_is_struck_takes_along_what_was_read_in_it() -> None:
    """It was away, or something else, while tar came by: what lay there then is anybody's guess."""
    found, (other,) = settled([draft("a", "d"), draft("a-b"), draft("a/b")], [member("a-b"), member("a/b")])
    assert (found.struck, found.disturbed) == ([b"a", b"a/b"], {b"a"})
    assert other.split(b"\t")[8] == b"%d" % MTIME


def test_a_link_to_what_was_read_in_a_directory_that_moved_is_struck_as_well() -> None:
    lines = [draft("a", "d"), draft("a/first", nlink=2, inode=7), draft("second", nlink=2, inode=7)]
    listing = [member("a/", "d", 0), member("a/first"), member("second link to a/first", "h", 0)]
    names = [line.split(b"\t")[-1] for line in lines]
    finished = FinishedIndex(lines, names, listing, {}, b"0", moved={b"a"})
    assert [record.split(b"\t")[-1] for record in finished.records()] == [b"a"]
    assert finished.struck == [b"a/first", b"second"]


def test_a_torn_name_is_found_however_it_is_quoted() -> None:
    path = "a: b\n\\"
    told = r"a\:\ b\n\\: file changed as we read it"
    assert classify(f"tar: {told}\n", 1, ()).changed == (told,)
    found, _ = settled([draft(path)], [member(r"a:\ b\n\\")], diagnostics=(told,))
    assert found.unsure == [path.encode()]
