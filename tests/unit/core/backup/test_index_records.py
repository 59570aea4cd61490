"""The records of an index, which may be what somebody else packed: neither one nor all of them are without an end."""

from collections.abc import Iterator
from itertools import repeat

import pytest

from hiveden_backup.core.backup.index import split_records


def endless(piece: bytes, taken: list[int]) -> Iterator[bytes]:
    for block in repeat(piece * ((1 << 20) // len(piece))):
        taken[0] += 1
        assert taken[0] < 10, "It goes on and on"
        yield block


@pytest.mark.parametrize(("piece", "why"), [(b"x", "no path is long enough"), (b"\0", "more than 5"), (b"a\0", "more")])
def test_an_endless_index_is_left_at_once(piece: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(split_records(endless(piece, [0]), 5))


def test_records_are_found_across_pieces() -> None:
    assert list(split_records([b"a\0b", b"c\0", b"", b"d\0"], 3)) == [b"a", b"bc", b"d"]


@pytest.mark.parametrize(("chunks", "entries"), [([b"a\0b\0"], 1), ([b"a\0b"], 2)])
def test_more_or_cut_short_is_damage(chunks: list[bytes], entries: int) -> None:
    with pytest.raises(ValueError, match="the index"):
        list(split_records(chunks, entries))
