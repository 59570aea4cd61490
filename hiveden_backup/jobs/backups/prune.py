"""Retention applied: which backups of a job stay and go, and the garbage that leaves with them."""

from dataclasses import replace
from typing import Any

from hiveden_backup.core.backup.retention import Decision, decide_known
from hiveden_backup.core.backup.unusual import waiting
from hiveden_backup.core.config.values import Job, Retention
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import Verdict
from hiveden_backup.core.names import backup_time
from hiveden_backup.host.clock import local_zone
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.host.state.records import Records
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.counted import Counted, counted
from hiveden_backup.jobs.backups.ownership import OwnJob, check_owner, owned
from hiveden_backup.jobs.backups.signing import changes, leaving
from hiveden_backup.jobs.installation import Installation

NEWEST_GOOD = "newest that no verify found damaged"
NOT_MADE_HERE = "not made here"
CHANGED = "not what this host made"
OLDER = "older than {unusual}, which is unusual: hiveden-backup accept {job}"


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune decided (for each backup) and removed (`archives` are names relative to the job's directory)."""

    decisions: tuple[Decision, ...]
    archives: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """The decisions as `prune --json` prints them."""
        return [{"id": each.id, "keep": each.keep, "reasons": list(each.reasons)} for each in self.decisions]


def plan(installation: Installation, directory: BackupDirectory, job: str, policy: Retention) -> Pruning:
    """What a prune of the opened `directory` would decide now. Changes nothing.

    Whatever the policy says, the newest good backup stays, and what is older than the newest unusual one that waits for
    a person: it may be all there is of what was lost. Unusual ones are no exception: only the first of them may have
    what came after the good one, and was lost on a later day. What does not count (see `Counted`) makes nothing go, and
    stays itself. ForeignError, as a prune has it.
    """
    check_owner(installation, directory, job)
    known = counted(installation, directory, job)
    kept_for: dict[str, str] = {}
    for newest in waiting(known.history(), installation.records.accepted(job).backups)[:1]:
        older = known.backups[known.backups.index(newest.id) + 1 :]
        kept_for.update(dict.fromkeys(older, OLDER.format(job=job, unusual=newest.id)))
    for backups in (known.backups, known.own):
        good = next((backup for backup in backups if _is_good(known, installation.records, backup)), None)
        if good is not None:
            kept_for[good] = NEWEST_GOOD
    local = local_zone()
    if local.fault:
        log.warning(f"{local.fault}. UTC is used instead")
    own = known.own
    trusted = frozenset(own)
    found = [backup for backup in known.backups if backup not in trusted]
    decisions = [
        replace(each, keep=True, reasons=(kept_for[each.id],)) if each.id in kept_for and not each.keep else each
        for each in decide_known(own, found, policy, installation.now(), local.zone)
    ]
    decisions.extend(Decision(backup, keep=True, reasons=(_strange(known, backup),)) for backup in known.strange)
    return Pruning(tuple(sorted(decisions, key=lambda each: backup_time(each.id), reverse=True)))


def _strange(known: Counted, backup: str) -> str:
    return CHANGED if known.chain.known(backup) is not None else NOT_MADE_HERE


def _is_good(known: Counted, records: Records, backup: str) -> bool:
    """Whether nothing speaks against a backup: its manifest can be read, and no verify found it damaged."""
    try:
        known.manifest(backup)
    except CorruptError:
        return False
    found = records.verification(known.job, backup)
    return found is None or found.result is not Verdict.CORRUPT


def prune(installation: Installation, job: OwnJob, policy: Retention) -> Pruning:
    """Remove what the policy lets go, then the archives that nothing names."""
    directory = job.directory
    planned = plan(installation, directory, job.name, policy)
    with translated(f"pruning the backups of {job.name}"):
        failpoint("prune")
        going = [decision.id for decision in planned.decisions if not decision.keep]
        leaving(installation, directory, job.locked, going)
        for backup in going:
            directory.delete(job.name, backup)
            failpoint("remove")
        return Pruning(planned.decisions, _collect_garbage(installation, job))


def prune_job(installation: Installation, job: Job) -> Pruning:
    """Prune by hand: lock the job, and apply its policy."""
    with job_lock(installation.state, job.name) as locked:
        return prune(installation, owned(installation, installation.directory, locked), job.retention)


def delete(installation: Installation, backup: Backup) -> tuple[str, ...]:
    """Remove one backup and the archives that nothing names any more; their names."""
    directory = installation.directory
    with job_lock(installation.state, backup.job) as locked, translated(f"deleting {backup}"):
        job = owned(installation, directory, locked)
        if directory.backup_path(job.name, backup.id).is_dir():  # else it is said that it is not there
            leaving(installation, directory, job.locked, [backup.id])
        directory.delete(job.name, backup.id)
        return _collect_garbage(installation, job)


def _collect_garbage(installation: Installation, job: OwnJob) -> tuple[str, ...]:
    directory = job.directory
    removed = collect_garbage(installation, directory, job.name)
    installation.records.forget(job.name, directory.backups(job.name), tuple(directory.archives(job.name)))
    return removed


def collect_garbage(installation: Installation, directory: BackupDirectory, job: str) -> tuple[str, ...]:
    """Remove the archives that nothing in the job's directory names; their names. CorruptError.

    None goes while a backup is not as this host left it: what it needs, or does when it comes back, cannot be told. Nor
    while what a broken-off run archived waits for the next one.
    """
    if installation.broken_off(job).exists():
        return ()
    said = changes(installation, directory, job)
    if said:
        log.warning(
            f"Archives that no backup names are kept. {said[0]}. If that is meant: hiveden-backup accept {job}", job=job
        )
        return ()
    known = counted(installation, directory, job)
    return directory.collect_garbage(job, {backup: known.sums(backup) for backup in known.backups})
