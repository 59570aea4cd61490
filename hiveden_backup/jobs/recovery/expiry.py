"""What in-place restores replaced, removed when its time is over."""

import os
from collections.abc import Mapping

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import BackupError, BusyError
from hiveden_backup.core.restore_record import Act, Phase
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import ExclusiveJob, job_lock
from hiveden_backup.host.state.restore_records import Acts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery import holders
from hiveden_backup.jobs.recovery.mover import Mover


def expire(installation: Installation, jobs: Mapping[str, Job], held: ExclusiveJob | None = None) -> None:
    """Remove what in-place restores replaced and whose time is over; what cannot be removed now is a warning.

    `jobs` are those that are configured, `held` is the one that is locked already.
    """
    try:
        for name in Acts(installation.state).jobs():
            keep = jobs[name].undo_keep if name in jobs else None
            try:
                if held is not None and held.name == name:
                    _expire(Mover(installation, held), keep)
                    continue
                with job_lock(installation.state, name) as locked:
                    _expire(Mover(installation, locked), keep)
            except BusyError:
                continue  # the next run does it
            except BackupError as error:
                log.warning(str(error))
    except BackupError as error:
        log.warning(str(error))


def _expire(mover: Mover, keep: float | None) -> None:
    """Forget the acts whose time is over: after `keep` seconds, None for what was said when they began.

    Where that was begun and broken off, it goes on. Why one cannot be is logged, and `status` tells it.
    """
    for act in mover.acts.of(mover.job.name):
        over = act.goes or act.expired(mover.installation.now(), act.keep if keep is None else keep)
        if over and _may_clear(act):
            try:
                mover.forget(act)
            except BackupError as error:
                log.warning(str(error), job=act.job)
                continue
            what = "had kept beside" if act.phase is Phase.BESIDE else "replaced"
            log.info(f"Removed what the in-place restore of {act.backup} {what}", job=act.job)


def _may_clear(act: Act) -> bool:
    """Whether what an act keeps can be removed now: a disk may be away, and a job's unit sees the machine read-only."""
    return all(os.access(os.path.dirname(holder), os.W_OK) for holder in act.holders) and not holders.away(act)
