"""Finished backups on their way to offsites, newest first; several offsites at once, none in the way of a run.

No listing is needed to know what is there: the journal tells. A push that was killed goes on within one slice.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiveden_backup.core.backup import layout as here
from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, CorruptError, StorageError, UsageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.names import backup_time
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line
from hiveden_backup.core.offsite.plan import next_try
from hiveden_backup.core.offsite.sums import ArchiveSums, BackupSums, Content, Piece
from hiveden_backup.core.progress import Step
from hiveden_backup.host.disk.durable import read_regular, translated
from hiveden_backup.host.disk.repository import BackupDirectory, stored_file
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.offsites import LockedOffsite, Offsites, offsite_lock
from hiveden_backup.jobs.backups.counted import Counted
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import Draft, draft, jobs_there, missing
from hiveden_backup.jobs.offsite.evict import evict_if_wanted
from hiveden_backup.jobs.offsite.place import claimed
from hiveden_backup.jobs.offsite.prune import Pruned, prune_if_wanted
from hiveden_backup.jobs.offsite.sending import Sending, sweep_spool
from hiveden_backup.jobs.offsite.upkeep import is_due, keep_up, read_some
from hiveden_backup.jobs.offsite.visit import Visit
from hiveden_backup.jobs.services.at_once import several

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_MOST_AT_ONCE = 8


@dataclass(slots=True)
class Pushed:
    """What came of one job at one offsite. `backups` are complete there since now, `skipped` were pruned meanwhile.

    So many archives are there alone since now, as were `evicted` here. `is_empty` is a job without a backup.
    """

    offsite: str
    job: str
    backups: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    bytes: int = 0
    objects: int = 0
    errors: list[BackupError] = field(default_factory=list)
    pruned: Pruned | None = None
    evicted: int = 0
    is_empty: bool = False

    def table(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "offsite": self.offsite,
            "job": self.job,
            "backups": self.backups,
            "skipped": self.skipped,
            "bytes": self.bytes,
            "objects": self.objects,
            "removed": self.pruned.objects if self.pruned is not None else 0,
            "evicted": self.evicted,
            "errors": [str(error) for error in self.errors],
        }


def push(installation: Installation, offsites: Sequence[Offsite], jobs: Sequence[Job]) -> list[Pushed]:
    """Send what is to be there and is not. What fails is in the results: other offsites, jobs and backups go on.

    UsageError when none of the jobs goes to one of the offsites.
    """
    wanted = [(offsite, jobs_there(installation, offsite, jobs)) for offsite in offsites]
    wanted = [(offsite, some) for offsite, some in wanted if some]
    if not wanted:
        names, places = ", ".join(job.name for job in jobs), ", ".join(each.name for each in offsites)
        raise UsageError(f"Nothing of {names} goes to {places}", "Their `offsite` does not name it")
    drafts = {(offsite.name, job.name): draft(installation, offsite, job) for offsite, some in wanted for job in some}
    total = sum(each.bytes for each in drafts.values() if isinstance(each, Draft))
    installation.progress.begin(Step.OFFSITE, total)

    def act(each: tuple[Offsite, tuple[Job, ...]], brake: Brake) -> list[Pushed]:
        offsite, some = each
        return _push_to(installation, offsite, [(job, drafts[offsite.name, job.name]) for job in some], brake)

    return [each for some in several(wanted, act, _MOST_AT_ONCE) for each in some]


# ---- at one offsite


def _push_to(
    installation: Installation,
    offsite: Offsite,
    drafts: Sequence[tuple[Job, "Draft | BackupError"]],
    brake: Brake,
) -> list[Pushed]:
    results = [Pushed(offsite.name, job.name) for job, _ in drafts]
    try:
        with offsite_lock(installation.state, offsite.name) as locked:
            remote = Remote(offsite, installation.state, brake=brake)
            sweep_spool(installation, locked)
            try:
                _push_jobs(installation, locked, remote, list(zip(drafts, results, strict=True)))
            finally:
                sweep_spool(installation, locked)
    except BackupError as error:
        brake.insist()
        results[0].errors.append(error)
    return results


def _push_jobs(
    installation: Installation,
    locked: LockedOffsite,
    remote: Remote,
    drafts: Sequence[tuple[tuple[Job, "Draft | BackupError"], Pushed]],
) -> None:
    drafts, to_read = _compared(installation, locked, remote, drafts)
    host, away = "", None
    for (job, planned), pushed in drafts:
        try:
            if isinstance(planned, BackupError):
                raise planned
            pushed.is_empty = not planned.known.backups
            if not planned.is_empty and away is not None:
                raise away  # it need not be asked again
            if not planned.is_empty and not host:
                host = claimed(installation, locked, remote)
            _push_job(installation, locked, remote, host, (planned, pushed))
        except BackupError as error:
            remote.brake.insist()
            away = error if not isinstance(planned, BackupError) else away
            pushed.errors.append(error)
        _remember(installation, locked, job.name, planned, pushed)
    for visit in to_read if away is None else ():
        read_some(visit)


def _compared(
    installation: Installation,
    locked: LockedOffsite,
    remote: Remote,
    drafts: Sequence[tuple[tuple[Job, "Draft | BackupError"], Pushed]],
) -> tuple[list[tuple[tuple[Job, "Draft | BackupError"], Pushed]], list[Visit]]:
    """Compare what is there where that is due: the drafts as they are then, and what is to be read back."""
    found, visits, is_away = list[tuple[tuple[Job, "Draft | BackupError"], Pushed]](), list[Visit](), False
    for (job, planned), pushed in drafts:
        now_planned = planned
        if isinstance(planned, Draft) and not is_away and is_due(installation, remote.offsite, job.name):
            try:
                visit = Visit(installation, remote, locked, claimed(installation, locked, remote), job.name)
                visits += [visit] if visit.facts().reconciled is not None else []  # else it was only just sent
                error = keep_up(visit)
                pushed.errors += [error] if error is not None else []
                now_planned = draft(installation, remote.offsite, job)
            except BackupError as error:
                remote.brake.insist()
                now_planned, is_away = error, True
        found.append(((job, now_planned), pushed))
    return found, visits


def _push_job(
    installation: Installation, locked: LockedOffsite, remote: Remote, host: str, draft_and_result: tuple[Draft, Pushed]
) -> None:
    """Send one job's backups. What is wrong with one of them is noted, the others go on; what else fails is raised."""
    planned, pushed = draft_and_result
    offsites, name = Offsites(installation.state), planned.job.name
    there = offsites.there(locked.name, name)
    if there.is_long:
        offsites.rewrite(locked, name, there)
    sending = Sending(installation, locked, remote, host, name, there, remote.brake)
    try:
        for backup in planned.backups:
            try:
                with translated("pushing"):
                    failpoint("push")
                _Backup(planned.known, sending, backup).send()
                pushed.backups.append(backup)
                log.info(f"{backup} is at the offsite {locked.name}", job=name, backup=backup)
            except BackupError as error:
                if not planned.known.directory.backup_path(name, backup).is_dir():  # it was pruned meanwhile
                    remote.brake.insist()
                    BackupDirectory.open(planned.known.directory.path)  # unless all of them are gone, with the disk
                    pushed.skipped.append(backup)
                    log.info(f"{backup} was removed while it was on its way to {locked.name}", job=name)
                elif isinstance(error, CorruptError):
                    pushed.errors.append(error)
                else:
                    raise
        _send_early(planned, sending, pushed)
    finally:
        pushed.bytes, pushed.objects = sending.sent, sending.objects
    pushed.pruned = prune_if_wanted(installation, locked, remote, planned.job)
    pushed.evicted = len(evict_if_wanted(installation, locked, remote, planned.job))


def _send_early(planned: Draft, sending: Sending, pushed: Pushed) -> None:
    """Send what no backup needs yet. What is not here any more was removed with the run that had made it."""
    directory, job = planned.known.directory, planned.job.name
    for archive in planned.early:
        try:
            _send_archive(directory, sending, Content(archive.path, archive.bytes, archive.sha256))
        except BackupError as error:
            sending.brake.insist()
            BackupDirectory.open(directory.path)
            if not (directory.job_path(job) / archive.path).is_file():
                continue
            if not isinstance(error, CorruptError):
                raise
            pushed.errors.append(error)


def _send_archive(directory: BackupDirectory, sending: Sending, archive: Content) -> None:
    """Send an archive of the job in slices, and what says that it is complete there, unless it is."""
    sums = layout.archive_sums(archive.path)
    known = sending.there.objects.get(sums)
    if known is not None and known.plain_sha256 in ("", archive.sha256):
        return
    path = directory.job_path(sending.job) / archive.path
    sent = sending.file(path, archive.path, archive, sliced=True)
    content = ArchiveSums(archive, sent, sending.remote.offsite.recipients).dump()
    at = sending.installation.now()
    sending.small(content, Line(at, Did.PUT, sums, plain_bytes=archive.bytes, plain_sha256=archive.sha256))


def _remember(
    installation: Installation, locked: LockedOffsite, job: str, planned: "Draft | BackupError", pushed: Pushed
) -> None:
    """Note how it stands with a job there."""
    offsites, now = Offsites(installation.state), installation.now()
    try:
        facts = offsites.facts(locked.name, job)
    except StorageError as unread:  # it stays as it is, for a person
        pushed.errors += [] if pushed.errors else [unread]
        return
    if not pushed.errors:
        offsites.put_facts(
            locked,
            job,
            replace(facts, pushed=now, failures=0, error="", next_try=None, waiting_bytes=0, waiting_since=None),
        )
        return
    failures, waits, since = facts.failures + 1, facts.waiting_bytes, facts.waiting_since
    if isinstance(planned, Draft):
        left = [each for each in planned.backups if each not in pushed.backups and each not in pushed.skipped]
        waits = sum(missing(planned.known, offsites.there(locked.name, job), left).values())
        since = min(map(backup_time, left)) if left else since
    error = str(pushed.errors[0])
    tried = next_try(now, failures)
    offsites.put_facts(
        locked,
        job,
        replace(facts, failures=failures, error=error, next_try=tried, waiting_bytes=waits, waiting_since=since),
    )


# ---- one backup


@dataclass(frozen=True, slots=True)
class _Backup:
    """One backup on its way: the archives that are not there, its own files, and what says that it is complete."""

    known: Counted
    sending: Sending
    backup: str

    @property
    def _directory(self) -> BackupDirectory:
        return self.known.directory

    def send(self) -> None:
        """Send it. CorruptError when something of it is not what it was; NotFoundError when it was pruned meanwhile."""
        manifest = self.known.manifest(self.backup)
        self._insist_on_sums()
        needs = tuple(Content(each.path, each.bytes, each.sha256) for each in manifest.archives)
        for archive in needs:
            _send_archive(self._directory, self.sending, archive)
        files = tuple(self._files(manifest))
        sent = [piece for file in files for piece in self._file(file)]
        self._complete(files, needs, sent)

    def _insist_on_sums(self) -> None:
        """CorruptError unless SHA256SUMS is what the sums there say of it, to the byte."""
        sums = here.sums(self.known.sums(self.backup).items())
        if hashlib.sha256(sums).hexdigest() != self.known.chain.backups[self.backup].sums:
            raise CorruptError(
                f"The SHA256SUMS of {self.known.job}/{self.backup} is none that this program writes", "", ""
            )

    def _files(self, manifest: Manifest) -> "list[Content]":
        """All files of the backup, as its SHA256SUMS has them."""
        folder = self._directory.backup_path(manifest.job, manifest.id)
        found = []
        for name, digest in self.known.sums(self.backup).items():
            with stored_file(folder / name) as file:
                found.append(Content(name, file.seek(0, 2), digest))
        return found

    def _file(self, file: Content) -> tuple[Piece, ...]:
        path = self._directory.backup_path(self.known.job, self.backup) / file.path
        return self.sending.file(path, f"{self.backup}/{file.path}", file, sliced=False)

    def _complete(self, files: Sequence[Content], needs: Sequence[Content], sent: Sequence[Piece]) -> None:
        path: Path = self._directory.backup_path(self.known.job, self.backup) / here.SIGNATURE
        signature = b""
        if path.exists():
            with translated(f"reading {path}"):
                signature = read_regular(path, here.LONGEST_SIGNATURE)
        made = BackupSums(
            self.known.job,
            self.backup,
            tuple(files),
            tuple(needs),
            tuple(sent),
            signature,
            self.sending.remote.offsite.recipients,
        )
        weight = sum(each.bytes for each in files)
        named = tuple(each.path for each in needs)
        at = self.sending.installation.now()
        self.sending.small(
            made.dump(), Line(at, Did.PUT, layout.backup_sums(self.backup), plain_bytes=weight, needs=named)
        )
