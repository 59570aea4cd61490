"""What hosts that send to one place tell of themselves there, in the clear, for who looks after all of them.

It is small, not signed, and written by whoever may write there: it is shown, and nothing is decided by it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.names import is_backup_id, is_job_name, iso

LATE = timedelta(days=2)
"""What has not been heard of, or sent, for so long, somebody should look at."""

_AHEAD = timedelta(hours=1)
_LONGEST_WORD, _LONGEST_NAME = 40, 253
_LONGEST_LAG = 100 * 365 * 86400.0
_FINE = frozenset({"", "success", "running", "busy"})
_STATES_FINE = frozenset({"", "ok", "running", "never", "waiting"})


@dataclass(frozen=True, slots=True)
class JobStanding:
    """One job of a host: the newest backup that is complete there, how its last run ended, and what is not there yet.

    `lag_seconds` is for how long the oldest backup that is still to be sent has been waiting. `state` is in a word how
    the job stands there, `offsite` how it stands with this place: why, that host's own status says, as what programs
    and places say may have more in it than everybody should read who can read there.
    """

    job: str
    newest: str | None = None
    result: str = ""
    lag_seconds: float = 0.0
    lag_bytes: int = 0
    state: str = ""
    offsite: str = ""


@dataclass(frozen=True, slots=True)
class HostStanding:
    """One host, as of `at`."""

    host: str
    host_id: str
    version: str
    at: datetime
    jobs: tuple[JobStanding, ...] = ()
    format: int = 1


_STANDINGS = Codec(HostStanding)


def dump(standing: HostStanding) -> bytes:
    """The object that tells of a host."""
    return _STANDINGS.dump(standing)


def load(data: bytes) -> HostStanding:
    """The inverse of `dump`. RecordError."""
    standing = _STANDINGS.load(data)
    if standing.format != 1:
        raise RecordError(f"it has the format {standing.format}, of a newer version")
    for job in standing.jobs:
        _insist_on_sense(job)
    if any(len(name) > _LONGEST_NAME for name in (standing.host, standing.host_id, standing.version)):
        raise RecordError(f"it has a name of more than {_LONGEST_NAME} characters")
    return standing


def _insist_on_sense(job: JobStanding) -> None:
    """RecordError for what no host of ours tells: it would fill a page, or be added to what others tell."""
    if not is_job_name(job.job):
        raise RecordError(f"{job.job:.{_LONGEST_WORD}} is no job's name")
    if job.newest is not None and not is_backup_id(job.newest):
        raise RecordError(f"{job.newest:.{_LONGEST_WORD}} is no backup")
    if not (0 <= job.lag_seconds <= _LONGEST_LAG and job.lag_bytes >= 0):
        raise RecordError(f"{job.job} cannot lag by that much")
    if long := next((word for word in (job.result, job.state, job.offsite) if len(word) > _LONGEST_WORD), None):
        raise RecordError(f"{long:.{_LONGEST_WORD}}... is no word")


class State(StrEnum):
    """How a host is doing; the later of these counts."""

    OK = "ok"
    ATTENTION = "attention"
    LATE = "late"
    FAILING = "failing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One host for `fleet`. `name` is what it is called there; `standing` None when what it wrote cannot be read."""

    name: str
    state: State
    standing: HostStanding | None
    age_seconds: float | None = None
    lag_seconds: float = 0.0
    lag_bytes: int = 0
    newest: str | None = None
    attention: tuple[str, ...] = ()

    def table(self) -> dict[str, Any]:
        """The row as `fleet --json` prints it."""
        found = self.standing
        return {
            "name": self.name,
            "host": found.host if found is not None else None,
            "host_id": found.host_id if found is not None else None,
            "version": found.version if found is not None else None,
            "at": iso(found.at) if found is not None else None,
            "state": self.state,
            "age_seconds": self.age_seconds,
            "newest": self.newest,
            "lag_seconds": self.lag_seconds,
            "lag_bytes": self.lag_bytes,
            "jobs": [_job_table(job) for job in found.jobs] if found is not None else [],
            "attention": list(self.attention),
        }


def _job_table(job: JobStanding) -> dict[str, Any]:
    return {
        "job": job.job,
        "newest": job.newest,
        "result": job.result or None,
        "lag_seconds": job.lag_seconds,
        "lag_bytes": job.lag_bytes,
        "state": job.state or None,
        "offsite": job.offsite or None,
    }


def unreadable(name: str, why: str) -> FleetRow:
    """A host of whom nothing is known but that there is something."""
    return FleetRow(name, State.UNREADABLE, None, attention=(f"What it tells of itself cannot be read: {why}",))


def row(name: str, standing: HostStanding, now: datetime) -> FleetRow:
    """What a host tells of itself, as of now: what lagged when it told lags for longer by now."""
    age = now - standing.at
    lags = [job.lag_seconds + max(age.total_seconds(), 0.0) for job in standing.jobs if job.lag_seconds > 0]
    lag = max(lags, default=0.0)
    failing = [f"{job.job}: its last run ended as {job.result}" for job in standing.jobs if job.result not in _FINE]
    late = list(_late(age, lag))
    said = list(_said(standing.jobs))
    state = State.FAILING if failing else State.LATE if late else State.ATTENTION if said else State.OK
    return FleetRow(
        name,
        state,
        standing,
        age.total_seconds(),
        lag,
        sum(job.lag_bytes for job in standing.jobs),
        max((job.newest for job in standing.jobs if job.newest is not None), default=None),
        (*failing, *late, *said),
    )


def _said(jobs: Iterable[JobStanding]) -> Iterable[str]:
    for job in jobs:
        words = [] if job.state in _STATES_FINE else [f"its state there is {job.state}"]
        words += [] if job.offsite in _STATES_FINE else [f"its copy here is {job.offsite}"]
        if words:
            yield f"{job.job}: {', '.join(words)}"


def _late(age: timedelta, lag: float) -> Iterable[str]:
    if age < -_AHEAD:
        yield "Its clock, or ours, is wrong: it told that in the future"
    if age > LATE:
        yield f"Nothing was heard of it for {age.days} days"
    if lag > LATE.total_seconds():
        yield f"A backup has been waiting to be sent for {lag / 86400:.0f} days"
