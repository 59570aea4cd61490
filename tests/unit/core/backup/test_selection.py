"""An index is restored only when all of its paths stay below the root; and what a partial restore takes."""

import pytest

from hiveden_backup.core.backup.selection import Filter, checked


def record(path: str, kind: str = "f", archive: int = 0, nlink: int = 1, inode: int = 1) -> bytes:
    return f"{archive}\t{kind}\t644\t0\t0\t{nlink}\t5\t1\t1\t{inode}\t{path}".encode()


def paths(*lines: bytes, archives: int = 1) -> list[bytes]:
    return [each.path for each in checked(lines, archives)]


def test_a_tree_is_taken_as_it_is() -> None:
    names = ["a", "a b", "a-b", "a/b", "a/b/..c", "a/b/c", "ab", "z"]
    assert paths(*(record(name, "d" if name in {"a", "a/b"} else "f") for name in names)) == [
        name.encode() for name in names
    ]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "a//b", "a/", ".", "./a", "a/.", "a/./b", "..", "../a", "a/..", "a/../b"]
)
def test_a_path_that_leaves_the_tree(path: str) -> None:
    with pytest.raises(ValueError, match="leaves the restored tree"):
        paths(record(path))


@pytest.mark.parametrize("second", ["a", "B"])
def test_paths_out_of_order(second: str) -> None:
    with pytest.raises(ValueError, match="out of order"):
        paths(record("a"), record(second))


@pytest.mark.parametrize("kind", ["f", "l", "p", "c", "b"])
@pytest.mark.parametrize("between", [[], ["a b"], ["a b", "a-b", "a.b"]])
def test_nothing_lies_below_what_is_no_directory(kind: str, between: list[str]) -> None:
    """A link to elsewhere and a path below it would write there."""
    with pytest.raises(ValueError, match="lies below something that is no directory"):
        paths(record("a", kind), *(record(name) for name in between), record("a/b"))
    with pytest.raises(ValueError, match="lies below something that is no directory"):
        paths(record("a", "d"), record("a/b", kind), record("a/b/c/d"))


@pytest.mark.parametrize(("archive", "archives"), [(-1, 1), (1, 1), (0, 0)])
def test_an_archive_that_is_not_there(archive: int, archives: int) -> None:
    with pytest.raises(ValueError, match="names an archive that is not there"):
        paths(record("a", archive=archive), archives=archives)


@pytest.mark.parametrize("kind", ["s", "D", "x", "ff"])
def test_a_type_that_is_unknown(kind: str) -> None:
    with pytest.raises(ValueError, match="unknown type"):
        paths(record("a", kind))


# ---- partial restores ------------------------------------------------------------------------------------------------

TREE = (
    record("a", "d"),
    record("a/one", nlink=2, inode=7),
    record("a/other"),
    record("b", "d"),
    record("b/c", "d"),
    record("b/c/two", nlink=2, inode=7),
    record("b/d", "d"),
    record("b/three", nlink=2, inode=7, archive=1),
)


def chosen(*wanted: bytes) -> tuple[int, set[bytes], set[bytes]]:
    """How many paths are wanted, what is taken, and what of that goes again."""
    picked = Filter(lambda path: path in wanted)
    count = picked.find_wanted(checked(TREE, 2))
    picked.find_helpers(checked(TREE, 2))
    return count, {each.path for each in checked(TREE, 2) if picked.takes(each)}, picked.helpers


def test_a_file_comes_with_the_directories_above_it() -> None:
    assert chosen(b"a/other") == (1, {b"a", b"a/other"}, set())


def test_the_other_names_of_a_hard_link_help_and_go_again() -> None:
    """A name of the same inode in another archive is another file."""
    count, taken, helpers = chosen(b"b/c/two")
    assert (count, taken) == (1, {b"a", b"a/one", b"b", b"b/c", b"b/c/two"})
    assert helpers == {b"a", b"a/one"}


def test_a_directory_that_is_wanted_does_not_go_again() -> None:
    assert chosen(b"a", b"b/c/two")[2] == {b"a/one"}


def test_nothing_is_wanted() -> None:
    assert chosen() == (0, set(), set())
