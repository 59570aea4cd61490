"""How far a job's backups are elsewhere, by what this host remembers of its pushes: no place is asked."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.names import backup_time, iso
from hiveden_backup.core.offsite.journal import There
from hiveden_backup.host.state.offsites import Facts, Offsites
from hiveden_backup.jobs.installation import Installation

PATIENCE = 2 * 86400.0
"""How long, in seconds, a backup may wait to be sent where nothing says how often there is one."""


class OffsiteState(StrEnum):
    """How it stands with a job at an offsite; the later of these counts."""

    OK = "ok"
    NEVER = "never"  # nothing is there yet
    WAITING = "waiting"  # a backup is still to be sent
    LATE = "late"  # it has been so for too long
    FAILED = "failed"  # the last push did
    DAMAGED = "damaged"  # what is there is not what was sent, and cannot be sent again


@dataclass(frozen=True, slots=True)
class OffsiteStatus:
    """One offsite of a job. `newest` is the newest of the `backups` that are complete there, `bytes` all that is there.

    `lag_seconds` is how long the first one after it has been waiting to be sent, `lag_bytes` what is to be sent for it.
    """

    name: str
    state: OffsiteState
    newest: str | None
    lag_seconds: float
    lag_bytes: int
    facts: Facts
    backups: int = 0
    bytes: int = 0

    def table(self) -> dict[str, Any]:
        """As `status --json` prints it."""
        reconciled = self.facts.reconciled
        return {
            "name": self.name,
            "newest": self.newest,
            "lag_seconds": self.lag_seconds,
            "lag_bytes": self.lag_bytes,
            "state": self.state,
            "reconciled": iso(reconciled) if reconciled is not None else None,
            "damaged": len(self.facts.damaged),
        }

    @property
    def unlisted(self) -> str:
        """That the place may not be listed, if that is so."""
        if not self.facts.unlisted:
            return ""
        since = self.facts.reconciled
        when = f"was last compared at {iso(since)}" if since is not None else "is not compared with what was sent"
        return f"The key of the offsite {self.name} may not list what is there, so it {when}: {self.facts.unlisted}"

    @property
    def attention(self) -> Iterator[str]:
        """What a person should look at, a sentence each."""
        if self.facts.damaged:
            yield (
                f"{_objects(len(self.facts.damaged))} damaged at the offsite {self.name}, and cannot be sent again:"
                f" hiveden-backup offsite status {self.name}"
            )
        if self.unlisted and self.facts.reconciled is not None:  # a key that never could is meant so
            yield self.unlisted
        if self.facts.failures:
            yield f"Nothing could be sent to the offsite {self.name}. {self.facts.error}"
        elif self.state is OffsiteState.LATE:
            yield (
                f"A backup has been waiting for {self.lag_seconds / 3600:.0f} hours to be sent to the offsite"
                f" {self.name}: hiveden-backup offsite push {self.name}"
            )


def offsite_statuses(
    installation: Installation, job: Job, backups: Sequence[str], newest: Manifest | None, patience: float | None
) -> tuple[OffsiteStatus, ...]:
    """How it stands with each offsite of a job, whose `backups` here are newest first; `newest` is the first of them.

    One that waits for longer than `patience` is late.
    """
    known, here = Offsites(installation.state), _Here(backups, newest, installation.now())
    return tuple(
        _status(
            offsite.name,
            *_remembered(known, offsite, job.name),
            here,
            PATIENCE if patience is None else patience,
        )
        for offsite in installation.config.offsites_of(job)
    )


def _remembered(known: Offsites, offsite: Offsite, job: str) -> tuple[There, Facts]:
    """What is there and how it stands; nothing of a place that it was before.

    Where that cannot be read, nothing is sent, and why not is what failed.
    """
    there = There()
    try:
        place = known.place(offsite.name)
        if place is not None and place.remote != offsite.remote:
            return there, Facts()
        there = known.there(offsite.name, job)
        return there, known.facts(offsite.name, job)
    except StorageError as error:
        return there, Facts(failures=1, error=str(error))


def _objects(count: int) -> str:
    return "1 object is" if count == 1 else f"{count} objects are"


@dataclass(frozen=True, slots=True)
class _Here:
    """What is on this machine, and when."""

    backups: Sequence[str]
    newest: Manifest | None
    now: datetime


def _status(name: str, there: There, facts: Facts, here: _Here, patience: float) -> OffsiteStatus:
    sent = max(there.backups, default=None)
    waiting = [each for each in here.backups if sent is None or each > sent]
    since = backup_time(waiting[-1] if sent is not None else waiting[0]) if waiting else facts.waiting_since
    lag = max((here.now - since).total_seconds(), 0.0) if since is not None else 0.0
    missing = _bytes(here.newest, there) if waiting else facts.waiting_bytes
    state = OffsiteState.OK
    if facts.damaged:
        state = OffsiteState.DAMAGED
    elif facts.failures:
        state = OffsiteState.FAILED
    elif lag > patience:
        state = OffsiteState.LATE
    elif sent is None:
        state = OffsiteState.NEVER
    elif lag or missing:
        state = OffsiteState.WAITING
    whole = there.whole(facts.damaged)
    return OffsiteStatus(name, state, max(whole, default=None), lag, missing, facts, len(whole), there.bytes)


def _bytes(newest: Manifest | None, there: There) -> int:
    """What is to be sent for a backup, as it lies here."""
    if newest is None:
        return 0
    own = sum(file.bytes for artifact in newest.artifacts for file in artifact.files)
    return own + sum(archive.bytes for archive in newest.archives if archive.path not in there.archives)
