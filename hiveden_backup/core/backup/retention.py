"""Which backups stay and which go, and why: a pure rule. It deletes nothing and never reads a clock."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo

from hiveden_backup.core import spans
from hiveden_backup.core.config.values import Retention
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.names import backup_time

NEWEST = "newest"
FUTURE = "dated in the future"
NO_RULE = "no rule is set"
ALL_ZERO = "every rule is 0, which keeps all"
NOTHING_KEEPS_IT = "no rule keeps it"

_COUNTED_IN_HOURS = 48


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup. `reasons` has at least one entry, in words for people."""

    id: str
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Backup:
    """A backup that is not dated in the future; `local` is its moment in the machine's zone."""

    id: str
    moment: datetime
    local: datetime


@dataclass(frozen=True, slots=True)
class _Calendar:
    """One calendar rule: at most `count` buckets. `label` names the bucket that a local time falls into, uniquely."""

    name: str
    count: int
    label: Callable[[datetime], str]


def decide(ids: Iterable[str], policy: Retention, now: datetime, zone: tzinfo) -> tuple[Decision, ...]:
    """What `policy` says of each of a job's finished backups, newest first; the order of `ids` does not matter.

    `now` is aware. `zone` is the machine's, with its rules for daylight saving time (a ZoneInfo, not the fixed offset
    that `datetime.astimezone()` gives). ValueError when an id is none.

    - A policy without a rule keeps everything; so does one whose rules are all 0, since a policy that would delete all
      but one backup must say so in plain numbers. Beside another rule, 0 keeps nothing.
    - The newest backup is kept whatever the rules say. What is dated in the future (the clock was wrong once, or is
      now) is kept, too, and fills neither a count nor a bucket; then the newest of the others is kept as well.
    - `keep_last` N keeps the N newest; `keep_within` what is not older than that.
    - A calendar rule keeps the newest backup of each of the N most recent hours, days, ISO weeks, months or years of
      the machine's clock that have a backup, so missed days do not cost old backups. The hour that the clock repeats
      in autumn is two hours. While there are fewer than N, the rule keeps the oldest backup as well: somebody who
      asks for twelve months and has three weeks can go back three weeks.

    With one rule above 0, another rule or a larger number never deletes more; and deciding again on what was kept
    deletes nothing.
    """
    newest_first = sorted(set(ids), key=backup_time, reverse=True)
    reasons: dict[str, list[str]] = {backup: [] for backup in newest_first}
    past: list[_Backup] = []
    for backup in newest_first:
        moment = backup_time(backup)
        if moment > now:
            reasons[backup].append(FUTURE)
        else:
            past.append(_Backup(backup, moment, moment.astimezone(zone)))
    for backup, reason in _kept(past, policy, now):
        reasons[backup].append(reason)
    return tuple(Decision(backup, bool(why), tuple(why) or (NOTHING_KEEPS_IT,)) for backup, why in reasons.items())


def decide_known(
    own: Collection[str], found: Collection[str], policy: Retention, now: datetime, zone: tzinfo
) -> tuple[Decision, ...]:
    """As `decide`; but of a job's `own` backups none goes for one that was `found`, which somebody else has made."""
    decisions = decide(own, policy, now, zone)
    if found:
        decisions += tuple(each for each in decide((*own, *found), policy, now, zone) if each.id in found)
    return tuple(sorted(decisions, key=lambda each: backup_time(each.id), reverse=True))


def _kept(past: Sequence[_Backup], policy: Retention, now: datetime) -> Iterator[tuple[str, str]]:
    """Each reason to keep one of `past`, which is sorted newest first."""
    calendars = _calendars(policy)
    last, within = policy.keep_last or 0, policy.keep_within or 0.0
    if last <= 0 and within <= 0 and not calendars:
        numbers = (policy.keep_hourly, policy.keep_daily, policy.keep_weekly, policy.keep_monthly, policy.keep_yearly)
        unset = all(number is None for number in (policy.keep_last, policy.keep_within, *numbers))
        yield from ((backup.id, NO_RULE if unset else ALL_ZERO) for backup in past)
        return
    yield from ((backup.id, NEWEST) for backup in past[:1])
    yield from ((backup.id, f"last {place} of {last}") for place, backup in enumerate(past[: max(last, 0)], 1))
    for calendar in calendars:
        yield from _kept_by_calendar(past, calendar)
    if within > 0:
        span = _span(within)
        yield from ((backup.id, f"within {span}") for backup in past if (now - backup.moment).total_seconds() <= within)


def _kept_by_calendar(past: Sequence[_Backup], rule: _Calendar) -> Iterator[tuple[str, str]]:
    filled: set[str] = set()
    reached = ""
    for backup in past:
        label = rule.label(backup.local)
        if label in filled:
            continue
        if len(filled) == rule.count:
            return
        filled.add(label)
        reached = backup.id
        yield reached, f"{rule.name} {label}"
    if past and len(filled) < rule.count and past[-1].id != reached:
        yield past[-1].id, f"oldest, {rule.name} has {len(filled)} of {rule.count}"


def _calendars(policy: Retention) -> tuple[_Calendar, ...]:
    rules = (
        ("hourly", policy.keep_hourly, _hour),
        ("daily", policy.keep_daily, lambda local: f"{local:%Y-%m-%d}"),
        ("weekly", policy.keep_weekly, lambda local: f"{local:%G-W%V}"),
        ("monthly", policy.keep_monthly, lambda local: f"{local:%Y-%m}"),
        ("yearly", policy.keep_yearly, lambda local: f"{local:%Y}"),
    )
    return tuple(_Calendar(name, count, label) for name, count, label in rules if count is not None and count > 0)


def _hour(local: datetime) -> str:
    # The offset tells 02:30 summer time from 02:30 winter time on the night when the clock goes back.
    return f"{local:%Y-%m-%d %H:00 %z}"


def _span(seconds: float) -> str:
    """As systemd writes it, but 48h rather than 2d: up to two days people count hours."""
    if math.isinf(seconds):
        return "infinity"
    hours, rest = divmod(seconds, 3600)
    return f"{hours:.0f}h" if not rest and 1 <= hours <= _COUNTED_IN_HOURS else spans.text(seconds)
