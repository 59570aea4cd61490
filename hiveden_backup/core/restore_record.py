"""An in-place restore as a value: what is swapped for what, and how far that is. It is kept as JSON in the state.

The one record tells which way to go after a crash: back while it says `staging`, forward once it says `committed`, and
back again once it says `undoing`.
"""

from datetime import datetime
from enum import StrEnum

from hiveden_backup.core.codec import Codec
from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.identity import Identity

HOLDER_PREFIX = ".hiveden-backup-undo-"
"""How the directories are called that hold staged and replaced trees. Nothing below such a name is ever backed up."""


class Phase(StrEnum):
    """How far an act is. Only when it is committed or being undone, names that are in use change.

    One whose databases came back with differences ends `beside`: nothing was replaced, and they wait to be looked at.
    """

    STAGING = "staging"
    COMMITTED = "committed"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"
    BESIDE = "beside"


@dataclass(frozen=True, slots=True)
class Swap:
    """One path whose content changes, by absolute names on one file system.

    What was at `live` (if it `had` something) goes to `old`, what waits at `new` (if something `comes`) goes to `live`.
    `carried` are paths below `live` that the backup left out: they go along into what comes.
    """

    live: str
    old: str
    new: str
    had: bool
    comes: bool
    carried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dress:
    """A directory that stays while its entries are swapped; owner, mode, times and attributes are those of the others.

    `new` and `old` are directories whose own such attributes `live` gets, forward and back.
    """

    live: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """A path of the backup, where that is on this machine, and the volume whose root it is, if it is one.

    `old` and `new` are where its whole, or the entries of a volume's root, go and come from.
    """

    source: str
    live: str
    old: str
    new: str
    volume: str


@dataclass(frozen=True, slots=True)
class DatabaseSwap:
    """Three names of databases on one server, which `source` tells how to reach; and two oids, 0 where unknown."""

    server: str
    live: str
    staged: str
    kept: str
    oid: int
    replaced: int
    source: PostgresSource


@dataclass(frozen=True, slots=True)
class Known:
    """A directory that an act works in, by its path, and what that was when it was made or looked at."""

    path: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Act:
    """One in-place restore of `backup` (an id), with all that is needed to finish or to reverse it.

    `database` is the one that was asked for, "" for all that the backup has.
    `paths` are those that were asked for, none for all, and `files_only` says that its databases were not.
    `holders` are the directories of ours that hold staged and replaced trees, `made` those directories above restored
    paths that had to be made. `containers` must be down while names change, `servers`, in which the databases are, only
    while those of files do. `keep` is seconds; what is kept is `removing` from when that began after them, and `stuck`
    says why it could not be. `known` are the holders as they were made, and the directories whose entries change, in
    the life of the machine that `boot` tells; before the holders are made, those that they are made in.
    """

    id: str
    job: str
    backup: str
    started: datetime
    phase: Phase = Phase.STAGING
    finished: datetime | None = None
    database: str = ""
    keep: float = 0.0
    stop_timeout: float = 30.0
    start_timeout: float = 300.0
    containers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    places: tuple[Replaced, ...] = ()
    swaps: tuple[Swap, ...] = ()
    dresses: tuple[Dress, ...] = ()
    databases: tuple[DatabaseSwap, ...] = ()
    servers: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    files_only: bool = False
    stuck: str = ""
    removing: bool = False
    known: tuple[Known, ...] = ()
    boot: str = ""

    @property
    def stopped(self) -> tuple[str, ...]:
        """All containers that it stops."""
        return (*self.containers, *self.servers)

    @property
    def pending(self) -> bool:
        """Whether it was broken off, and must be finished before anything else is done with the job."""
        return self.phase not in (Phase.DONE, Phase.UNDONE, Phase.BESIDE)

    @property
    def half_done(self) -> bool:
        """Whether names in use may have changed by half: until it is finished, nothing may run on the mixture."""
        return self.phase in (Phase.COMMITTED, Phase.UNDOING)

    @property
    def goes(self) -> bool:
        """Whether what it keeps may be removed in part: from the beginning; an older record tells only of a failure."""
        return self.removing or bool(self.stuck)

    def expired(self, now: datetime, keep: float) -> bool:
        """Whether what it replaced has been kept for `keep` seconds."""
        return self.finished is not None and not self.pending and (now - self.finished).total_seconds() >= keep


ACTS = Codec(Act, sparse=("servers", "paths", "files_only", "stuck", "removing", "known", "boot"))
"""How acts are kept; version 0.1.0 knew no servers to stop, nor parts of a backup, nor what a directory is.
Paths that are no UTF-8 keep their odd bytes as surrogates."""


def holder_name(job: str, act: str) -> str:
    """The name of the directory in which an act keeps its trees."""
    return f"{HOLDER_PREFIX}{job}-{act}"


def trial_name(job: str, act: str) -> str:
    """The name of the empty directory that tells whether an act's renames will go through."""
    return f"{holder_name(job, act)}.trial"
