"""What retention at an offsite lets go there: markers first, and nothing that a backup needs which stays there."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from hiveden_backup.core import sizes
from hiveden_backup.core.backup.retention import Decision
from hiveden_backup.core.config.parse import retention_table
from hiveden_backup.core.config.values import Job, Offsite, Retention
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, DeniedError, UnreachableError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line, There
from hiveden_backup.core.offsite.plan import Moment, Removal, decided, removal
from hiveden_backup.host.clock import local_zone
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.offsites import LockedOffsite, Offsites, offsite_lock
from hiveden_backup.jobs.backups.counted import counted
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import draft, kept_for, refuse_unseen, wanted_there
from hiveden_backup.jobs.offsite.place import host_of


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was decided, and how much went. `denied` says why nothing did, where the key may not remove."""

    offsite: str
    job: str
    decisions: tuple[Decision, ...]
    objects: int = 0
    bytes: int = 0
    denied: str = ""

    def table(self) -> list[dict[str, Any]]:
        """The decisions, as `offsite prune --json` prints them."""
        return [
            {
                "offsite": self.offsite,
                "job": self.job,
                "id": each.id,
                "keep": each.keep,
                "reasons": list(each.reasons),
                "denied": bool(self.denied) and not each.keep,
            }
            for each in self.decisions
        ]


def plan(
    installation: Installation, offsite: Offsite, job: str, kept_for: Mapping[str, str], wanted: Collection[str] = ()
) -> tuple[Pruned, Removal, There]:
    """What a prune would decide and remove now, by the journal. `wanted` is as in `removal`."""
    offsites = Offsites(installation.state)
    there, facts = offsites.there(offsite.name, job), offsites.facts(offsite.name, job)
    at = Moment(installation.now(), local_zone().zone)
    decisions = decided(offsite, there, kept_for, facts.damaged, at)
    return Pruned(offsite.name, job, decisions), removal(there, decisions, wanted), there


def prune(
    installation: Installation,
    locked: LockedOffsite,
    remote: Remote,
    host: str,
    job: str,
    *,
    kept_for: Mapping[str, str],
    wanted: Collection[str] = (),
) -> Pruned:
    """Remove what retention there lets go. A key that may not is no failure: it is said what the bucket should do."""
    planned, going, there = plan(installation, remote.offsite, job, kept_for, wanted)
    if not going:
        return planned
    offsites, now = Offsites(installation.state), installation.now()
    lines = [there.objects[name] for name in going.markers if name in there.objects]
    offsites.note(locked, job, [Line(now, Did.REMOVED, line.object) for line in lines])
    failpoint("removing-there")
    try:
        remote.remove(layout.job_object(host, job, name) for name in going.markers)
    except DeniedError as error:
        offsites.note(locked, job, lines)
        said = _said(remote.offsite, job, going, error)
        log.warning(said, job=job)
        return Pruned(planned.offsite, job, planned.decisions, denied=said)
    failpoint("removing-there")
    if standing := _standing(remote, host, job, going.markers):
        offsites.note(locked, job, [line for line in lines if line.object in standing])
        raise UnreachableError(
            f"{standing[0]} of {job} could not be removed at the offsite {locked.name}",
            "It is still there, and says that what it is of is complete",
            "It is tried again by itself",
        )
    remote.remove(layout.job_object(host, job, name) for name in going.rest)
    offsites.note(locked, job, [Line(now, Did.REMOVED, name) for name in going.rest])
    return Pruned(planned.offsite, job, planned.decisions, len(lines) + len(going.rest), going.bytes)


def prune_job(installation: Installation, offsite: Offsite, job: Job, *, dry_run: bool = False) -> Pruned:
    """Prune by hand. BusyError while something is sent there; CorruptError when it cannot be told what is needed."""
    host = host_of(installation, offsite)
    if dry_run or host is None:  # where nothing was sent yet, nothing can go
        kept = kept_for(installation, counted(installation, installation.own_directory, job.name))
        return plan(installation, offsite, job.name, kept, _wanted(installation, offsite, job))[0]
    with offsite_lock(installation.state, offsite.name) as locked:
        kept = kept_for(installation, counted(installation, installation.own_directory, job.name))
        wanted = _wanted(installation, offsite, job)  # before the lock, a push might let archives leave this machine
        pruned = prune(
            installation, locked, Remote(offsite, installation.state), host, job.name, kept_for=kept, wanted=wanted
        )
        _note_denial(installation, locked, pruned)
    return pruned


def prune_if_wanted(installation: Installation, locked: LockedOffsite, remote: Remote, job: Job) -> Pruned | None:
    """Prune at the end of a push, unless the key is known not to be allowed to: that is tried again by hand alone.

    None when there was nothing to do.
    """
    offsite = remote.offsite
    host = host_of(installation, offsite)
    if host is None or Offsites(installation.state).facts(offsite.name, job.name).denied:
        return None
    known = counted(installation, installation.own_directory, job.name)
    kept = kept_for(installation, known)
    try:
        wanted = _wanted(installation, offsite, job)
    except CorruptError as error:
        log.warning(f"Nothing is removed at the offsite {offsite.name}: {error}", job=job.name)
        return None
    if not plan(installation, offsite, job.name, kept, wanted)[1]:
        return None
    pruned = prune(installation, locked, remote, host, job.name, kept_for=kept, wanted=wanted)
    _note_denial(installation, locked, pruned)
    return pruned


def _standing(remote: Remote, host: str, job: str, markers: Collection[str]) -> list[str]:
    """Those that are there after all: rclone may say "not found" of one, and nothing of what became of the others."""
    listed = {each.name for each in remote.list(layout.job_object(host, job))} if markers else set[str]()
    return [name for name in markers if layout.job_object(host, job, name) in listed]


def _wanted(installation: Installation, offsite: Offsite, job: Job) -> set[str]:
    planned = draft(installation, offsite, job)
    if isinstance(planned, BackupError):
        raise planned
    if offsite.keeps_newest:
        refuse_unseen(installation, planned.known)
    return wanted_there(installation, planned)


def _note_denial(installation: Installation, locked: LockedOffsite, pruned: Pruned) -> None:
    offsites = Offsites(installation.state)
    facts = offsites.facts(locked.name, pruned.job)
    if facts.denied != pruned.denied:
        offsites.put_facts(locked, pruned.job, replace(facts, denied=pruned.denied))


def _said(offsite: Offsite, job: str, going: Removal, error: DeniedError) -> str:
    """What a person should do where our key may not remove anything, which is a good thing to have."""
    size, rules = sizes.text(going.bytes), _rules(offsite.retention)
    return (
        f"The key of the offsite {offsite.name} may not remove anything there, so {size} of {job} stay that its"
        f" retention ({rules}) lets go. Let the key delete, but no versions, in a bucket that keeps versions, and the"
        f" bucket's lifecycle expire versions that are not current; never what is current, by its age, as new backups"
        f" need old archives. Or prune now and then with another key: hiveden-backup offsite prune {offsite.name}"
        f" {job}. It said: {error.why}"
    )


def _rules(retention: Retention) -> str:
    return ", ".join(f"{key} = {value}" for key, value in retention_table(retention).items()) or "none"
