"""What goes to an offsite and what goes away there: pure rules over what is here, and what is there by the journal."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo

from hiveden_backup.core.backup.retention import Decision, decide_known
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.names import newest_first
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import There

NEWEST_WHOLE = "newest that is whole there"
_FIRST_PAUSE = timedelta(minutes=15)
_LONGEST_PAUSE = timedelta(days=1)
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is decided: `zone` is the machine's."""

    now: datetime
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes away there: `markers` first, so that nothing looks whole that is not, then the `rest`."""

    markers: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.markers or self.rest)


def made_for(offsite: Offsite) -> str:
    """What stands for how pieces are made for an offsite: for whom, and how large. Others do not go together."""
    text = f"{offsite.slice} {offsite.encrypt} {' '.join(sorted(offsite.recipients))}"
    return f"{zlib.crc32(text.encode()):08x}"


def to_send(
    offsite: Offsite, there: There, at: Moment, *, own: Sequence[str], found: Sequence[str], kept_for: Mapping[str, str]
) -> tuple[str, ...]:
    """Which backups that are here go there, newest first: those that are not, and that retention there would keep.

    `own` are this host's backups, `found` others that a person has let in; `kept_for` are reasons to keep some.
    """
    whole = there.backups
    here = {*own, *found}
    decisions = decide_known(
        {*own, *whole}, [each for each in found if each not in whole], offsite.retention, at.now, at.zone
    )
    wanted = [each.id for each in decisions if (each.keep or each.id in kept_for) and each.id in here - whole.keys()]
    return tuple(newest_first(wanted, at.now))


def decided(
    offsite: Offsite, there: There, kept_for: Mapping[str, str], damaged: Collection[str], at: Moment
) -> tuple[Decision, ...]:
    """What the retention there says of each backup that is there, newest first.

    One that lacks something, or has `damaged` objects, makes no other one go; the newest whole one stays.
    """
    whole = there.whole(damaged).keys()
    reasons = dict(kept_for)
    if whole:
        reasons[newest_first(whole, at.now)[0]] = NEWEST_WHOLE
    return tuple(
        replace(each, keep=True, reasons=(reasons[each.id],)) if not each.keep and each.id in reasons else each
        for each in decide_known(whole, there.marked.keys() - whole, offsite.retention, at.now, at.zone)
    )


def removal(there: There, decisions: Collection[Decision], wanted: Collection[str]) -> Removal:
    """What goes: backups that are not kept, and what nothing needs that is kept, or that is `wanted` there.

    `wanted` are backups that are to be there, and the archives that these need, whatever of them is there yet. Where
    nothing is to go by these decisions, what was begun and is wanted no more goes all the same.
    """
    kept = {each.id for each in decisions if each.keep}
    needed = {*kept, *wanted}
    for backup, line in there.marked.items():
        if backup in kept:
            needed.update(line.needs)
    going = {name: line for name, line in there.objects.items() if layout.owner(name) not in needed}
    owners = dict.fromkeys(layout.owner(name) or "" for name in going)
    markers = [marker for owner in owners for marker in _markers(owner)]
    rest = [name for name in going if name not in markers]
    return Removal(tuple(markers), tuple(rest), sum(line.bytes for line in going.values()))


def next_try(now: datetime, failures: int) -> datetime:
    """When what failed so many times in a row is tried again: after a quarter of an hour, in the end once a day."""
    return now + min(_FIRST_PAUSE * (1 << min(max(failures - 1, 0), _DOUBLINGS)), _LONGEST_PAUSE)


def _markers(owner: str) -> tuple[str, str]:
    """The marker and its signature; those that the journal has lost sight of go as well."""
    sums = layout.archive_sums(owner) if "/" in owner else layout.backup_sums(owner)
    return sums, layout.signature_of(sums)
