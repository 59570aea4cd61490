"""Compaction: the number of archives and what is dead in them stay bounded, and no run copies more than its share."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.backup.compaction import Candidate, choose

RATIO = 0.5

contents = st.integers(1, 10**6)
archives = st.lists(st.tuples(contents, st.floats(0, 1)), max_size=80)
chains = st.lists(
    st.tuples(st.lists(contents, min_size=1, max_size=2), st.lists(st.floats(0, 1), min_size=1, max_size=7)),
    min_size=1,
    max_size=60,
)


def candidates(sizes: list[tuple[int, float]]) -> list[Candidate]:
    return [Candidate(number, int(size * share), size) for number, (size, share) in enumerate(sizes)]


def after(kept: list[Candidate], added: list[int], *, max_archives: int) -> tuple[list[Candidate], int]:
    """What an index names after a run that adds archives of these contents, and the bytes it copied."""
    chosen = choose(kept, compact_ratio=RATIO, max_archives=max_archives, adding=len(added))
    copied = sum(each.live for each in kept if each.number in chosen)
    contents = [added[0] + copied, *added[1:]]
    left = [each for each in kept if each.number not in chosen and each.live]
    left += [Candidate(0, content, content) for content in contents if content]
    return [replace(each, number=number) for number, each in enumerate(left)], copied


@given(archives, st.integers(2, 50), st.integers(1, 2))
def test_only_what_lives_is_chosen(sizes: list[tuple[int, float]], max_archives: int, adding: int) -> None:
    """An archive with nothing live is garbage already, and to copy nothing would keep it named."""
    kept = candidates(sizes)
    chosen = choose(kept, compact_ratio=RATIO, max_archives=max_archives, adding=adding)
    assert set(chosen) <= {each.number for each in kept if each.live}
    assert len(set(chosen)) == len(chosen)


@given(chains, st.integers(3, 50))
def test_the_number_of_archives_is_bounded(chain: list[tuple[list[int], list[float]]], max_archives: int) -> None:
    """Whatever runs add, and whatever dies in between."""
    kept: list[Candidate] = []
    for added, survivals in chain:
        kept, _ = after(kept, added, max_archives=max_archives)
        assert len(kept) <= max_archives
        kept = [replace(each, live=int(each.live * survivals[each.number % len(survivals)])) for each in kept]


@given(archives, st.integers(2, 50))
def test_what_is_dead_is_bounded(sizes: list[tuple[int, float]], max_archives: int) -> None:
    """Runs that change nothing come to a state in which every archive is alive enough, and then copy nothing more."""
    kept = candidates(sizes)
    for _ in range(2 * len(sizes) + 2):
        kept, copied = after(kept, [0], max_archives=max_archives)
        if not copied:
            break
    assert all(each.live >= RATIO * each.content for each in kept)
    assert copied == 0
    assert sum(each.content for each in kept) * RATIO <= sum(each.live for each in kept)


@given(archives)
def test_a_run_copies_a_quarter_of_what_lives_or_one_archive(sizes: list[tuple[int, float]]) -> None:
    kept = candidates(sizes)
    chosen = choose(kept, compact_ratio=RATIO, max_archives=1000, adding=2)
    copied = [each.live for each in kept if each.number in chosen]
    assert len(copied) <= 1 or sum(copied) <= sum(each.live for each in kept) / 4
