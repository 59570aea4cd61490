"""`accept`: a person says that what is unusual about the newest backup, or what is gone or changed, is meant."""

import os
from collections.abc import Iterator, Sequence

from hiveden_backup.core.backup.unusual import harms, waiting
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.model import Manifest, Source, SourceKind
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.host.state.records import Accepted
from hiveden_backup.jobs.backups.counted import counted
from hiveden_backup.jobs.backups.signing import changes, taken
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.absent import absent
from hiveden_backup.jobs.run.checks import trees_of


def accept(installation: Installation, job: Job) -> tuple[str, ...]:
    """Accept all backups of the job as they are, and its disks that are away; what that is, a sentence each.

    There is none when nothing waits for a person: then nothing is changed.
    """
    directory, records = installation.directory, installation.records
    with job_lock(installation.state, job.name) as locked:
        known = tuple(counted(installation, directory, job.name).history())
        before = records.accepted(job.name)
        trees = trees_of(installation, job, tuple(_sources(job, known)))
        away = absent(known, trees, before)
        unusual = waiting(known, before.backups)
        changed = changes(installation, directory, job.name)
        if not away and not unusual and not changed:
            return ()
        if changed:
            taken(installation, directory, locked)
        points = {*(each.point for each in away), *(each for each in before.mounts if not mounts.is_mounted(each))}
        backups = tuple(directory.backups(job.name))
        records.put_accepted(locked, Accepted(installation.now(), backups, tuple(sorted(points))))
    return (
        *(f"Nothing is mounted at {each.point} any more; {each.job}/{each.backup} has what was there" for each in away),
        *changed,
        *(sentence for _, said in harms(unusual) for sentence in said),
    )


def _sources(job: Job, known: Sequence[Manifest]) -> Iterator[Source]:
    """Where the job's files are; of volumes, where they were last: Docker need not answer for this."""
    yield from (Source(SourceKind.PATH, path, os.path.realpath(path)) for path in job.paths)
    volumes = {
        source.name: source
        for manifest in reversed(known)
        for artifact in manifest.artifacts
        for source in artifact.sources
        if source.kind is SourceKind.VOLUME
    }
    yield from (volumes[name] for name in job.volumes if name in volumes)
