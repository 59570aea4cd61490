"""Retention applied: which backups of a job stay and go, and the garbage that leaves with them."""

from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any

from hiveden_backup.core.backup.retention import Decision, decide
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import Retention, Verdict
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.state.records import Records

NEWEST_GOOD = "newest that no verify found damaged"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune decided (for each backup) and removed (`archives` are names relative to the job's directory)."""

    decisions: tuple[Decision, ...]
    archives: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """The decisions as `prune --json` prints them."""
        return [{"id": each.id, "keep": each.keep, "reasons": list(each.reasons)} for each in self.decisions]


def plan(
    directory: BackupDirectory, records: Records, job: str, *, policy: Retention, now: datetime, zone: tzinfo
) -> Pruned:
    """What a prune would decide now. Changes nothing."""
    backups = directory.backups(job)
    good = next((backup for backup in backups if _is_good(directory, records, job, backup)), None)
    decisions = decide(backups, policy, now, zone)
    return Pruned(
        tuple(
            replace(each, keep=True, reasons=(NEWEST_GOOD,)) if each.id == good and not each.keep else each
            for each in decisions
        )
    )


def _is_good(directory: BackupDirectory, records: Records, job: str, backup: str) -> bool:
    """Whether nothing speaks against a backup: its manifest can be read, and no verify found it damaged."""
    try:
        directory.manifest(job, backup)
    except CorruptError:
        return False
    found = records.verification(job, backup)
    return found is None or found.result is not Verdict.CORRUPT


def prune(
    directory: BackupDirectory, records: Records, job: str, *, policy: Retention, now: datetime, zone: tzinfo
) -> Pruned:
    """Remove what the policy lets go, then the archives that nothing names. The caller holds the job's lock."""
    planned = plan(directory, records, job, policy=policy, now=now, zone=zone)
    with translated(f"pruning the backups of {job}"):
        failpoint("prune")
        for decision in planned.decisions:
            if not decision.keep:
                directory.delete(job, decision.id)
        return Pruned(planned.decisions, _collect_garbage(directory, records, job))


def delete(directory: BackupDirectory, records: Records, job: str, backup: str) -> tuple[str, ...]:
    """Remove one backup and the archives that nothing names any more; their names. The caller holds the job's lock."""
    with translated(f"deleting {job}/{backup}"):
        directory.delete(job, backup)
        return _collect_garbage(directory, records, job)


def _collect_garbage(directory: BackupDirectory, records: Records, job: str) -> tuple[str, ...]:
    removed = directory.collect_garbage(job)
    records.forget(job, directory.backups(job), tuple(directory.archives(job)))
    return removed
