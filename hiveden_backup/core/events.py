"""What happens, as values: the one list of events. Log and journal are views of it. No I/O.

A kind of event has a MESSAGE_ID that never changes, and an entry by that in systemd/hiveden-backup.catalog.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import ClassVar, Self, TypedDict, cast

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import Result
from hiveden_backup.core.progress import Step
from hiveden_backup.core.shown import printable, printable_lines


class Kind(StrEnum):
    """The kinds of events; none can be without its id."""

    STARTED = "started", "7d9fb11a45d8493584bfa1970844df01"
    FINISHED = "finished", "fe5420686588454b8af570bf3ee28d15"
    FAILED = "failed", "c6806dbe48d546878fbb7257fe41cfcd"
    CONTAINER_STOPPED = "container-stopped", "1ab7baec5d444e578186fca884bb4903"
    CONTAINER_STARTED = "container-started", "dd036ddb1394466b9817319cbb29bf11"
    RECOVERED = "recovered", "a5b6406c5b3843f0a3c1b58c0f44fa9d"
    PRUNED = "pruned", "f02fff0aa51949a291422a2e8e95c48f"
    RESTORED = "restored", "de3313a4f737467a80c3830a46f575e3"
    UNDONE = "undone", "2c998a24367f411da679d8b0ccde52c6"
    UNUSUAL = "unusual", "def6d6e9ffe145fa899e000e7255eb22"

    message_id: str

    def __new__(cls, word: str, message_id: str) -> Self:
        """A member that is its word, and has the id."""
        kind = str.__new__(cls, word)
        kind._value_ = word
        kind.message_id = message_id
        return kind


class Level(IntEnum):
    """How much attention a line of the log deserves; the numbers are those of Python's `logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Facts(TypedDict, total=False):
    """What a line of the log, or an event, may be about beside its words; None is not known."""

    job: str | None
    backup: str | None
    phase: Step | None
    container: str | None
    artifact: str | None
    bytes: int | None
    seconds: float | None
    downtime_seconds: float | None
    result: StrEnum | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log, or an event as one. Only events have a kind."""

    level: Level
    message: str
    facts: Facts
    kind: Kind | None = None


# ---- the events ------------------------------------------------------------------------------------------------------


class Event:
    """Something that happened. `says` is its message, with the fields of the event (`{0}`) in it."""

    __slots__ = ()
    kind: ClassVar[Kind]
    says: ClassVar[str]

    @property
    def level(self) -> Level:
        """How much attention it deserves."""
        return Level.INFO

    @property
    def message(self) -> str:
        """What a person reads: one line."""
        return printable(self.says.format(self))

    @property
    def entry(self) -> Entry:
        """The event for the log, with those of its fields that have the name of a fact."""
        known = ((name, getattr(self, name, None)) for name in _FIELDS)
        facts = cast("Facts", {name: value for name, value in known if value is not None})
        return Entry(self.level, self.message, facts, self.kind)


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A run of a job began."""

    kind = Kind.STARTED
    says = "Started"

    job: str
    result: Result = Result.RUNNING


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A run made a backup, which is complete and listed. `exit_code` is not 0 when something else failed."""

    kind = Kind.FINISHED
    says = "Finished backup {0.backup}"

    job: str
    backup: str
    bytes: int
    seconds: float
    result: Result
    exit_code: int


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """What a job, or a command, could not do. `result` is that of the run, or what became of the container."""

    kind = Kind.FAILED
    says = "{0.error}"

    error: str
    exit_code: int
    job: str | None = None
    backup: str | None = None
    container: str | None = None
    result: StrEnum | None = None

    @property
    def message(self) -> str:
        """What a person reads: an error may have lines of its own."""
        return printable_lines(self.error)

    @property
    def level(self) -> Level:
        """How much attention it deserves."""
        return Level.ERROR


@dataclass(frozen=True, slots=True)
class ContainerStopped(Event):
    """A container was stopped, for as long as it takes to read or to swap what it uses."""

    kind = Kind.CONTAINER_STOPPED
    says = "Stopped container {0.container}"

    job: str
    container: str


@dataclass(frozen=True, slots=True)
class ContainerStarted(Event):
    """A container that was stopped runs again."""

    kind = Kind.CONTAINER_STARTED
    says = "Started container {0.container}"

    job: str
    container: str
    downtime_seconds: float


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """What a killed run or a broken off restore left was put right, or `failed` to be, as `outcome` tells."""

    kind = Kind.RECOVERED
    says = "{0.outcome}"

    job: str
    outcome: str
    container: str | None = None
    result: StrEnum | None = None
    failed: bool = False

    @property
    def level(self) -> Level:
        """How much attention it deserves."""
        return Level.ERROR if self.failed else Level.WARNING


@dataclass(frozen=True, slots=True)
class Unusual(Event):
    """A backup lost or changed so much that nothing older goes until a person accepts it; `sentences` say what."""

    kind = Kind.UNUSUAL
    says = "The backup {0.backup} is unusual: {0.sentences}. If that is meant: hiveden-backup accept {0.job}"

    job: str
    backup: str
    sentences: str

    @property
    def level(self) -> Level:
        """How much attention it deserves."""
        return Level.WARNING


@dataclass(frozen=True, slots=True)
class Pruned(Event):
    """Retention let backups go, and with them archives that nothing needs any more."""

    kind = Kind.PRUNED
    says = "Pruned {0.backups} backups and {0.archives} archives"

    job: str
    backups: int
    archives: int


@dataclass(frozen=True, slots=True)
class Restored(Event):
    """A backup, or a database of it, was swapped for what was there."""

    kind = Kind.RESTORED
    says = "Restored {0.job}/{0.backup} in place"

    job: str
    backup: str


@dataclass(frozen=True, slots=True)
class Undone(Event):
    """What an in-place restore of a backup had replaced is back."""

    kind = Kind.UNDONE
    says = "Reversed the in-place restore of {0.backup}"

    job: str
    backup: str


# ---- as the journal wants them ---------------------------------------------------------------------------------------

_PRIORITIES = {Level.DEBUG: "7", Level.INFO: "6", Level.WARNING: "4", Level.ERROR: "3"}
_MICROSECONDS = 1_000_000
_FIELDS = {
    "job": "HIVEDEN_JOB",
    "backup": "HIVEDEN_BACKUP",
    "phase": "HIVEDEN_PHASE",
    "container": "HIVEDEN_CONTAINER",
    "artifact": "HIVEDEN_ARTIFACT",
    "bytes": "HIVEDEN_BYTES",
    "seconds": "HIVEDEN_DURATION_USEC",
    "downtime_seconds": "HIVEDEN_DURATION_USEC",
    "result": "HIVEDEN_RESULT",
    "exit_code": "HIVEDEN_EXIT_CODE",
}


def journal_fields(entry: Entry) -> Mapping[str, str]:
    """The fields of an entry of the journal."""
    fields = {"MESSAGE": entry.message, "PRIORITY": _PRIORITIES[entry.level], "SYSLOG_IDENTIFIER": "hiveden-backup"}
    if entry.kind is not None:
        fields["MESSAGE_ID"] = entry.kind.message_id
    for name, value in entry.facts.items():
        if value is not None:
            fields[_FIELDS[name]] = str(_microseconds(value)) if name.endswith("seconds") else str(value)
    return fields


def _microseconds(seconds: object) -> int:
    return round(seconds * _MICROSECONDS) if isinstance(seconds, (int, float)) else 0
