"""Whether the backup that a run is about to publish is unusual, against the newest good one before it.

While that one is not the newest, since those that came after are unusual themselves, it is compared with these as well:
what is lost on a second day has a sentence of its own. Usual again is only what is so against the good one.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hiveden_backup.core.backup import unusual as rule
from hiveden_backup.core.backup.index import HEADER_BYTES
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.unusual import Total
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.globs import covering_matcher
from hiveden_backup.core.model import Manifest
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.log import log
from hiveden_backup.jobs.run.passes import State
from hiveden_backup.jobs.run.plan import Plan, PlannedFiles

_SCOPE = ("paths", "volumes", "exclude", "one_file_system")
"""The keys of a job that say which files it backs up."""


def unusual(plan: Plan, manifest: Manifest, state: State, index: Path) -> tuple[str, ...]:
    """What is unusual about the backup that `manifest` and `index` are to be, a sentence each.

    It is compared with the newest backup that is not unusual itself, or that a person accepted. A job's first has none.
    """
    if not plan.job.unusual:
        return ()
    accepted = plan.accepted.backups
    good = [each for each in plan.history if not each.unusual or each.id in accepted]
    said = _against(good, plan, manifest, state, index)
    if not said:
        alike = [each for each in good if each.id not in accepted and _scope(each) == _scope(manifest)]
        said = tuple(rule.of_totals(_total(manifest), [_total(each) for each in alike]))
    if said or not good:
        said += _against(rule.waiting(plan.history, accepted), plan, manifest, state, index)
    return said


def _against(
    references: Iterable[Manifest], plan: Plan, manifest: Manifest, state: State, index: Path
) -> tuple[str, ...]:
    """What is unusual against the first of the `references` that can be read."""
    for reference in references:
        try:
            said = tuple(_of_files(plan, reference, state, index))
        except BackupError as error:  # nothing of an older backup may fail this one
            log.warning(f"{error.what}: the backup is compared with an older one", job=manifest.job)
            continue
        name = f"{reference.job}/{reference.id}"
        return (*said, *rule.of_databases(reference.artifacts, manifest.artifacts, plan.job.postgres, name))
    return ()


def _of_files(plan: Plan, reference: Manifest, state: State, index: Path) -> Iterator[str]:
    if plan.files is None or not reference.paths:
        return
    older = plan.directory.backup_path(reference.job, reference.id) / INDEX
    if plan.files.look.base.index == older and rule.plainly_usual(_total(reference), _kept(reference, state)):
        return
    with (
        translated(f"reading {older}"),
        records(older, reference.paths) as before,
        records(index, state.entries) as now,
    ):
        change = rule.measure(before, now, _concern(plan, plan.files, reference))
    yield from rule.of_files(change, f"{reference.job}/{reference.id}")


def _total(manifest: Manifest) -> Total:
    content = manifest.live_bytes - HEADER_BYTES * manifest.paths
    return Total(f"{manifest.job}/{manifest.id}", manifest.paths, content)


def _kept(reference: Manifest, state: State) -> Total:
    """At least so much of what the run built upon is as it was: what no archive of its own has."""
    known = {archive.path for archive in reference.archives}
    weight = sum(archive.live_bytes for archive in state.archives if archive.path in known)
    content = weight - HEADER_BYTES * min(state.entries, reference.paths)
    return replace(_total(reference), paths=state.entries - state.fresh, bytes=content)


def _scope(manifest: Manifest) -> tuple[object, ...]:
    return tuple(manifest.job_config.get(key) for key in _SCOPE)


def _concern(plan: Plan, files: PlannedFiles, reference: Manifest) -> Callable[[bytes], bool]:
    """Whether a path that the reference has is still to be backed up, and is not on a disk that a person let go."""
    trees = files.trees
    out = list(trees.skip)
    if reference.id in plan.accepted.backups:
        out.extend(plan.accepted.mounts)
    if trees.one_file_system:
        out.extend(point for root in reference.roots for point in root.mounts if point not in trees.roots)
    excluded = covering_matcher(trees.exclude)
    within, without = _below(trees.roots), _below(out)
    return lambda path: within(path) and not without(path) and not excluded(path)


def _below(points: "list[str] | tuple[str, ...]") -> Callable[[bytes], bool]:
    """Whether a path relative to `/` is one of the points, or lies below one."""
    tops = tuple(os.fsencode(point.strip("/") + "/").lstrip(b"/") for point in points)
    return lambda path: (path + b"/").startswith(tops)
