"""Backups that lost or changed so much that nothing older may go until a person has seen it."""

from collections.abc import Iterator

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.model import Manifest
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.records import Records
from hiveden_backup.jobs.backups.catalog import history
from hiveden_backup.jobs.installation import Installation


def waiting(directory: BackupDirectory, records: Records, job: str) -> tuple[Manifest, ...]:
    """The unusual backups, newest first, that wait for a person: nobody accepted them, and no newer one is usual.

    Each was compared with the newest good one, which is none of them: so a second one does not make the first usual.
    """
    accepted = records.accepted(job).backups
    found = []
    for manifest in history(directory, job):
        if not manifest.unusual or manifest.id in accepted:
            break
        found.append(manifest)
    return tuple(found)


def reasons(installation: Installation, job: Job) -> Iterator[str]:
    """Why the job needs a person's attention, if it does."""
    for newest in waiting(installation.directory, installation.records, job.name)[:1]:
        said = ". ".join(newest.unusual or ())
        yield (
            f"The backup {newest.id} is unusual. {said}. Nothing older is pruned until a later one is usual,"
            f" or until you say that it is meant: hiveden-backup accept {job.name}"
        )
