"""What goes over the wire, by name and type. pydantic 1 and 2 both read it."""

from typing import Any

from pydantic import BaseModel, Field

from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.backup.signature import Signed
from hiveden_backup.core.model import ArtifactType, PruneResult, Result, RunKind, Trigger, Verdict
from hiveden_backup.jobs.schedule.offsite_status import OffsiteState
from hiveden_backup.jobs.schedule.status import JobState

_LONGEST = 4096


class Verified(BaseModel):
    """What the last verify of a backup found. `archives_read` is since when it has read all of its archives."""

    at: str
    result: Verdict
    archives_read: str | None = None


class Signature(BaseModel):
    """Whose a backup is."""

    state: Signed
    fingerprint: str | None
    adopted: bool


class Artifact(BaseModel):
    """One restorable thing in a backup. `mtime` is when the backup was finished, as Unix time."""

    path: str
    filename: str
    type: ArtifactType
    target: str
    timestamp: str
    size: int
    mtime: float
    id: str
    job: str
    verified: Verified | None


class Target(BaseModel):
    """What is to be backed up: a job's name, a database's name, or the path that an application was made from."""

    type: ArtifactType
    target: str = Field(min_length=1, max_length=_LONGEST)
    source_dirs: list[str] | None = None
    container_name: str | None = Field(None, max_length=_LONGEST)


class Made(BaseModel):
    """A backup that was made."""

    path: str
    message: str
    id: str


class Accepted(BaseModel):
    """Something that goes on; ask for it at `/runs/{run}`."""

    run: str
    message: str


class Done(BaseModel):
    """Something that is done. `run` names what did it."""

    message: str
    run: str


class Restore(BaseModel):
    """What is to be restored, and where to: a new or empty directory, or a database."""

    backup_file: str = Field(min_length=1, max_length=_LONGEST)
    target: str = Field(min_length=1, max_length=_LONGEST)
    type: ArtifactType


class Settings(BaseModel):
    """The backup directory, and how many of the newest backups are kept; what is left out of a PUT stays."""

    directory: str | None = Field(None, min_length=1, max_length=_LONGEST)
    retention_count: int | None = Field(None, ge=1, le=1_000_000)


class NewSchedule(Target):
    """When a target is to be backed up: five cron fields, or a systemd calendar."""

    cron: str = Field(min_length=1, max_length=_LONGEST)


class Schedule(BaseModel):
    """When a job runs by itself; `id` is the job's name."""

    id: str
    cron: str
    type: ArtifactType
    target: str
    container_name: str | None = None
    source_dirs: list[str] | None = None


class Job(BaseModel):
    """A job of the configuration. `cron` is null where cron cannot say what `schedule` says."""

    name: str
    schedule: list[str]
    cron: str | None
    paths: list[str]
    volumes: list[str]
    containers: list[str]
    databases: list[str]
    retention: dict[str, Any]


class Offsite(BaseModel):
    """How far a job's backups are at one of its offsites."""

    name: str
    newest: str | None
    lag_seconds: float
    lag_bytes: int
    state: OffsiteState
    reconciled: str | None
    damaged: int


class Status(BaseModel):
    """How a job is doing."""

    job: str
    state: JobState
    result: Result | None
    last_run: str | None
    last_success: str | None
    age_seconds: float | None
    size: int | None
    downtime_seconds: float | None
    next_run: str | None
    verified: Verified | None
    attention: list[str]
    signature: Signature | None
    offsite: list[Offsite]
    where: Place | None


class Run(BaseModel):
    """One run of a job, or another thing that a client asked for; that has no job's figures."""

    id: str
    job: str | None = None
    started: str | None = None
    finished: str | None = None
    result: Result
    exit_code: int | None = None
    error: str = ""
    backup: str | None = None
    bytes: int | None = None
    downtime_seconds: float | None = None
    prune: PruneResult | None = None
    trigger: Trigger | None = None
    warnings: list[str] = []
    kind: RunKind = RunKind.RUN


class Health(BaseModel):
    """The API answers."""

    status: str
    version: str
