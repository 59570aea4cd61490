"""Compaction: what is dead and how many archives there are stays bounded, and so does what is copied for it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.backup.compaction import Candidate, budget, choose, recorded
from hiveden_backup.core.config.values import Retention
from hiveden_backup.core.model import Archive
from tests.support.year import DAYS, GB, MB, Files, Year, files, kept_each_day, year

RATIO = 0.5
MIB, GIB = 1 << 20, 1 << 30
SIZE = 256 * MIB

contents = st.integers(1, 10**6)
shares = st.floats(0, 1)
archives = st.lists(st.tuples(st.integers(1, 10**10), shares, shares), max_size=80)


def candidates(sizes: list[tuple[int, float, float]]) -> list[Candidate]:
    return [
        Candidate(number, int(size * share * now), int(size * share), size)
        for number, (size, share, now) in enumerate(sizes)
    ]


def chosen(*sizes: tuple[int, int, int]) -> tuple[int, ...]:
    """For archives by what is live in them now, for some kept backup, and their content."""
    found = [Candidate(number, *each) for number, each in enumerate(sizes)]
    return choose(found, compact_ratio=RATIO, size=SIZE)


def archive(path: str, live: int) -> Archive:
    return Archive(path, 1, "", live, 100, added=False)


def test_what_is_recorded_is_the_most_of_all_backups() -> None:
    backups = [[archive("a", 10), archive("b", 5)], [archive("a", 90)], []]
    assert recorded(backups) == {"a": 90, "b": 5}


def test_what_an_older_backup_needs_counts_as_live() -> None:
    """To copy what is left would not free anything before that backup goes."""
    assert chosen((40, 49, 100), (40, 51, 100)) == (0,)


def test_what_is_almost_dead_is_copied_at_once() -> None:
    """It costs next to nothing, and each backup made meanwhile would keep the archive for as long as it lives."""
    assert chosen((12, 100, 100), (13, 100, 100)) == (0,)


def test_an_archive_with_nothing_live_needs_nothing() -> None:
    assert chosen((0, 0, 100), (0, 100, 100)) == ()


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_the_ends_of_the_ratio(ratio: float) -> None:
    """0: never for what is dead in it. 1: whatever has anything dead in it for all of the backups."""
    found = [Candidate(0, 1, 1, 100), Candidate(1, 99, 99, 100), Candidate(2, 100, 100, 100)]
    assert choose(found, compact_ratio=ratio, size=SIZE) == ((0, 1) if ratio else ())


@given(archives, shares)
def test_a_run_copies_no_more_than_its_budget_of_what_is_live(
    sizes: list[tuple[int, float, float]], ratio: float
) -> None:
    kept = candidates(sizes)
    found = choose(kept, compact_ratio=ratio, size=SIZE)
    assert set(found) <= {each.number for each in kept if each.live}
    assert sum(each.live for each in kept if each.number in found) <= budget(sum(each.live for each in kept))


def test_the_budget_is_two_percent_and_at_least_one_large_archive() -> None:
    assert budget(0) == 4 * GIB
    assert budget(1000 * GIB) == 20 * GIB


def test_the_deadest_come_first_and_what_does_not_fit_keeps_nobody_waiting() -> None:
    assert chosen((3 * GIB, 3 * GIB, 7 * GIB), (2 * GIB, 2 * GIB, 8 * GIB), (2 * GIB, 2 * GIB, 5 * GIB)) == (1, 2)
    assert chosen((5 * GIB, 5 * GIB, 100 * GIB), (2 * GIB, 2 * GIB, 5 * GIB)) == (1,)


@pytest.mark.parametrize(("number", "merged"), [(16, 0), (17, 17)])
def test_small_ones_are_put_together_when_they_are_many(number: int, merged: int) -> None:
    small = (MIB, MIB, MIB)
    large = (64 * MIB, 64 * MIB, 64 * MIB)
    assert len(chosen(*[small] * number, *[large] * 40)) == merged


def test_one_that_only_older_backups_need_whole_is_not_small() -> None:
    assert chosen(*[(30 * MIB, 100 * MIB, 100 * MIB)] * 40) == ()


def test_no_large_one_is_copied_for_the_sake_of_a_few_bytes() -> None:
    small = [(1000, 1000, 1000)] * 17
    assert chosen(*small, (60 * MIB, 60 * MIB, 60 * MIB)) == tuple(range(17))


@given(st.lists(contents, min_size=1, max_size=3), st.integers(4 * 10**6, 10**9))
def test_small_archives_stay_few_and_each_byte_is_copied_a_few_times(added: list[int], size: int) -> None:
    """Whatever a run adds: of what nobody changes, sizes at least double with each copy, and end at a quarter."""
    kept: list[tuple[Candidate, int]] = []
    for day in range(300):
        found = choose([each for each, _ in kept], compact_ratio=RATIO, size=size)
        together = [pair for pair in kept if pair[0].number in found]
        kept = [pair for pair in kept if pair[0].number not in found]
        new = [(content, 0) for content in (added[day % len(added)], 1)]
        if together:
            whole = sum(each.live for each, _ in together)
            new.append((whole, 1 + max(copies for _, copies in together)))
        kept += [(Candidate(-1, content, content, content), copies) for content, copies in new]
        kept = [(replace(each, number=number), copies) for number, (each, copies) in enumerate(kept)]
        assert sum(each.live < size / 4 for each, _ in kept) <= 16 + 24
    assert max(copies for _, copies in kept) <= 12


# ---- a year --------------------------------------------------------------------------------------------------------

SUGGESTED = Retention(keep_last=7, keep_daily=14, keep_weekly=8, keep_monthly=12)
LAST_90 = [range(max(0, day - 89), day + 1) for day in range(DAYS)]


def terabyte() -> Year:
    """Photos: a terabyte, and a gigabyte more each day."""
    return year(
        files("0", 1000 * GB, 4000),
        lambda day: files(f"{day:03}", GB, 20),
        kept_each_day(SUGGESTED),
        late=lambda day: files(f"{day:03}-late", MB, 4),
    )


def changing() -> Year:
    """Fifty gigabytes, any two percent of which are another each day, and all backups of 90 days kept."""
    chance = random.Random(1)

    def some(count: int) -> Files:
        return {("file", number): 5 * MB for number in chance.sample(range(10_000), count)}

    return year(files("file", 50 * GB, 10_000), lambda _: some(200), LAST_90, late=lambda _: some(2))


DATABASES: Files = {
    (f"data/{name}.sqlite", 0): size * MB
    for name, size in {"a": 900, "b": 500, "c": 300, "d": 200, "e": 80, "f": 20}.items()
}


def sqlite() -> Year:
    """Two gigabytes in six files that are other ones each night, one of them while containers stop, and what is small.

    Each night something joins that stays.
    """
    return year(
        {**DATABASES, **files("app", 5 * MB, 100), **files("data/files", 5 * MB, 100)},
        lambda day: {**DATABASES, ("data/files/new", day): 100_000},
        kept_each_day(SUGGESTED),
        late=lambda day: {("data/e.sqlite", 0): 80 * MB, ("log", day): 100_000},
    )


@pytest.mark.parametrize(
    ("machine", "bounds"),
    [
        pytest.param(terabyte, (1.28, 1.13, 1.13, 620, 4), id="1 TB and 1 GB a day"),
        pytest.param(changing, (1.12, 4.5, 4.7, 550, 5), id="50 GB of which 2 % change", marks=pytest.mark.slow),
        pytest.param(sqlite, (1.01, 30.5, 31.5, 40, 6), id="2 GB of SQLite"),
    ],
)
def test_a_year_stays_within_bounds(machine: Callable[[], Year], bounds: Sequence[float]) -> None:
    """Written, of what changed; space at the end and at its worst, of what is live; archives of a backup; copies.

    Of the 30 backups that are kept of the SQLite files, each has its own.
    """
    made = machine()
    live = sum(made.files.values())
    found = [made.written / made.changed, made.stored / live, made.most_stored / live]
    found += [made.most_named, made.most_copied]
    assert all(each <= most for each, most in zip(found, bounds, strict=True)), found


def test_a_year_needs_what_the_kept_versions_are() -> None:
    """The simulation itself: without anything that dies or is small, there is nothing but what was made."""
    made = year(files("0", 10 * GB, 20), lambda day: files(f"{day:03}", 300 * MB, 1), LAST_90)
    assert made.written == made.changed == made.stored == 10 * GB + (DAYS - 1) * 300 * MB
