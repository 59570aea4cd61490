"""The comparison of an index with a scan: what is taken again, and what is not."""

from collections import Counter

import pytest

from hiveden_backup.core.backup.index import Scanned, Selection, Sink, compare, line_weight, path_of, select

OLD = 10**18
T = OLD + 10**15


def scanned(path: str, inode: int, *, nlink: int = 2, ctime: int = OLD, loose: bool = True) -> Scanned:
    name = path.encode()
    record = b"f\t644\t0\t0\t%d\t5\t%d\t%d\t%d\t%b" % (nlink, OLD, ctime, inode, name)
    return name, record, ctime, 512, inode if nlink > 1 else 0, loose


def taken(older: list[Scanned], now: list[Scanned], archives: int = 1) -> set[str]:
    """The paths that are archived again: the older index lies in archive 0."""
    draft: list[bytes] = []
    candidates: list[bytes] = []
    lines = (b"0\t" + record for _, record, *_ in older)
    sink = Sink(draft.extend, candidates.extend, lambda _: None)
    found = compare(lines, now, sink, taken_ns=T, archives=archives)
    lines_taken: list[bytes] = []
    select(candidates, Selection(frozenset(found.dirty)), Counter(found.live), lines_taken.append)
    assert [path_of(line) for line in draft] == [path for path, *_ in now]
    return {path_of(line).decode() for line in lines_taken}


LINKED = [scanned("a", 7), scanned("b", 7), scanned("c", 8), scanned("d", 8)]


def test_hard_links_that_did_not_change_are_not_taken_on_a_network_file_system() -> None:
    """Else a library of hard links on one would be archived whole in each run."""
    assert taken(LINKED, LINKED) == set()
    assert taken(LINKED, [scanned("a", 70), scanned("b", 70), scanned("c", 7), scanned("d", 7)]) == set()


@pytest.mark.parametrize(("loose", "renumbered"), [(False, 0), (True, 0), (True, 60)])
def test_a_group_is_taken_whole_when_a_name_is_gone(*, loose: bool, renumbered: int) -> None:
    """The name that went may be the member that has the content."""
    older = [scanned(path.decode(), inode, loose=loose) for path, _, _, _, inode, _ in LINKED]
    now = [scanned(path, inode + renumbered, loose=loose) for path, inode in (("b", 7), ("c", 8), ("d", 8))]
    assert taken(older, now) == {"b"}


@pytest.mark.parametrize("renumbered", [0, 60])
def test_a_group_is_taken_whole_when_a_name_changed(renumbered: int) -> None:
    now = [
        scanned("a", 7 + renumbered, ctime=OLD + 1),
        *(scanned(path, inode + renumbered) for path, inode in (("b", 7), ("c", 8), ("d", 8))),
    ]
    assert taken(LINKED, now) == {"a", "b"}


def test_a_group_is_taken_whole_when_a_name_is_new() -> None:
    now = [scanned("a", 7, nlink=3), scanned("aa", 7, nlink=3), scanned("b", 7, nlink=3), *LINKED[2:]]
    assert taken(LINKED, now) == {"a", "aa", "b"}


@pytest.mark.parametrize(
    ("loose", "seconds", "again"),
    [(False, 3, False), (False, 2, True), (False, -1, True), (True, 601, False), (True, 600, True), (True, 3, True)],
)
def test_what_is_hardly_older_than_the_last_pass_is_taken_again(*, loose: bool, seconds: int, again: bool) -> None:
    """The clock of a server that is minutes behind must not hide what was written during that pass."""
    same = [scanned("a", 7, nlink=1, ctime=T - seconds * 10**9, loose=loose)]
    assert taken(same, same) == ({"a"} if again else set())


def test_what_is_taken_is_live_in_its_old_archive_no_more() -> None:
    """Of this live weight an archive is found to be garbage, or worth compacting."""
    lines = [b"0\t" + scanned("a", 7)[1], b"1\t" + scanned("b", 9, nlink=1)[1], b"+\t" + scanned("c", 8, nlink=1)[1]]
    whole, half = line_weight(lines[1]), line_weight(lines[0])
    live = Counter({b"0": whole + half, b"1": 2 * whole})
    found = select(lines, Selection(frozenset({7}), frozenset({b"1"})), live, lambda _: None)
    assert (found.names, found.weight) == (3, 2 * whole + half)
    assert found.live == Counter({b"0": whole, b"1": whole})
    assert live == Counter({b"0": whole + half, b"1": 2 * whole})
