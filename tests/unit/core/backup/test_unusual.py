"""What is unusual: the rule on records, totals and databases, at its edges."""

import random
import string
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from hiveden_backup.core.backup.unusual import (
    Change,
    Total,
    harms,
    measure,
    of_databases,
    of_files,
    of_totals,
    plainly_usual,
    waiting,
)
from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.model import Artifact, ArtifactFile, ArtifactType, DatabaseFacts, Manifest, Table

MIB = 1 << 20
OLD = "app/old"


def record(path: str, kind: str = "f", size: int = 10, mtime: int = 1, **more: int) -> bytes:
    """A line of an index."""
    about = {"archive": 0, "mode": 644, "uid": 0, "gid": 0, "nlink": 1, "ctime": 1, "inode": 1} | more
    fields = [about["archive"], kind, about["mode"], about["uid"], about["gid"], about["nlink"], size, mtime]
    return "\t".join(map(str, [*fields, about["ctime"], about["inode"], path])).encode()


def files(numbers: Iterable[int], **more: Any) -> list[bytes]:
    return [record("d", "d", 0), *(record(f"d/{number:04}", **more) for number in numbers)]


def everything(path: bytes) -> bool:
    return bool(path)


def said(older: list[bytes], newer: list[bytes]) -> list[str]:
    return list(of_files(measure(older, newer, everything), OLD))


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "sentences"),
    [
        (range(300), []),
        (range(150), []),  # half of the files is not over half of the paths
        (range(149), ["151 of the 301 paths in app/old are gone"]),
        (range(0), ["300 of the 301 paths in app/old are gone"]),
        (range(1000, 1300), ["300 of the 301 paths in app/old are gone"]),
    ],
    ids=["all", "half", "over half", "none", "others"],
)
def test_over_half_of_the_paths(left: range, sentences: list[str]) -> None:
    assert said(files(range(300)), files(left)) == sentences


@pytest.mark.parametrize(("gone", "unusual"), [(100, False), (101, True)])
def test_more_than_a_hundred_paths(gone: int, unusual: bool) -> None:  # noqa: FBT001 - a parameter
    assert bool(said(files(range(110)), files(range(gone, 110)))) == unusual


def test_files_count_without_their_directories_too() -> None:
    """A tree of many directories that keeps all of them, and no file."""
    folders = [record(f"{n:04}", "d", 0) for n in range(1000)]
    assert said(sorted([*folders, *files(range(200))], key=lambda line: line.split(b"\t")[-1]), folders)


def test_over_half_of_the_bytes() -> None:
    """Of a few paths that are most of it; also when they are only cut short."""
    large = [record(f"l/{n:04}", size=MIB) for n in range(101)]
    small = [record(f"s/{n:04}") for n in range(1000)]
    assert "are gone" in said([*large, *small], small)[0]
    assert (
        "are gone" in said([*large, *small], [*(record(f"l/{n:04}", size=0, mtime=2) for n in range(101)), *small])[0]
    )
    assert said([*large[1:], *small], small) == []
    assert said([*large, *small], [*large[:51], *small]) == []


@pytest.mark.parametrize(
    ("more", "unusual"),
    [
        ({"ctime": 2}, False),
        ({"inode": 2, "ctime": 2}, False),
        ({"uid": 1000, "gid": 1000, "mode": 600}, False),
        ({"archive": 7}, False),
        ({"nlink": 2}, False),
        ({"mtime": 2}, True),
        ({"size": 11}, True),
    ],
    ids=str,
)
def test_content_is_what_counts(more: dict[str, int], unusual: bool) -> None:  # noqa: FBT001 - a parameter
    assert said(files(range(300)), files(range(300), **more)) == (
        ["300 of the 300 files in app/old have other content"] if unusual else []
    )


@pytest.mark.parametrize(("changed", "unusual"), [(240, False), (241, True)])
def test_over_four_fifths_have_other_content(changed: int, unusual: bool) -> None:  # noqa: FBT001 - a parameter
    newer = [record("d", "d", 0, mtime=9), *(record(f"d/{n:04}", mtime=2 if n < changed else 1) for n in range(300))]
    assert bool(said(files(range(300)), newer)) == unusual


def test_a_few_files_may_all_change() -> None:
    assert said(files(range(100)), files(range(100), mtime=2)) == []
    assert said(files(range(101)), files(range(101), mtime=2))


def test_what_is_new_is_no_loss() -> None:
    assert said(files(range(10)), files(range(1000))) == []
    assert said([], files(range(1000))) == []


def test_what_is_no_concern_is_no_loss() -> None:
    older, newer = files(range(300)), files(range(290, 300))
    assert measure(older, newer, lambda path: path.endswith(b"9")).gone == 29
    assert list(of_files(measure(older, newer, lambda _: False), OLD)) == []


def test_it_is_what_sets_say() -> None:
    """Against the plain way to compare, on trees whose names sort in surprising ways."""
    chance = random.Random(10)
    for _ in range(200):
        names = ["".join(chance.choices(string.ascii_lowercase[:2] + "\t\n-/.", k=4)) for _ in range(20)]
        older, newer = (
            {
                name: record(name, size=chance.randrange(3), mtime=chance.randrange(2))
                for name in names
                if chance.random() < 0.7
            }
            for _ in range(2)
        )
        one, two = ([lines[name] for name in sorted(lines)] for lines in (older, newer))
        change = measure(one, two, everything)
        assert (change.paths, change.gone) == (len(older), len(older.keys() - newer.keys()))
        assert change.changed_files == sum(older[name] != newer[name] for name in older.keys() & newer.keys())


# ---- without reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "usual"),
    [
        (Total(OLD, 30_000, 0), True),
        (Total(OLD, 29_900, 0), True),
        (Total(OLD, 29_000, 50 * MIB), True),
        (Total(OLD, 29_000, 49 * MIB), False),
        (Total(OLD, 20_000, 99 * MIB), False),
    ],
)
def test_what_is_plainly_usual(kept: Total, usual: bool) -> None:  # noqa: FBT001 - a parameter
    assert plainly_usual(Total(OLD, 30_000, 100 * MIB), kept) == usual


def test_what_is_plainly_usual_is_usual() -> None:
    """Nothing that the comparison would find is passed over, but in trees that are nearly all directories."""
    chance = random.Random(8)
    for _ in range(3000):
        paths = chance.randrange(1, 2000)
        files_ = chance.randrange((paths + 4) // 5, paths + 1)
        gone = chance.randrange(paths + 1)
        gone_files = min(gone, files_, chance.randrange(gone + 1))
        changed = chance.randrange(files_ - gone_files + 1)
        lost = chance.randrange(1001)
        change = Change(paths, files_, 1000, gone, gone_files, lost, gone + changed, changed)
        kept = Total(OLD, paths - gone - changed, 1000 - lost)
        if plainly_usual(Total(OLD, paths, 1000), kept):
            assert list(of_files(change, OLD)) == []


# ---- many backups ----------------------------------------------------------------------------------------------------


def test_little_by_little() -> None:
    nights = [Total("app/3", 500, 50), Total("app/2", 700, 70), Total("app/1", 1000, 100)]
    assert list(of_totals(Total("now", 499, 49), nights)) == ["There were 1000 paths in app/1, and 499 are left"]
    assert list(of_totals(Total("now", 500, 50), nights)) == []
    assert list(of_totals(Total("now", 600, 40), nights)) == ["There were 100 B in app/1, and 40 B are left"]
    assert list(of_totals(Total("now", 1, 1), [Total("app/1", 101, 100)])) == []
    assert list(of_totals(Total("now", 1, 1), [])) == []


# ---- databases -------------------------------------------------------------------------------------------------------

SERVER = PostgresSource(container="pg")
FACTS = DatabaseFacts("15", "UTF8", "C", "C", "libc", "", "owner")


def database(name: str, *rows: int, server: str = "pg") -> Artifact:
    tables = tuple(Table(f"public.t{number}", count) for number, count in enumerate(rows))
    facts = DatabaseFacts(
        **{field: getattr(FACTS, field) for field in FACTS.__slots__ if field != "tables"}, tables=tables
    )
    return Artifact(ArtifactType.DATABASE, name, server, (ArtifactFile("f", 1, 1, ""),), len(rows), (), facts)


def test_a_database_that_is_gone() -> None:
    old = [database("a", 1), database("b", 1)]
    sentence = "The database b on pg is gone: app/old has it"
    assert list(of_databases(old, old[:1], [SERVER], OLD)) == [sentence]
    named = PostgresSource(container="pg", databases=("a", "b"))
    assert list(of_databases(old, old[:1], [named], OLD)) == [sentence]


def test_a_database_that_nobody_wants_any_more() -> None:
    old = [database("a", 1), database("b", 1)]
    assert list(of_databases(old, old[:1], [PostgresSource(container="pg", databases=("a",))], OLD)) == []
    assert list(of_databases(old, [], [PostgresSource(container="other")], OLD)) == []
    assert list(of_databases(old, [], [], OLD)) == []


@pytest.mark.parametrize(
    ("rows", "unusual"),
    [
        ((100, 100, 100), False),
        ((0, 100, 100), False),
        ((0, 0, 100), True),
        ((0, 0, 0), True),
        ((), True),
        ((1, 1, 1), False),
    ],
)
def test_a_database_without_its_rows(rows: tuple[int, ...], unusual: bool) -> None:  # noqa: FBT001 - a parameter
    assert bool(list(of_databases([database("a", 100, 100, 100)], [database("a", *rows)], [SERVER], OLD))) == unusual


def test_a_small_database_may_be_emptied() -> None:
    assert list(of_databases([database("a", 50, 50)], [database("a", 0, 0)], [SERVER], OLD)) == []
    assert list(of_databases([database("a", 50, 51)], [database("a", 0, 0)], [SERVER], OLD))


# ---- those that wait for a person


def backup(identifier: str, *unusual: str) -> Manifest:
    now = datetime.now(UTC)
    return Manifest(identifier, "app", "", "", now, now, unusual=unusual)


def test_waiting_and_harms() -> None:
    """Who looks at the newest is told of each that lost something of its own, and not again of what all lost."""
    good, first, second = backup("1"), backup("2", "9 in app/1 are gone"), backup("3", "9 in app/1 are gone")
    third = backup("4", "9 in app/1 are gone", "8 in app/3 differ")
    newest = backup("5", "9 in app/1 are gone")
    known = [newest, third, second, first, good]
    assert waiting(known, ()) == (newest, third, second, first)
    assert waiting(known, ["2", "1"]) == (newest, third, second)
    assert waiting([backup("6"), *known], ()) == waiting(known, ["5"]) == ()
    told = [(each.id, said) for each, said in harms(waiting(known, ()))]
    assert told == [("5", newest.unusual), ("4", ("8 in app/3 differ",))]
