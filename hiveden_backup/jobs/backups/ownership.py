"""Whose a job's directory is: what changes it is for its owner alone, who reads and restores from it may be anybody."""

from contextlib import suppress

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DirectoryError
from hiveden_backup.core.model import Owner
from hiveden_backup.host.disk.durable import make_directory, translated
from hiveden_backup.host.disk.owners import claim, owner_of, take_over
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.identity import known_host, this_host
from hiveden_backup.host.state.locks import ExclusiveJob, job_lock
from hiveden_backup.jobs.backups.signing import taken
from hiveden_backup.jobs.installation import Installation


@dataclass(frozen=True, slots=True)
class OwnJob:
    """A locked job whose directory in the opened `directory` is seen to be no other host's.

    `claimed` and `owned` alone make one. `owner` is this host; None where the directory is nobody's yet, which `owned`
    allows.
    """

    locked: ExclusiveJob
    directory: BackupDirectory
    owner: Owner | None

    @property
    def name(self) -> str:
        """The job's name."""
        return self.locked.name


class ForeignError(DirectoryError):
    """The backups of a job belong to another host, whose runs would be disturbed."""

    def __init__(self, directory: BackupDirectory, job: str, owner: Owner, here: Owner) -> None:
        same = owner.host == here.host
        super().__init__(
            f"The backups of {job} in {directory.path} belong to another host, {owner.host} (id {owner.host_id})",
            f"This is {here.host}, with the id {here.host_id or '(none yet)'}"
            + (": a machine that was set up anew, or whose state directory was lost, counts as another one" * same),
            f"Give the job another name or directory; or, if {owner.host} makes these backups no more, "
            f"take them over: hiveden-backup init --directory {directory.path} --take-over {job}",
        )


def claimed(installation: Installation, directory: BackupDirectory, job: ExclusiveJob) -> OwnJob:
    """The job as this host's own, from now on if its directory was nobody's yet, or not there. ForeignError."""
    home, here = directory.job_path(job.name), this_host(installation.state)
    with translated(f"writing the backup directory {directory.path}"):
        make_directory(home)
    owner = claim(home, here)
    _check(directory, job.name, owner, here)
    if owner != here:  # it has another name now
        take_over(home, here)
    return OwnJob(job, directory, here)


def owned(installation: Installation, directory: BackupDirectory, job: ExclusiveJob) -> OwnJob:
    """The job, for who only removes from its directory, which is this host's or nobody's. ForeignError."""
    return OwnJob(job, directory, check_owner(installation, directory, job.name))


def check_owner(installation: Installation, directory: BackupDirectory, job: str) -> Owner | None:
    """Whose a job's directory is: this host's, or nobody's. Nothing is changed. ForeignError."""
    owner = owner_of(directory.job_path(job))
    if owner is not None:
        _check(directory, job, owner, known_host(installation.state))
    return owner


def _check(directory: BackupDirectory, job: str, owner: Owner, here: Owner) -> None:
    if owner.host_id != here.host_id:
        raise ForeignError(directory, job, owner, here)


def others(installation: Installation, directory: BackupDirectory) -> tuple[tuple[str, Owner], ...]:
    """The jobs in a backup directory that belong to other hosts, and to which."""
    here, found = known_host(installation.state), []
    for job in directory.jobs():
        with suppress(DirectoryError):  # a damaged one is said when it matters
            owner = owner_of(directory.job_path(job))
            if owner is not None and owner.host_id != here.host_id:
                found.append((job, owner))
    return tuple(found)


def taken_over(installation: Installation, directory: BackupDirectory, job: str) -> Owner | None:
    """Make a job's directory this host's, with all backups in it; whose it was, None for nobody's or unreadable."""
    with job_lock(installation.state, job) as locked:
        try:
            before = owner_of(directory.job_path(job))
        except DirectoryError:  # damaged: this is the way out
            before = None
        take_over(directory.job_path(job), this_host(installation.state))
        taken(installation, directory, locked)
    return before
