"""When a job is overdue: past its `max_age`, else past twice the longest interval of its schedule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.names import backup_id
from hiveden_backup.host.disk.repository import initialise
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.publish import publish
from hiveden_backup.jobs.schedule.status import JobState, job_status
from tests.support.signing import signing

FINISHED = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
HOUR = 3600.0
JOB = Job(name="app", paths=("/srv",))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with one finished backup of the job, which began ten minutes earlier."""
    directory = initialise(tmp_path / "backups", FINISHED)[0]
    began = FINISHED - timedelta(minutes=10)
    manifest = Manifest(backup_id(began), "app", "", "", began, FINISHED)
    publish(directory, directory.begin("app", backup_id(began)), manifest, signing(tmp_path / "state"))
    (tmp_path / "config.toml").write_text(f'directory = "{directory.path}"\n[jobs.app]\npaths = ["/srv"]\n')
    return tmp_path


def state(place: Path, job: Job, hours: float) -> JobState:
    """How the job is doing that many hours after its backup was finished."""
    now = FINISHED + timedelta(hours=hours)
    return job_status(Installation(place / "config.toml", place / "state", lambda: now), job).state


@pytest.mark.parametrize(
    ("job", "last_ok"),
    [
        (replace(JOB, schedule=("*-*-* 02:30",)), 48.0),
        (replace(JOB, schedule=("*:00",)), 2.0),
        (replace(JOB, schedule=("Mon 02:30",)), 336.0),
        (replace(JOB, schedule=("Mon,Tue *-*-* 02:30",)), 288.0),  # six days from Tuesday to Monday
        (replace(JOB, max_age=5 * HOUR), 5.0),
        (replace(JOB, schedule=("*-*-* 02:30",), max_age=5 * HOUR), 5.0),
        (replace(JOB, schedule=("*:00",), max_age=50 * HOUR), 50.0),
    ],
)
def test_a_job_is_overdue_from_then_on(place: Path, job: Job, last_ok: float) -> None:
    assert state(place, job, 0.1) is JobState.OK
    assert state(place, job, last_ok) is JobState.OK
    assert state(place, job, last_ok + 0.01) is JobState.OVERDUE


def test_a_job_that_nothing_starts_is_never_overdue(place: Path) -> None:
    assert state(place, JOB, 100_000) is JobState.OK
