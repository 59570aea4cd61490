"""What hosts tell of themselves, and who is late or failing by that."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from hiveden_backup.core.codec import RecordError
from hiveden_backup.core.offsite.fleet import HostStanding, JobStanding, State, dump, load, row, unreadable
from hiveden_backup.core.offsite.layout import LONGEST_STATUS

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
FINE = JobStanding("immich", "20261127T023000Z", "success")


def standing(*jobs: JobStanding, hours: float = 1) -> HostStanding:
    return HostStanding("nas", "6f0c7c2a-0000", "0.3.0", NOW - timedelta(hours=hours), jobs)


def test_what_is_written_is_read() -> None:
    told = standing(FINE, JobStanding("x", lag_seconds=5.5, lag_bytes=7, state="attention", offsite="damaged"))
    assert load(dump(told)) == told


def test_however_much_there_is_to_tell_it_is_small() -> None:
    long = tuple(
        JobStanding(f"job{number}", "20261127T023000Z", "failed", 9.0, 9, "attention", "damaged")
        for number in range(99)
    )
    assert len(dump(standing(*long))) <= LONGEST_STATUS
    assert len(load(dump(standing(*long))).jobs) == 99


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", dump(standing()).replace(b'"format": 1', b'"format": 2')])
def test_what_is_no_standing_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        load(data)


@pytest.mark.parametrize(
    ("told", "state", "words"),
    [
        (standing(FINE), State.OK, ""),
        (standing(), State.OK, ""),
        (standing(FINE, hours=47), State.OK, ""),
        (standing(FINE, hours=49), State.LATE, "for 2 days"),
        (standing(JobStanding("a", lag_seconds=3600.0)), State.OK, ""),
        (standing(JobStanding("a", lag_seconds=47 * 3600.0), hours=2), State.LATE, "waiting to be sent for 2 days"),
        (standing(JobStanding("a", result="failed")), State.FAILING, "a: its last run ended as failed"),
        (standing(JobStanding("a", result="partial")), State.FAILING, "partial"),
        (standing(JobStanding("a", result="running")), State.OK, ""),
        (standing(JobStanding("a", state="attention")), State.ATTENTION, "a: its state there is attention"),
        (standing(JobStanding("a", state="ok", offsite="damaged")), State.ATTENTION, "a: its copy here is damaged"),
        (standing(JobStanding("a", state="never", offsite="waiting")), State.OK, ""),
        (standing(FINE, hours=-3), State.LATE, "clock"),
    ],
)
def test_who_is_late_or_failing(told: HostStanding, state: State, words: str) -> None:
    found = row("nas-6f0c7c2a", told, NOW)
    assert found.state is state
    assert words in " ".join(found.attention)
    assert bool(found.attention) is (state is not State.OK)


def test_a_row_tells_of_all_jobs() -> None:
    found = row("n", standing(FINE, JobStanding("b", "20261126T023000Z", "success", 7200.0, 1000)), NOW)
    assert (found.newest, found.lag_seconds, found.lag_bytes) == ("20261127T023000Z", 10800.0, 1000)
    assert [job["job"] for job in found.table()["jobs"]] == ["immich", "b"]


def test_what_cannot_be_read_is_a_row_as_well() -> None:
    assert unreadable("nas-1", "it is empty").table()["state"] == "unreadable"


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (JobStanding("x" * 1000), "no job's name"),
        (JobStanding("a\nb"), "no job's name"),
        (JobStanding("a", "x" * 1000), "is no backup"),
        (JobStanding("a", result="x" * 1000), "is no word"),
        (JobStanding("a", state="x" * 1000), "is no word"),
        (JobStanding("a", offsite="x" * 1000), "is no word"),
        (JobStanding("a", lag_bytes=-1), "cannot lag"),
        (JobStanding("a", lag_seconds=-1.0), "cannot lag"),
        (JobStanding("a", lag_seconds=1e300), "cannot lag"),
    ],
)
def test_what_no_host_of_ours_tells_is_refused(job: JobStanding, words: str) -> None:
    with pytest.raises(RecordError, match=words) as caught:
        load(dump(standing(job)))
    assert len(str(caught.value)) < 80


@pytest.mark.parametrize("name", ["host", "host_id", "version"])
def test_long_names_are_refused(name: str) -> None:
    table = {**json.loads(dump(standing())), name: "x" * 254}
    with pytest.raises(RecordError, match="more than 253"):
        load(json.dumps(table).encode())
