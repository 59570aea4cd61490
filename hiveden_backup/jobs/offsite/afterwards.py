"""What follows a push: this host tells at the place how it stands, and it is settled when the next push is due."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.errors import BackupError, StorageError
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.due import due_now, put_due
from hiveden_backup.host.state.offsites import Facts, Offsites
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import Draft, draft
from hiveden_backup.jobs.offsite.fleet import tell
from hiveden_backup.jobs.offsite.place import host_of
from hiveden_backup.jobs.offsite.push import Pushed

_DAILY = timedelta(days=1)
_QUIET = timedelta(hours=20)


def conclude(
    installation: Installation, offsites: Sequence[Offsite], jobs: Iterable[Job], came: Sequence[Pushed]
) -> None:
    """After a push of these jobs to these offsites, of which that came."""
    for offsite in offsites:
        _tell(installation, offsite, [each for each in came if each.offsite == offsite.name])
    for job in jobs:
        if installation.config.offsites_of(job):
            _settle(installation, job)


def _tell(installation: Installation, offsite: Offsite, came: Sequence[Pushed]) -> None:
    """Say there how this host is doing when something was sent; else once a day, to be heard of.

    The first time twice: what is put over itself is a version then, where there are any, as `offsite status` tells.
    """
    sent, failed = any(each.objects for each in came), any(each.errors for each in came)
    if not (sent or (came and not failed and _is_quiet(installation, offsite))):
        return
    try:
        host = host_of(installation, offsite)
        if host is None:
            return
        known = Offsites(installation.state)
        is_first = known.told(offsite.name) is None
        for _ in range(2 if is_first and not offsite.is_local else 1):
            tell(installation, Remote(offsite, installation.state), host)
        known.put_told(offsite.name)
    except (BackupError, OSError) as error:  # what was sent is there all the same
        log.warning(f"How this host is doing could not be told at the offsite {offsite.name}: {error}")


def _is_quiet(installation: Installation, offsite: Offsite) -> bool:
    told = Offsites(installation.state).told(offsite.name)
    return told is None or not timedelta(0) <= installation.now() - told < _QUIET


def _settle(installation: Installation, job: Job) -> None:
    """Let the timer start the next push of a job in time: for what failed, for what came meanwhile; daily else."""
    facts = list[Facts]()
    for each in installation.config.offsites_of(job):
        with suppress(StorageError):  # the push has told
            facts.append(Offsites(installation.state).facts(each.name, job.name))
    tried = [each.next_try for each in facts if each.failures and each.next_try is not None]
    if not tried and _is_owed(installation, job):
        due_now(installation.state, job.name)
    else:
        put_due(installation.state, job.name, min([*tried, installation.now() + _DAILY]))


def _is_owed(installation: Installation, job: Job) -> bool:
    """Whether something is to be sent though nothing failed: a run ended meanwhile, or somebody else was sending."""
    drafts = (draft(installation, offsite, job) for offsite in installation.config.offsites_of(job))
    return any(isinstance(each, Draft) and not each.is_empty for each in drafts)
