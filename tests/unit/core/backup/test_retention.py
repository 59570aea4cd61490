"""Retention: examples that a person can check with a calendar, and properties that hold for every history."""

import dataclasses
import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hiveden_backup.core.backup.retention import (
    ALL_ZERO,
    FUTURE,
    NEWEST,
    NO_RULE,
    NOTHING_KEEPS_IT,
    Decision,
    decide,
    decide_known,
)
from hiveden_backup.core.config.values import Retention
from hiveden_backup.core.names import backup_id, backup_time

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")]
RULES = [field.name for field in dataclasses.fields(Retention)]
COUNTS = [name for name in RULES if name != "keep_within"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def kept(decisions: Iterable[Decision]) -> list[str]:
    return [decision.id for decision in decisions if decision.keep]


def reasons(decisions: Iterable[Decision]) -> dict[str, tuple[str, ...]]:
    return {decision.id: decision.reasons for decision in decisions}


def every_night(count: int) -> list[str]:
    """One backup a night at 02:30 UTC, the newest in the night before NOW."""
    return [backup_id(NOW.replace(hour=2, minute=30) - timedelta(days=day)) for day in range(count)]


# ---- examples ------------------------------------------------------------------------------------------------------


def test_no_rule_keeps_everything() -> None:
    decisions = decide(every_night(40), Retention(), NOW, UTC)
    assert kept(decisions) == every_night(40)
    assert {decision.reasons for decision in decisions} == {(NO_RULE,)}


@pytest.mark.parametrize(
    "policy",
    [Retention(keep_last=0), Retention(keep_daily=0, keep_within=0.0), Retention(**dict.fromkeys(COUNTS, 0))],
)
def test_rules_that_are_all_zero_keep_everything(policy: Retention) -> None:
    decisions = decide(every_night(3), policy, NOW, UTC)
    assert reasons(decisions) == dict.fromkeys(every_night(3), (ALL_ZERO,))
    assert kept(decisions) == every_night(3)


def test_zero_beside_another_rule_keeps_nothing() -> None:
    assert kept(decide(every_night(9), Retention(keep_last=0, keep_daily=2), NOW, UTC)) == every_night(2)


def test_nothing_to_decide() -> None:
    assert decide([], Retention(keep_daily=3), NOW, UTC) == ()


def test_what_is_no_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a backup id"):
        decide(["20261123T023000Z", "latest"], Retention(keep_last=1), NOW, UTC)


def test_keep_last() -> None:
    first, second, third = every_night(3)
    assert decide([second, third, first], Retention(keep_last=2), NOW, UTC) == (
        Decision(first, keep=True, reasons=(NEWEST, "last 1 of 2")),
        Decision(second, keep=True, reasons=("last 2 of 2",)),
        Decision(third, keep=False, reasons=(NOTHING_KEEPS_IT,)),
    )


def test_what_was_found_pushes_out_none_of_our_own() -> None:
    """It goes itself as if all were of one kind."""
    own, found = ("20240101T000000Z", "20240102T000000Z"), ("20240103T000000Z", "20240104T000000Z")
    decisions = decide_known(own, found, Retention(keep_last=1), datetime(2024, 2, 1, tzinfo=UTC), ZoneInfo("UTC"))
    assert [(each.id, each.keep) for each in decisions] == [
        ("20240104T000000Z", True),
        ("20240103T000000Z", False),
        ("20240102T000000Z", True),
        ("20240101T000000Z", False),
    ]


def test_the_newest_stays_although_it_is_too_old() -> None:
    old = [backup_id(NOW - timedelta(days=days)) for days in (300, 301)]
    assert kept(decide(old, Retention(keep_within=3600.0), NOW, UTC)) == old[:1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (172800.0, "48h"),
        (259200.0, "3d"),
        (604800.0, "7d"),
        (1800.0, "30min"),
        (5400.0, "1h 30min"),
        (90.0, "1min 30s"),
        (math.inf, "infinity"),
    ],
)
def test_keep_within_says_how_long(seconds: float, words: str) -> None:
    decisions = decide([backup_id(NOW)], Retention(keep_within=seconds), NOW, UTC)
    assert decisions[0].reasons == (NEWEST, f"within {words}")


def test_keep_within_includes_its_edge() -> None:
    ids = [backup_id(NOW - timedelta(seconds=seconds)) for seconds in (0, 7200, 7201)]
    assert kept(decide(ids, Retention(keep_within=7200.0), NOW, UTC)) == ids[:2]


def test_each_calendar_rule_keeps_the_newest_of_its_buckets() -> None:
    """Half a year of nights; 23 November 2026 is a Monday, so ISO week 48 has just begun."""
    nights = every_night(180)
    policy = Retention(keep_daily=3, keep_weekly=3, keep_monthly=3, keep_yearly=1)
    assert reasons(decision for decision in decide(nights, policy, NOW, UTC) if decision.keep) == {
        "20261123T023000Z": (NEWEST, "daily 2026-11-23", "weekly 2026-W48", "monthly 2026-11", "yearly 2026"),
        "20261122T023000Z": ("daily 2026-11-22", "weekly 2026-W47"),
        "20261121T023000Z": ("daily 2026-11-21",),
        "20261115T023000Z": ("weekly 2026-W46",),
        "20261031T023000Z": ("monthly 2026-10",),
        "20260930T023000Z": ("monthly 2026-09",),
    }


def test_weeks_are_iso_weeks() -> None:
    """1 January 2027 is a Friday of week 53 of 2026; the week's newest is Sunday the 3rd."""
    ids = ["20270104T020000Z", "20270103T020000Z", "20270101T020000Z", "20261228T020000Z", "20261227T020000Z"]
    decisions = decide(ids, Retention(keep_weekly=3), datetime(2027, 1, 5, tzinfo=UTC), UTC)
    assert reasons(decision for decision in decisions if decision.keep) == {
        "20270104T020000Z": (NEWEST, "weekly 2027-W01"),
        "20270103T020000Z": ("weekly 2026-W53",),
        "20261227T020000Z": ("weekly 2026-W52",),
    }


def test_missed_days_cost_no_old_backups() -> None:
    """The machine was off for two months: buckets without a backup do not count."""
    old = [backup_id(NOW - timedelta(days=60 + day)) for day in range(10)]
    new = backup_id(NOW)
    assert kept(decide([new, *old], Retention(keep_daily=7), NOW, UTC)) == [new, *old[:6]]


def test_a_rule_that_is_not_full_keeps_the_oldest() -> None:
    nights = every_night(10)  # 14 to 23 November
    decisions = decide(nights, Retention(keep_last=2, keep_monthly=6, keep_weekly=3, keep_yearly=1), NOW, UTC)
    assert reasons(decision for decision in decisions if decision.keep) == {
        nights[0]: (NEWEST, "last 1 of 2", "weekly 2026-W48", "monthly 2026-11", "yearly 2026"),
        nights[1]: ("last 2 of 2", "weekly 2026-W47"),
        nights[8]: ("weekly 2026-W46",),
        nights[9]: ("oldest, monthly has 1 of 6",),
    }


def test_a_rule_that_is_just_full_does_not_keep_the_oldest() -> None:
    ids = ["20261123T100000Z", "20261122T100000Z", "20261122T020000Z"]
    assert kept(decide(ids, Retention(keep_daily=2), NOW, UTC)) == ids[:2]
    assert kept(decide(ids, Retention(keep_daily=3), NOW, UTC)) == ids


def test_the_oldest_is_not_named_twice_by_a_rule() -> None:
    assert decide(every_night(1), Retention(keep_daily=7), NOW, UTC)[0].reasons == (NEWEST, "daily 2026-11-23")


def test_the_future_begins_after_now() -> None:
    ids = [backup_id(NOW + timedelta(seconds=1)), backup_id(NOW)]
    assert reasons(decide(ids, Retention(keep_last=1), NOW, UTC)) == {
        ids[0]: (FUTURE,),
        ids[1]: (NEWEST, "last 1 of 1"),
    }


def test_the_future_is_kept_and_takes_no_place() -> None:
    """The clock stood a month ahead for two runs; the newest sane backups stay beside them."""
    ahead = [backup_id(NOW + timedelta(days=30, hours=hours)) for hours in (24, 0)]
    nights = every_night(5)
    decisions = decide([*nights, *ahead], Retention(keep_last=1, keep_daily=2), NOW, UTC)
    assert reasons(decision for decision in decisions if decision.keep) == {
        ahead[0]: (FUTURE,),
        ahead[1]: (FUTURE,),
        nights[0]: (NEWEST, "last 1 of 1", "daily 2026-11-23"),
        nights[1]: ("daily 2026-11-22",),
    }


def test_a_clock_that_fell_back_to_1970_deletes_nothing() -> None:
    decisions = decide(every_night(30), Retention(keep_last=1), datetime(1970, 1, 1, tzinfo=UTC), UTC)
    assert kept(decisions) == every_night(30)


# ---- the machine's zone --------------------------------------------------------------------------------------------


def test_a_day_is_the_machines_day() -> None:
    """23:30 UTC is half past midnight of the next day in Berlin."""
    ids = ["20261120T233000Z", "20261120T220000Z", "20261120T120000Z"]
    in_berlin = decide(ids, Retention(keep_daily=2), NOW, BERLIN)
    assert reasons(in_berlin)[ids[0]] == (NEWEST, "daily 2026-11-21")
    assert kept(in_berlin) == ids[:2]
    assert reasons(decide(ids, Retention(keep_daily=1), NOW, UTC))[ids[0]] == (NEWEST, "daily 2026-11-20")


def test_the_repeated_hour_is_two_hours() -> None:
    """25 October 2026: the clock goes from 03:00 CEST back to 02:00 CET."""
    ids = ["20261025T023000Z", "20261025T013000Z", "20261025T011000Z", "20261025T003000Z", "20261024T233000Z"]
    decisions = decide(ids, Retention(keep_hourly=4), NOW, BERLIN)
    assert reasons(decisions) == {
        "20261025T023000Z": (NEWEST, "hourly 2026-10-25 03:00 +0100"),
        "20261025T013000Z": ("hourly 2026-10-25 02:00 +0100",),
        "20261025T011000Z": (NOTHING_KEEPS_IT,),
        "20261025T003000Z": ("hourly 2026-10-25 02:00 +0200",),
        "20261024T233000Z": ("hourly 2026-10-25 01:00 +0200",),
    }


def test_the_long_day_is_one_day() -> None:
    """All 25 hours of the local 25 October are one bucket, its neighbours are others."""
    start = datetime(2026, 10, 25, tzinfo=BERLIN).astimezone(UTC)
    hours = [backup_id(start + timedelta(hours=hour)) for hour in range(-1, 26)]
    decisions = decide(hours, Retention(keep_daily=3, keep_last=1), NOW, BERLIN)
    assert reasons(decision for decision in decisions if decision.keep) == {
        hours[26]: (NEWEST, "last 1 of 1", "daily 2026-10-26"),
        hours[25]: ("daily 2026-10-25",),
        hours[0]: ("daily 2026-10-24",),
    }


def test_the_short_day_is_one_day_and_skips_an_hour() -> None:
    """29 March 2026: 02:00 CET is 03:00 CEST; the day has 23 hours and as many hourly buckets."""
    start = datetime(2026, 3, 29, tzinfo=BERLIN).astimezone(UTC)
    hours = [backup_id(start + timedelta(hours=hour)) for hour in range(24)]
    assert kept(decide(hours, Retention(keep_daily=2), NOW, BERLIN)) == [hours[23], hours[22]]
    labels = [
        reason for why in reasons(decide(hours, Retention(keep_hourly=24), NOW, BERLIN)).values() for reason in why
    ]
    assert len({label for label in labels if label.startswith("hourly 2026-03-29")}) == 23
    assert not any(label.startswith("hourly 2026-03-29 02") for label in labels)


def test_months_and_years_turn_in_the_machines_zone() -> None:
    ids = ["20261231T233000Z", "20261231T223000Z"]  # 2027 has begun in Berlin between the two
    assert reasons(decide(ids, Retention(keep_monthly=2, keep_yearly=2), datetime(2027, 2, 1, tzinfo=UTC), BERLIN)) == {
        ids[0]: (NEWEST, "monthly 2027-01", "yearly 2027"),
        ids[1]: ("monthly 2026-12", "yearly 2026"),
    }


# ---- properties ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A history with a policy, a moment to look at it, and the machine's zone."""

    ids: list[str]
    policy: Retention
    now: datetime
    zone: ZoneInfo

    def decide(self) -> tuple[Decision, ...]:
        return decide(self.ids, self.policy, self.now, self.zone)

    def kept(self) -> set[str]:
        return set(kept(self.decide()))

    def past(self) -> list[str]:
        return [backup for backup in self.ids if backup_time(backup) <= self.now]


moments = st.one_of(
    st.datetimes(datetime(2020, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - given one
    st.datetimes(datetime(2026, 10, 24), datetime(2026, 10, 26), timezones=st.just(UTC)),  # noqa: DTZ001 - as above
)
histories = st.lists(moments.map(backup_id), min_size=1, max_size=40, unique=True)
numbers = st.one_of(st.none(), st.integers(0, 12))
spans = st.one_of(st.none(), st.floats(0, 1e9, allow_nan=False))
policies = st.builds(Retention, keep_within=spans, **dict.fromkeys(COUNTS, numbers))
cases = st.builds(Case, histories, policies, moments, st.sampled_from(ZONES))


def says_something(policy: Retention) -> bool:
    return any(getattr(policy, name) for name in RULES)


def grown(policy: Retention, name: str, more: int) -> Retention:
    number: Any = (getattr(policy, name) or 0) + more
    return dataclasses.replace(policy, **{name: number})


@given(cases)
def test_one_decision_for_each_newest_first_with_reasons(case: Case) -> None:
    decisions = case.decide()
    assert [decision.id for decision in decisions] == sorted(case.ids, reverse=True)
    assert all(decision.reasons and all(decision.reasons) for decision in decisions)
    assert all((NOTHING_KEEPS_IT in decision.reasons) != decision.keep for decision in decisions)


@given(cases)
def test_the_newest_and_the_newest_that_is_not_ahead_stay(case: Case) -> None:
    assert max(case.ids) in case.kept()
    assert not case.past() or max(case.past()) in case.kept()


@given(cases)
def test_what_is_ahead_stays_and_changes_nothing_else(case: Case) -> None:
    decisions = case.decide()
    ahead = tuple(decision for decision in decisions if decision.id not in case.past())
    assert all(decision.keep and decision.reasons == (FUTURE,) for decision in ahead)
    assert decisions == ahead + dataclasses.replace(case, ids=case.past()).decide()


@given(cases, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(case: Case, shuffle: random.Random) -> None:
    again = [*case.ids, case.ids[0]]
    shuffle.shuffle(again)
    assert dataclasses.replace(case, ids=again).decide() == case.decide()


@given(cases)
def test_deciding_again_on_what_was_kept_deletes_nothing(case: Case) -> None:
    first = tuple(decision for decision in case.decide() if decision.keep)
    assert dataclasses.replace(case, ids=kept(first)).decide() == first


@given(cases, st.sampled_from(RULES), st.one_of(st.integers(1, 15), st.integers(1, 10**9)))
def test_another_rule_or_a_larger_number_never_deletes_more(case: Case, name: str, more: int) -> None:
    """Where some rule is above 0 before: the first rule of all is what begins to delete."""
    assume(says_something(case.policy))
    assert case.kept() <= dataclasses.replace(case, policy=grown(case.policy, name, more)).kept()


@given(cases)
def test_a_policy_keeps_what_its_rules_keep_one_by_one(case: Case) -> None:
    assume(says_something(case.policy))
    alone = [grown(Retention(), name, getattr(case.policy, name)) for name in RULES if getattr(case.policy, name)]
    assert case.kept() == set().union(*(dataclasses.replace(case, policy=rule).kept() for rule in alone))


@given(cases)
def test_pruning_after_each_run_ends_where_pruning_once_would(case: Case) -> None:
    """Otherwise what is left would depend on how often somebody prunes."""
    left: list[str] = []
    for backup in sorted(case.ids):
        left = kept(decide([*left, backup], case.policy, backup_time(backup), case.zone))
    assert left == kept(decide(case.ids, case.policy, backup_time(max(case.ids)), case.zone))
