"""The journal of an offsite: what is there by it, torn lines, and what makes a backup complete."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.offsite import journal, layout
from hiveden_backup.core.offsite.journal import Did, Line, There

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
ONE, TWO = (f"archives/20261101T023000Z.hot-000{number}.tar.zst" for number in (1, 2))
BACKUP, LATER = "20261123T023000Z", "20261124T023000Z"


def put(name: str, *needs: str, size: int = 10) -> Line:
    return Line(NOW, Did.PUT, name, size, "d" * 64, needs=needs)


def removed(name: str) -> Line:
    return Line(NOW, Did.REMOVED, name)


def there(*lines: Line) -> There:
    return journal.replay(journal.split(journal.dump_all(lines)))


def test_a_backup_is_complete_with_its_sums_and_all_its_archives() -> None:
    slices = [put(layout.slice_object(each, 0, encrypted=True)) for each in (ONE, TWO)]
    lines = [*slices, put(layout.archive_sums(ONE)), put(layout.backup_sums(BACKUP), ONE, TWO)]
    assert not there(*lines).backups
    assert there(*lines).marked.keys() == {BACKUP}
    assert there(*lines, put(layout.archive_sums(TWO))).backups.keys() == {BACKUP}
    assert not there(*lines, put(layout.archive_sums(TWO)), removed(layout.archive_sums(ONE))).backups


def test_what_needs_something_damaged_is_not_whole() -> None:
    slices = [layout.slice_object(each, 0, encrypted=True) for each in (ONE, TWO)]
    lines = [put(name) for name in slices] + [put(layout.archive_sums(each)) for each in (ONE, TWO)]
    found = there(*lines, put(layout.backup_sums(BACKUP), ONE), put(layout.backup_sums(LATER), ONE, TWO))
    assert found.whole([]).keys() == {BACKUP, LATER}
    assert found.whole([slices[1]]).keys() == {BACKUP}
    assert found.whole([slices[0]]).keys() == set()
    assert found.whole([f"{BACKUP}/manifest.json.age"]).keys() == {LATER}


def test_the_last_word_on_an_object_counts() -> None:
    name = layout.archive_sums(ONE)
    assert there(put(name), removed(name), put(name, size=7)).objects[name].bytes == 7
    assert not there(put(name), removed(name)).objects
    assert there(put(name), put(f"{name}.sig")).bytes == 20


def test_lines_say_no_more_than_they_have_to() -> None:
    assert journal.dump(removed(layout.archive_sums(ONE))).count(b'":') == 3
    whole = Line(NOW, Did.PUT, layout.backup_sums(BACKUP), 1, "a" * 64, "b" * 32, 5, "c" * 64, (ONE, TWO))
    assert there(whole).objects[whole.object] == whole


def test_objects_are_known_by_what_they_are_of() -> None:
    lines = [put(layout.slice_object(ONE, 0, encrypted=True)), put(layout.archive_sums(ONE)), put(f"{BACKUP}/a.age")]
    found = there(*lines)
    assert found.of(ONE).keys() == {line.object for line in lines[:2]}
    assert {key: len(each) for key, each in found.by_owner().items()} == {ONE: 2, BACKUP: 1}


@given(st.data())
def test_a_journal_that_is_torn_anywhere_loses_one_line_at_most(data: st.DataObject) -> None:
    lines = [put(layout.slice_object(ONE, number, encrypted=True)) for number in range(4)]
    content = journal.dump_all(lines)
    cut = data.draw(st.integers(0, len(content)))
    found = journal.replay(journal.split(content[:cut]))
    assert len(found.objects) == content[:cut].count(b"\n")
    assert found.torn == (content[:cut][-1:] not in (b"", b"\n"))
    healed = journal.replay(journal.split(content[:cut] + b"\n" + journal.dump(put(f"{BACKUP}/a.age"))))
    assert f"{BACKUP}/a.age" in healed.objects


def test_what_is_no_line_of_ours_is_passed_over() -> None:
    odd = [b"\n", b"{}\n", b"[1]\n", b"\xff\n", journal.dump(put("../../etc/passwd")), b'{"at": 1}\n']
    found = journal.replay([*odd, journal.dump(put(layout.archive_sums(ONE)))])
    assert (len(found.objects), found.torn, found.lines) == (1, len(odd), len(odd) + 1)


def test_a_journal_of_the_past_is_long() -> None:
    lines = [put(layout.archive_sums(ONE)) for _ in range(1500)]
    assert there(*lines).is_long
    assert not there(*lines[:500]).is_long
