"""What a push does beside sending: it compares what is there when that is due, and reads some of it back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, DeniedError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.compare import Wrong
from hiveden_backup.core.offsite.journal import There
from hiveden_backup.host.log import log
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.offsites import Offsites, offsite_lock
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.findings import Finding
from hiveden_backup.jobs.offsite.place import claimed
from hiveden_backup.jobs.offsite.reconcile import Reconciled, reconcile
from hiveden_backup.jobs.offsite.verify import Verified, verify
from hiveden_backup.jobs.offsite.visit import Visit

_MONTH = 30 * 86400.0
_SHOWN = 5


def is_due(installation: Installation, offsite: Offsite, job: str) -> bool:
    """Whether what is there of a job is to be compared: it is time, or the journal was lost, or of which place it is.

    Where that is denied, it is tried again when it is time. Before anything was sent it is due, too: this host may have
    forgotten what it had sent.
    """
    offsites, now = Offsites(installation.state), installation.now()
    facts = offsites.facts(offsite.name, job)
    last = facts.unlisted_at if facts.unlisted else facts.reconciled
    if last is None or not 0 <= (now - last).total_seconds() < offsite.reconcile:
        return True
    if offsites.place(offsite.name) is None:
        return True
    return not facts.unlisted and facts.pushed is not None and not offsites.there(offsite.name, job).objects


def keep_up(visit: Visit) -> BackupError | None:
    """Compare what is there; what keeps that from being done, unless it is that the key may not list: that is noted."""
    try:
        found = compared(visit)
    except DeniedError as error:
        facts = visit.facts()
        is_known = bool(facts.unlisted) and facts.reconciled is None  # a key that may only put: it was told once
        visit.change(unlisted=str(error), unlisted_at=visit.installation.now())
        if not is_known:
            log.warning(
                f"What is at the offsite {visit.locked.name} cannot be compared with what was sent: {error}",
                job=visit.job,
            )
    except BackupError as error:
        visit.remote.brake.insist()
        return error
    else:
        for each in found.findings[:_SHOWN]:
            log.warning(f"{said(visit.locked.name, visit.job, each)}", job=visit.job)
        if len(found.findings) > _SHOWN:
            log.warning(f"So are {len(found.findings) - _SHOWN} more objects", job=visit.job)
        if found.learned:
            log.info(f"{found.learned} objects at the offsite {visit.locked.name} were found again", job=visit.job)
    return None


def read_some(visit: Visit) -> None:
    """Read back what one of a month's comparisons may, of its budget. What keeps that from being done is a warning."""
    offsite = visit.remote.offsite
    share = int(offsite.verify_budget * min(offsite.reconcile / _MONTH, 1.0))
    try:
        found = verify(visit, most=share)
    except BackupError as error:
        visit.remote.brake.insist()
        log.warning(f"What is at the offsite {offsite.name} could not be read back. {error}", job=visit.job)
    else:
        for each in found.findings[:_SHOWN]:
            log.warning(said(offsite.name, visit.job, each), job=visit.job)


def said(offsite: str, job: str, finding: Finding) -> str:
    """A finding as a person reads it."""
    then = "it is sent again by the next push" if finding.sent_again else "it cannot be sent again"
    what = "signed by somebody else" if finding.wrong is Wrong.FORGED else finding.wrong.value
    return f"{job}/{finding.object} at the offsite {offsite} is {what}: {then}"


# ---- by hand


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one job at one offsite, and what is wrong with what is there."""

    offsite: str
    found: Reconciled | Verified
    error: CorruptError | None

    def table(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"offsite": self.offsite, **self.found.table()}


Act = Callable[[Visit], Reconciled | Verified]


def by_hand(installation: Installation, offsite: Offsite, jobs: Sequence[Job], act: Act) -> "list[Outcome]":
    """Do it for each of the jobs, whoever was denied it before. BusyError while something is sent there."""
    with offsite_lock(installation.state, offsite.name) as locked:
        remote = Remote(offsite, installation.state)
        host = claimed(installation, locked, remote)
        visits = [Visit(installation, remote, locked, host, job.name) for job in jobs]
        return [_outcome(visit, act(visit)) for visit in visits]


def compared(visit: Visit) -> Reconciled:
    """`reconcile`, and it is due again from now on."""
    found = reconcile(visit)
    if visit.facts().unlisted:
        visit.change(unlisted="", unlisted_at=None)
    return found


def reading(identity: Path | None) -> Callable[[Visit], Verified]:
    """`verify`, with an identity or without one."""
    return lambda visit: verify(visit, identity)


def _outcome(visit: Visit, found: Reconciled | Verified) -> Outcome:
    findings = found.findings
    offsite, job = visit.locked.name, visit.job
    forged = [each for each in findings if each.wrong is Wrong.FORGED]
    damaged = [each for each in findings if not each.sent_again]
    if not forged and not damaged:
        return Outcome(offsite, found, None)
    some = forged or damaged
    what = "signed by somebody else" if forged else "damaged, and cannot be sent again"
    names = ", ".join(each.object for each in some[:_SHOWN])
    more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
    hit = _hit(visit.there(), damaged)
    need = "needs" if len(hit) == 1 else "need"
    why = f"{names}{more}" + (f"; {', '.join(hit[:_SHOWN])} {need} what is damaged" if hit else "")
    count = (
        f"{len(some)} objects of {job} at the offsite {offsite} are"
        if len(some) > 1
        else (f"An object of {job} at the offsite {offsite} is")
    )
    hint = (
        "Somebody else can write there: give the place another key"
        if forged
        else f"Look whether the place has older versions of it; the next run of {job} stores anew what is still here"
    )
    return Outcome(offsite, found, CorruptError(f"{count} {what}", why, hint))


def _hit(there: There, damaged: Sequence[Finding]) -> list[str]:
    """The backups that need what is damaged."""
    owners = {layout.owner(each.object) for each in damaged}
    return [backup for backup, line in there.marked.items() if backup in owners or not owners.isdisjoint(line.needs)]
