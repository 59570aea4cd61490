"""How large archives become, and what shares one."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.backup.bounded import Split, archive_bytes
from hiveden_backup.core.backup.index import line_weight

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


@pytest.mark.parametrize(
    ("live", "size"),
    [
        (0, 256 * MIB),
        (100 * GIB, 256 * MIB),
        (128 * GIB, 256 * MIB),
        (128 * GIB + 1, 512 * MIB),
        (TIB, 2 * GIB),
        (2 * TIB, 4 * GIB),
        (50 * TIB, 4 * GIB),
    ],
)
def test_an_archive_is_a_five_hundred_and_twelfth_of_what_lives_within_bounds(live: int, size: int) -> None:
    assert archive_bytes(live) == size


def line(path: str, size: int, *, kind: str = "f", nlink: int = 1, inode: int = 0) -> bytes:
    return f"+\t{kind}\t644\t0\t0\t{nlink}\t{size}\t1\t1\t{inode}\t{path}".encode()


def numbers(split: Split, *lines: bytes) -> list[int]:
    return [split.number(each) for each in lines]


def test_an_archive_is_closed_before_it_is_too_large() -> None:
    lines = [line(name, 400) for name in "abcde"]
    assert numbers(Split(2000), *lines) == [0, 0, 1, 1, 2]  # each has a header of 512


def test_a_larger_file_has_an_archive_of_its_own_and_the_one_before_goes_on() -> None:
    lines = [line("a", 10), line("b", 5000), line("c", 10), line("d", 5000)]
    assert numbers(Split(2000), *lines) == [0, 1, 0, 2]


def test_what_compaction_takes_along_lies_apart_from_what_changed() -> None:
    """Beside a file that is another one each night it would be copied again and again."""
    lines = [
        line("a", 400),
        line("b", 400).replace(b"+", b"7", 1),
        line("c", 400),
        line("d", 400).replace(b"+", b"3", 1),
    ]
    assert numbers(Split(2000), *lines) == [0, 1, 0, 1]
    linked = [line("a", 9, nlink=2, inode=7).replace(b"+", b"7", 1), line("b", 9), line("c", 9, nlink=2, inode=7)]
    assert numbers(Split(2000), *linked) == [0, 1, 0]


def test_names_of_one_inode_share_an_archive() -> None:
    lines = [
        line("a", 400, nlink=3, inode=7),
        line("b", 400, inode=8),
        line("c", 400, nlink=3, inode=7),
        line("d", 400, inode=9),
        line("e", 5000, nlink=2, inode=10),
        line("f", 400, nlink=3, inode=7),
        line("g", 5000, nlink=2, inode=10),
        line("h", 0, kind="l", nlink=2, inode=11),
        line("i", 400, inode=12),
        line("j", 0, kind="l", nlink=2, inode=11),
    ]
    assert numbers(Split(2000), *lines) == [0, 0, 0, 1, 2, 0, 2, 1, 3, 1]


SIZES = st.one_of(st.integers(0, 3000), st.just(1488), st.integers(0, 10**7))


@given(st.lists(st.tuples(SIZES, st.integers(1, 3), st.integers(1, 9), st.sampled_from("fdl")), max_size=60))
def test_however_large_files_are(files: list[tuple[int, int, int, str]]) -> None:
    sizes: dict[int, tuple[int, str]] = {}
    split, weights, groups = Split(2000), Counter[int](), defaultdict[int, set[int]](set)
    alone: set[int] = set()
    for at, (size, nlink, inode, kind) in enumerate(files):
        links = 0 if kind == "d" else nlink
        if links > 1:
            size, kind = sizes.setdefault(inode, (size, kind if kind != "d" else "f"))  # noqa: PLW2901 - they are one
        each = line(f"{at:03}", size if kind == "f" else 0, kind=kind, nlink=links, inode=inode)
        number = split.number(each)
        weights[number] += line_weight(each)
        if links > 1:
            groups[inode].add(number)
        if kind == "f" and size + 512 > 2000:
            alone.add(number)
    assert split.weights == weights
    assert all(len(found) == 1 for found in groups.values())
    assert sorted(weights) == list(range(len(weights)))
    for number, weight in weights.items():
        assert weight <= 2000 or number in alone or any(number in found for found in groups.values())
