"""Backups that lost or changed so much that nothing older may go until a person has seen it."""

from collections.abc import Iterator
from itertools import chain

from hiveden_backup.core.backup.unusual import harms, waiting
from hiveden_backup.core.config.values import Job
from hiveden_backup.jobs.backups.counted import one_by_one
from hiveden_backup.jobs.installation import Installation

_SHOWN = 4


def reasons(installation: Installation, job: Job) -> Iterator[str]:
    """Why the job needs a person's attention, if it does."""
    counting = one_by_one(installation, installation.directory, job.name)
    known = chain.from_iterable(each.history() for each in counting)
    found = tuple(harms(waiting(known, installation.records.accepted(job.name).backups)))
    for newest, said in found[:1]:
        yield (
            f"The backup {newest.id} is unusual. {'. '.join(said)}. Nothing older is pruned until a later one is usual,"
            f" or until you say that it is meant: hiveden-backup accept {job.name}"
        )
    for earlier, said in found[1:_SHOWN]:
        yield f"So was the backup {earlier.id}, against the one before it. {'. '.join(said)}"
    if found[_SHOWN:]:
        first = f"{job.name}/{found[-1][0].id}"
        yield f"So were {len(found) - _SHOWN} more before these. What the first lost: hiveden-backup show {first}"
