"""What the state directory remembers of offsites: journals that survive a torn line, facts, places, locks."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hiveden_backup.core.errors import BusyError, StorageError
from hiveden_backup.core.offsite import journal, layout
from hiveden_backup.core.offsite.checked import Checked
from hiveden_backup.core.offsite.journal import Did, Line
from hiveden_backup.host.state.offsites import Facts, Offsites, Place, offsite_lock

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
ARCHIVE = "archives/20261101T023000Z.hot-0001.tar.zst"


def put(number: int) -> Line:
    return Line(NOW, Did.PUT, layout.slice_object(ARCHIVE, number, encrypted=True), 10, "d" * 64)


def test_what_was_noted_is_there(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    assert not known.there("b2", "a").objects
    with offsite_lock(tmp_path, "b2") as locked:
        known.note(locked, "a", [put(0), put(1)])
        known.note(locked, "a", [put(2)])
    assert len(known.there("b2", "a").objects) == 3
    assert known.jobs("b2") == ("a",)
    assert not known.there("b2", "b").objects
    assert not known.there("other", "a").objects


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    with offsite_lock(tmp_path, "b2") as locked:
        known.note(locked, "a", [put(0), put(1)])
        path = tmp_path / "offsite/b2/a.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        known.note(locked, "a", [put(2)])
    found = known.there("b2", "a")
    assert found.objects.keys() == {put(0).object, put(2).object}
    assert found.torn == 1


def test_a_rewritten_journal_has_what_is_there(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    with offsite_lock(tmp_path, "b2") as locked:
        known.note(locked, "a", [put(0), put(1), replace(put(0), did=Did.REMOVED)])
        known.rewrite(locked, "a", known.there("b2", "a"))
        assert known.there("b2", "a") == journal.replay([journal.dump(put(1))])


def test_facts_are_remembered_and_are_not_forgotten_when_they_cannot_be_read(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    facts = Facts(NOW, None, 2, "it was away", NOW, (put(0).object,), 5, NOW)
    with offsite_lock(tmp_path, "b2") as locked:
        known.put_facts(locked, "a", facts)
    assert known.facts("b2", "a") == facts
    assert known.facts("b2", "b") == Facts()
    (tmp_path / "offsite/b2/a.json").write_bytes(b"{")
    with pytest.raises(StorageError, match="not known how a stands at the offsite b2"):
        known.facts("b2", "a")


def test_whatever_a_place_says_facts_can_be_read(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    with offsite_lock(tmp_path, "b2") as locked:
        known.put_facts(locked, "a", Facts(error="a\0b\ud800", denied="\0", unlisted="\n"))
    assert (known.facts("b2", "a").error, known.facts("b2", "a").denied) == ("a\\x00b\\ud800", "\\x00")


def test_another_place_begins_with_nothing(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    with offsite_lock(tmp_path, "b2") as locked:
        known.put_place(locked, Place("b2:x", "nas-00000000"))
        known.note(locked, "a", [put(0)])
        known.put_place(locked, Place("b2:x", "nas-00000000"))
        assert known.there("b2", "a").objects
        known.put_place(locked, Place("b2:y", "nas-00000000"))
        assert not known.there("b2", "a").objects
    assert known.place("b2") == Place("b2:y", "nas-00000000")


def test_what_is_of_a_place_that_nobody_knows_is_not_believed(tmp_path: Path) -> None:
    known = Offsites(tmp_path)
    with offsite_lock(tmp_path, "b2") as locked:
        known.put_place(locked, Place("b2:x", "nas-00000000"))
        known.note(locked, "a", [put(0)])
        known.put_facts(locked, "a", Facts(damaged=(put(0).object,)))
        path = tmp_path / "offsite/b2/.place.json"
        path.write_bytes(b"{")
        with pytest.raises(StorageError, match="not known which place the offsite b2 was"):
            known.put_place(locked, Place("b2:y", "nas-00000000"))
        path.unlink()
        path.mkdir()
        with pytest.raises(StorageError):
            known.place("b2")
        path.rmdir()
        assert known.there("b2", "a").objects
        known.put_place(locked, Place("b2:x", "nas-00000000"))
    assert not known.there("b2", "a").objects
    assert known.facts("b2", "a").damaged == (put(0).object,)


@pytest.mark.parametrize("content", [b"{", b"[]", None])
def test_what_was_read_back_is_read_again_when_that_is_not_known(tmp_path: Path, content: bytes | None) -> None:
    known = Offsites(tmp_path)
    path = tmp_path / "offsite/b2/a.checked.json"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    assert known.checked("b2", "a") == Checked()


def test_one_at_a_time_sends_to_an_offsite(tmp_path: Path) -> None:
    with offsite_lock(tmp_path, "b2"):
        with pytest.raises(BusyError, match="b2 is busy"), offsite_lock(tmp_path, "b2"):
            raise AssertionError
        with offsite_lock(tmp_path, "other"):
            pass
    with offsite_lock(tmp_path, "b2"):
        pass
