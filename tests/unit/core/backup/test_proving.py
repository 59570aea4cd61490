"""What is in question, when it pays to compare it, and what becomes of a draft by the answers."""

from collections.abc import Iterable

import pytest

from hiveden_backup.core.backup.index import Comparison, Scanned, Selection, Sink, compare, line_weight, path_of
from hiveden_backup.core.backup.proving import LEAST, Answers, Groups, paying, question_of
from hiveden_backup.core.model import Archive

OLD = 10**18
T = OLD + 10**15
NEW = T + 10**12


def record(path: str, inode: int, ctime: int = OLD, *, kind: str = "f", nlink: int = 1, **other: int) -> bytes:
    found = {"mode": 644, "uid": 0, "gid": 0, "size": 5, "mtime": OLD} | other
    head = f"{kind}\t{found['mode']}\t{found['uid']}\t{found['gid']}\t{nlink}\t{found['size']}\t{found['mtime']}"
    return f"{head}\t{ctime}\t{inode}\t{path}".encode()


def scanned(line: bytes, *, loose: bool = False) -> Scanned:
    _, _, _, _, nlink, _, mtime, ctime, inode, path = line.split(b"\t", 9)
    linked = int(inode) if int(nlink) > 1 else 0
    return path, line, max(int(mtime), int(ctime)), line_weight(b"+\t" + line), linked, loose


class Looked:
    """A comparison, and the lists that it wrote."""

    def __init__(
        self, older: Iterable[bytes], now: Iterable[bytes], *, archives: int = 2, loose: bool = False, broken: int = -1
    ) -> None:
        self.draft: list[bytes] = []
        self.candidates: list[bytes] = []
        self.questions: list[bytes] = []
        self.comparison = compare(
            older,
            (scanned(line, loose=loose) for line in now),
            Sink(self.draft.extend, self.candidates.extend, self.questions.extend),
            taken_ns=T,
            archives=archives,
            broken={broken},
        )

    def admitted(self) -> list[str]:
        groups = Groups()
        asked = [question_of(line) for line in self.questions]
        for question in asked:
            groups.add(question)
        groups.settle(self.candidates, self.comparison.lost)
        return [path_of(b"0\t" + each.record).decode() for each in asked if groups.admits(each)]


def test_another_inode_or_ctime_is_a_question() -> None:
    older = [b"0\t" + record("a", 1), b"1\t" + record("b", 2), b"0\t" + record("c", 3), b"0\t" + record("d", 4)]
    now = [record("a", 9), record("b", 2, NEW), record("c", 7, NEW), record("d", 4)]
    looked = Looked(older, now)
    assert looked.admitted() == ["a", "b", "c"]
    assert looked.comparison.in_question == {b"0": 2 * 517, b"1": 517}
    assert (looked.comparison.taken, looked.comparison.taken_weight) == (3, 3 * 517)
    assert [question_of(line).older for line in looked.questions] == [1, 2, 3]


@pytest.mark.parametrize(
    "now",
    [
        record("a", 9, NEW, mode=600),
        record("a", 9, NEW, uid=1),
        record("a", 9, NEW, gid=1),
        record("a", 9, NEW, size=6),
        record("a", 9, NEW, mtime=OLD + 1),
        record("a", 9, NEW, nlink=2),
        record("a", 9, NEW, kind="l"),
        record("b", 9, NEW),
    ],
)
def test_what_differs_otherwise_is_none(now: bytes) -> None:
    looked = Looked([b"0\t" + record("a", 1)], [now])
    assert looked.questions == []
    assert not looked.comparison.in_question
    assert looked.comparison.taken == 1


def test_nor_is_what_has_no_content_or_no_archive_that_is_trusted() -> None:
    for kind in ("p", "c", "b"):
        assert Looked([b"0\t" + record("a", 1, kind=kind)], [record("a", 2, kind=kind)]).questions == []
    assert Looked([b"0\t" + record("a", 1)], [record("a", 2)], broken=0).questions == []
    assert Looked([b"0\t" + record("a", 1)], [record("a", 1)]).questions == []


LINKED = [b"0\t" + record(path, inode, nlink=2) for path, inode in (("a", 1), ("b", 1), ("c", 2), ("d", 2))]


@pytest.mark.parametrize(
    ("now", "admitted"),
    [
        ((("a", 7), ("b", 7), ("c", 8), ("d", 8)), ["a", "b", "c", "d"]),
        ((("a", 2), ("b", 2), ("c", 1), ("d", 1)), ["a", "b", "c", "d"]),
        ((("a", 7), ("b", 8), ("c", 8), ("d", 7)), []),
        ((("a", 7), ("b", 1), ("c", 8), ("d", 8)), ["c", "d"]),
        ((("a", 7), ("c", 8), ("d", 8)), ["c", "d"]),
        ((("a", 7), ("b", 7), ("c", 7), ("d", 7)), []),
        ((("a", 7), ("b", 7), ("bb", 7), ("c", 8), ("d", 8)), ["c", "d"]),
        ((("a", 7), ("b", 9), ("c", 8), ("d", 8)), ["c", "d"]),
    ],
)
def test_hard_links_are_in_question_as_the_groups_they_were(
    now: tuple[tuple[str, int], ...], admitted: list[str]
) -> None:
    assert Looked(LINKED, [record(path, inode, nlink=2) for path, inode in now]).admitted() == admitted


def test_where_inodes_mean_nothing_hard_links_are_in_no_question() -> None:
    now = [record(path, 7, NEW, nlink=2) for path in ("a", "b")]
    assert Looked(LINKED[:2], now, loose=True).admitted() == []
    assert Looked([b"0\t" + record("a", 1)], [record("a", 2, NEW)], loose=True).admitted() == ["a"]


def test_a_group_in_two_archives_is_none() -> None:
    older = [LINKED[0], b"1" + LINKED[1][1:]]
    assert Looked(older, [record(path, 7, nlink=2) for path in ("a", "b")]).admitted() == []


def archive(live: int) -> Archive:
    return Archive("archives/x", 1, "", live, live, added=False)


@pytest.mark.parametrize(
    ("asked", "worth"),
    [
        ({0: LEAST}, {0}),
        ({0: LEAST - 1}, set()),
        ({0: LEAST // 2, 1: LEAST // 2}, {0, 1}),
        ({0: LEAST, 2: LEAST - 1}, {0}),
        ({2: LEAST}, {2}),
        ({}, set()),
    ],
)
def test_it_pays_for_a_quarter_of_an_archive_and_so_much_in_all(asked: dict[int, int], worth: set[int]) -> None:
    archives = [archive(LEAST), archive(LEAST), archive(4 * LEAST)]
    assert set(paying({b"%d" % number: weight for number, weight in asked.items()}, archives, ())) == worth


def test_answers_set_the_draft_right() -> None:
    older = [b"0\t" + record("0", 5), *LINKED, b"1\t" + record("e", 3), b"1\t" + record("f", 4)]
    links = [record(path, inode, nlink=2) for path, inode in (("a", 7), ("b", 7), ("c", 8), ("d", 8))]
    now = [record("0", 5), *links, record("e", 9), record("f", 10)]
    looked = Looked(older, now)
    yes = [path_of(b"0\t" + question_of(line).record) in {b"a", b"b", b"e"} for line in looked.questions]
    answers = Answers(looked.comparison)
    draft = list(answers.draft(looked.draft, looked.questions, yes))
    candidates = list(answers.candidates(looked.candidates, looked.questions, yes))
    assert draft == [
        b"0\t" + now[0],
        *(b"0\t" + line for line in links[:2]),
        *(b"+\t" + line for line in links[2:]),
        b"1\t" + now[5],
        b"+\t" + now[6],
    ]
    assert candidates == [*draft[1:5], draft[6]]
    assert (answers.paths, answers.weight) == (3, 2 * 514 + 517)
    found: Comparison = looked.comparison
    assert (found.taken, found.taken_weight) == (3, 2 * 514 + 517)
    assert found.live == {b"0": 517 + 2 * 514, b"1": 517}
    selection = Selection(frozenset(found.dirty))
    assert [path_of(line) for line in candidates if selection.takes(line)] == [b"c", b"d", b"f"]
