"""The values that travel between the rooms: backups, artifacts, runs, findings.

Moments are aware datetimes in UTC; sizes are bytes.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from hiveden_backup.core.dataclass import dataclass, field

FORMAT = 1
"""The version of the backup directory's format that this program writes."""

# ---- a backup ------------------------------------------------------------------------------------------------------


class ArtifactType(StrEnum):
    """What an artifact restores to."""

    APPLICATION = "application"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Archive:
    """An immutable `.tar.zst`, by its path relative to the job's directory.

    `live_bytes` and `content_bytes` count what a member weighs in the tar stream (its size and one header):
    those that the naming index lives in, and all that the archive was made of.
    `added` is true in the first backup that names the archive.
    """

    path: str
    bytes: int
    sha256: str
    live_bytes: int
    content_bytes: int
    added: bool


@dataclass(frozen=True, slots=True)
class Root:
    """A top path of the job's files as the passes saw it. `mounts` are the mount points at and below it.

    `mount` is the one that it lies on; "" in backups of version 0.1.0, which did not record it.
    """

    path: str
    device: int
    filesystem: str
    mounts: tuple[str, ...] = ()
    mount: str = ""


@dataclass(frozen=True, slots=True)
class NamedVolume:
    """A Docker volume of the job, as it was made: its labels, and its driver's options without what may be secret."""

    name: str
    labels: Mapping[str, str]
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoppedContainer:
    """A container that was stopped for the cold pass. `digest` is the image's id."""

    name: str
    image: str
    digest: str
    downtime_seconds: float


def longest_downtime(containers: Iterable[StoppedContainer]) -> float:
    """The longest time that any of them was down."""
    return max((container.downtime_seconds for container in containers), default=0.0)


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file in the backup's directory that belongs to an artifact."""

    file: str
    bytes: int
    uncompressed_bytes: int
    sha256: str


class SourceKind(StrEnum):
    """What an artifact's content was taken from."""

    PATH = "path"
    VOLUME = "volume"
    CONTAINER = "container"
    DSN = "dsn"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an artifact came from; `path` where it has one."""

    kind: SourceKind
    name: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension that a database had."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table (schema-qualified) and its rows at the dump's snapshot; None when they could not be counted."""

    name: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege on a database. `grantee` "" is PUBLIC."""

    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """What `ALTER DATABASE ... SET` or, for one `role`, `ALTER ROLE ... IN DATABASE ... SET` left.

    `value` is as PostgreSQL stores it; None when it may be a secret, which only the dump has.
    """

    role: str
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a database was made with: all that CREATE DATABASE needs, what belongs to it as a whole, its tables.

    `locale` is LC_COLLATE; `locale_provider` is `libc`, `icu` or `builtin`; `icu_locale` only with the latter two.
    `grants` None means PostgreSQL's own defaults; `roles` are all that its content belongs or is granted to.
    The fields from `icu_rules` on have their defaults in backups of version 0.1.0, which did not record them.
    """

    server_version: str
    encoding: str
    locale: str
    ctype: str
    locale_provider: str
    icu_locale: str
    owner: str
    extensions: tuple[Extension, ...] = ()
    tables: tuple[Table, ...] = ()
    icu_rules: str = ""
    tablespace: str = ""
    connection_limit: int = -1
    comment: str = ""
    grants: tuple[Grant, ...] | None = None
    settings: tuple[Setting, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """One restorable thing in a backup. `server` is "" for an application; `entries` are paths, or tables."""

    type: ArtifactType
    target: str
    server: str
    files: tuple[ArtifactFile, ...]
    entries: int
    sources: tuple[Source, ...]
    database: DatabaseFacts | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The host whose runs a job's directory belongs to: `host_id` tells it from others, `host` is its name today."""

    host_id: str
    host: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a finished backup. `taken_ns` is the index's T (Unix time), 0 without files.

    `volumes` is empty in backups of version 0.1.0, which did not record them. `unusual` says what it lost or changed
    against the backup before, a sentence each; None when that was not looked at.
    `owner` is the host that made it; None in those from before there were owners.
    """

    id: str
    job: str
    host: str
    version: str
    started: datetime
    finished: datetime
    taken_ns: int = 0
    archives: tuple[Archive, ...] = ()
    roots: tuple[Root, ...] = ()
    volumes: tuple[NamedVolume, ...] = ()
    containers: tuple[StoppedContainer, ...] = ()
    job_config: Mapping[str, object] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    warnings: tuple[str, ...] = ()
    unusual: tuple[str, ...] | None = None
    format: int = FORMAT
    owner: Owner | None = None

    @property
    def downtime_seconds(self) -> float:
        """The longest time that any container of the job was down."""
        return longest_downtime(self.containers)

    @property
    def paths(self) -> int:
        """How many paths of files it has."""
        return sum(each.entries for each in self.artifacts if each.type is ArtifactType.APPLICATION)

    @property
    def live_bytes(self) -> int:
        """What its files weigh."""
        return sum(archive.live_bytes for archive in self.archives)


# ---- a run ---------------------------------------------------------------------------------------------------------


class Trigger(StrEnum):
    """What made a run."""

    MANUAL = "manual"
    TIMER = "timer"
    OFFSITE = "offsite"
    API = "api"


class RunKind(StrEnum):
    """What leaves a record."""

    RUN = "run"
    RESTORE = "restore"
    UNDO = "undo"


class Result(StrEnum):
    """How a run ended. `partial` is a published backup with something left to put right."""

    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


class PruneResult(StrEnum):
    """What became of the prune at a run's end; one that made no backup has none."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(StrEnum):
    """What verify says of a backup. `inconclusive` is one that cannot be decoded here: that is said, not remembered."""

    OK = "ok"
    CORRUPT = "corrupt"
    INCONCLUSIVE = "inconclusive"


# ---- what a check says ---------------------------------------------------------------------------------------------


class Status(StrEnum):
    """The outcome of one check."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Check(StrEnum):
    """What is looked at before a run."""

    TOOLS = "tools"
    DIRECTORY = "directory"
    DOCKER = "docker"
    CONTAINER = "container"
    PATH = "path"
    VOLUME = "volume"
    POSTGRES = "postgres"
    SPACE = "space"
    FILES = "files"
    EXCLUDE = "exclude"
    LIVE_DATABASE = "live database"
    SCHEDULE = "schedule"
    TIMER = "timer"
    OFFSITE = "offsite"
    RECOVERY_KIT = "recovery kit"
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `check`. `exit_code` is what a run ends with when this FAIL is the reason; it is not printed."""

    job: str
    name: Check
    status: Status
    message: str
    hint: str = ""
    exit_code: int = 1
