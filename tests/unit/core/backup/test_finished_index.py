"""tar's listing decides what is in an archive: what a finished index has of a draft, and what is struck from it."""

from collections.abc import Collection

import pytest

from hiveden_backup.core.backup.creation import classify, torn
from hiveden_backup.core.backup.finished_index import Answer, FinishedIndex

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
    finished = of_one(lines, listing, torn=torn(diagnostics))
    return finished, list(finished.records())


def of_one(lines: list[bytes], listing: list[bytes], **more: Collection[bytes]) -> FinishedIndex:
    """The same with one archive."""
    return FinishedIndex(lines, [(0, len(lines))], [Answer(names_of(lines), listing, **more)], {}, 0)


def names_of(lines: list[bytes]) -> list[bytes]:
    return [line.split(b"\t")[-1] for line in lines]


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
    finished = of_one(lines, listing, moved={b"a/b"})
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
    finished = of_one(lines, listing, moved={b"a"})
    assert [record.split(b"\t")[-1] for record in finished.records()] == [b"a"]
    assert finished.struck == [b"a/first", b"second"]


def test_a_torn_name_is_found_however_it_is_quoted() -> None:
    path = "a: b\n\\"
    told = r"a\:\ b\n\\: file changed as we read it"
    assert classify(f"tar: {told}\n", 1, ()).changed == (told,)
    found, _ = settled([draft(path)], [member(r"a:\ b\n\\")], diagnostics=(told,))
    assert found.unsure == [path.encode()]


def test_each_archive_has_its_own_listing() -> None:
    """Names of one inode go where the first of them is; what stays in older archives is numbered anew."""
    lines = [draft("a", nlink=2, inode=7), draft("b", inode=8), b"3" + draft("c")[1:], draft("d", nlink=2, inode=7)]
    answers = [
        Answer([b"a", b"d"], [member("a"), member("d link to a", "h", 0)]),
        Answer([b"b"], [member("b")]),
    ]
    finished = FinishedIndex(lines, [(0, 1), (1, 1), (0, 1)], answers, {b"3": b"0"}, 1)
    assert [(line[:1], line[-1:]) for line in finished.records()] == [
        (b"1", b"a"),
        (b"2", b"b"),
        (b"0", b"c"),
        (b"1", b"d"),
    ]
    assert (finished.entries, finished.struck) == (4, [])


def test_what_a_broken_off_pass_did_not_finish_is_left_out_and_nothing_else() -> None:
    """Not even what lies below a directory whose own archive is missing: nobody has seen that go."""
    lines = [draft("a", "d"), draft("a/b"), draft("a/c"), draft("d")]
    answers = [
        Answer([b"a"], None),
        Answer([b"a/b"], [member("a/b")]),
        Answer([b"a/c"], None),
        Answer([b"d"], [member("d")]),
    ]
    finished = FinishedIndex(lines, [(number, 1) for number in range(4)], answers, {}, 4)
    assert [(line[:1], line.split(b"\t")[-1]) for line in finished.records()] == [(b"4", b"a/b"), (b"5", b"d")]
    assert (finished.entries, finished.struck, finished.struck_weights) == (2, [], {})


def test_a_directory_that_is_struck_takes_along_what_other_archives_have_of_it() -> None:
    lines = [draft("a", "d"), draft("a/b")]
    answers = [Answer([b"a"], []), Answer([b"a/b"], [member("a/b")])]
    finished = FinishedIndex(lines, [(0, 1), (1, 1)], answers, {}, 0)
    assert list(finished.records()) == []
    assert finished.disturbed == {b"a"}


def test_a_move_after_an_archive_was_complete_is_no_matter_of_it() -> None:
    lines = [draft("a/b"), draft("a/c")]
    answers = [Answer([b"a/b"], [member("a/b")]), Answer([b"a/c"], [member("a/c")], moved={b"a"})]
    finished = FinishedIndex(lines, [(0, 1), (1, 1)], answers, {}, 0)
    assert [line.split(b"\t")[-1] for line in finished.records()] == [b"a/b"]
