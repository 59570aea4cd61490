"""What goes to an offsite and what goes away there: nothing that is kept there loses what it needs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.config.values import Offsite, Retention
from hiveden_backup.core.names import backup_id
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line, There
from hiveden_backup.core.offsite.plan import (
    NEWEST_WHOLE,
    Moment,
    decided,
    made_for,
    next_try,
    removal,
    to_send,
)

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
AT = Moment(NOW, UTC)


def day(number: int) -> str:
    """A backup so many days ago."""
    return backup_id(NOW - timedelta(days=number))


def archive(number: int) -> str:
    return f"archives/{day(number)}.hot-0001.tar.zst"


def there(backups: Mapping[str, Sequence[str]], lacking: Sequence[str] = ()) -> There:
    """Backups there and what they need; with all of these archives but those that are lacking."""
    found = There()
    for path in {each for needs in backups.values() for each in needs}:
        names = [layout.slice_object(path, 0, encrypted=True)]
        if path not in lacking:
            names += [layout.archive_sums(path), layout.signature_of(layout.archive_sums(path))]
        for name in names:
            found.note(Line(NOW, Did.PUT, name, 10))
    for backup, needs in backups.items():
        found.note(Line(NOW, Did.PUT, f"{backup}/manifest.json.age", 10))
        found.note(Line(NOW, Did.PUT, layout.backup_signature(backup), 10))
        found.note(Line(NOW, Did.PUT, layout.backup_sums(backup), 10, needs=tuple(needs)))
    return found


def offsite(**rules: int) -> Offsite:
    return Offsite("b2", "/there", retention=Retention(**rules))


def test_what_is_not_there_is_sent_newest_first() -> None:
    known = there({day(2): []})
    own = [day(number) for number in range(4)]
    assert to_send(offsite(), known, AT, own=own, found=[], kept_for={}) == (day(0), day(1), day(3))


def test_what_retention_there_would_drop_is_not_sent() -> None:
    own = [day(number) for number in range(6)]
    assert to_send(offsite(keep_last=2), There(), AT, own=own, found=[], kept_for={}) == (day(0), day(1))
    kept = {day(4): "unusual"}
    assert to_send(offsite(keep_last=2), There(), AT, own=own, found=[], kept_for=kept) == (day(0), day(1), day(4))


def test_what_lacks_an_archive_is_sent_again() -> None:
    known = there({day(1): [archive(1)]}, lacking=[archive(1)])
    assert to_send(offsite(), known, AT, own=[day(1)], found=[], kept_for={}) == (day(1),)


def test_retention_there_runs_over_what_is_there() -> None:
    """The newest backup here, which is not there yet, makes none go."""
    known = there({day(number): [] for number in range(1, 4)})
    assert [each.id for each in decided(offsite(keep_last=1), known, {}, (), AT) if each.keep] == [day(1)]


def test_one_that_is_damaged_makes_no_other_go() -> None:
    known = there({day(1): [archive(1)], day(2): []})
    damaged = [layout.slice_object(archive(1), 0, encrypted=True)]
    found = {each.id: each for each in decided(offsite(keep_last=1), known, {}, damaged, AT)}
    assert found[day(2)].keep


def test_the_newest_whole_one_stays_whatever_the_rules_say() -> None:
    known = there({day(1): [archive(1)], day(2): []}, lacking=[archive(1)])
    kept = {each.id: each.reasons for each in decided(offsite(keep_last=1), known, {}, (), AT) if each.keep}
    assert day(2) in kept
    known = there({day(400): []})
    assert decided(offsite(keep_daily=1), known, {}, (), AT)[0].keep
    assert NEWEST_WHOLE


def test_an_archive_goes_with_the_last_backup_that_needs_it_and_markers_go_first() -> None:
    known = there({day(1): [archive(1), archive(3)], day(2): [archive(2), archive(3)]})
    going = removal(known, decided(offsite(keep_last=1), known, {}, (), AT), ())
    assert set(going.markers) == {
        *(layout.backup_sums(day(2)), layout.backup_signature(day(2))),
        *(layout.archive_sums(archive(2)), layout.signature_of(layout.archive_sums(archive(2)))),
    }
    assert set(going.rest) == {f"{day(2)}/manifest.json.age", layout.slice_object(archive(2), 0, encrypted=True)}
    assert going.bytes == 60


def test_what_was_begun_goes_unless_it_is_wanted() -> None:
    known = there({day(1): []})
    name = layout.slice_object(archive(9), 0, encrypted=True)
    known.note(Line(NOW, Did.PUT, name, 5))
    decisions = decided(offsite(), known, {}, (), AT)
    assert removal(known, decisions, ()).rest == (name,)
    assert not removal(known, decisions, {archive(9)})


@given(st.data())
def test_what_stays_is_whole(data: st.DataObject) -> None:
    numbers = st.integers(0, 30)
    needs = data.draw(st.dictionaries(numbers, st.sets(numbers, max_size=4), max_size=12))
    rules = {name: data.draw(st.integers(0, 3)) for name in ("keep_last", "keep_daily", "keep_weekly")}
    known = there({day(backup): sorted(map(archive, some)) for backup, some in needs.items()})
    before = known.backups
    decisions = decided(offsite(**rules), known, {}, (), AT)
    going = removal(known, decisions, ())
    for name in going.markers:
        known.note(Line(NOW, Did.REMOVED, name))
    kept = {each.id for each in decisions if each.keep}
    assert known.backups.keys() == kept  # also when it is killed here
    for name in going.rest:
        known.note(Line(NOW, Did.REMOVED, name))
    assert known.backups.keys() == kept
    assert bool(kept) == bool(before)
    assert not removal(known, decided(offsite(**rules), known, {}, (), AT), ())


def test_what_fails_is_tried_again_later_and_later() -> None:
    pauses = [next_try(NOW, failures) - NOW for failures in range(1, 40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(minutes=15), timedelta(days=1))


def test_pieces_for_others_do_not_go_together() -> None:
    plain = Offsite("a", "/x", recipients=("age1a", "age1b"))
    assert made_for(plain) == made_for(Offsite("b", "/y", recipients=("age1b", "age1a")))
    others = [Offsite("a", "/x", recipients=("age1a",)), Offsite("a", "/x", recipients=("age1a", "age1b"), slice=1)]
    assert made_for(plain) not in map(made_for, others)
