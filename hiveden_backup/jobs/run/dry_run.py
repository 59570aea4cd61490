"""What a run would do: the plan that the real run executes, in words."""

import os
from collections.abc import Iterator
from pathlib import Path

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.sizes import text as size
from hiveden_backup.jobs.backups import prune
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.passes import compacting
from hiveden_backup.jobs.run.plan import Plan
from hiveden_backup.jobs.run.proving import provable
from hiveden_backup.jobs.run.validate import drafted

_SHOWN = 10


def describe(installation: Installation, job: Job, spool: Path, *, full: bool) -> Iterator[str]:
    """The steps of a run, a line each. ValidationError when there would be none. Nothing is changed."""
    with drafted(installation, job, spool, full=full) as draft:
        plan = draft.passed()
        yield f"{job.name}: a run would now"
        for number, step in enumerate(_steps(installation, plan), 1):
            yield f"  {number}. {step}"


def _steps(installation: Installation, plan: Plan) -> Iterator[str]:
    if plan.files is not None:
        looked = plan.files.look
        comparison = looked.comparison
        selection, rewritten = compacting(looked, plan.job, plan.history)
        most = "up to " if provable(looked) else ""
        yield (
            f"archive {most}{comparison.taken} of {comparison.entries} paths, {size(comparison.taken_weight)}"
            f" before compression, below {', '.join(looked.views)}"
        )
        if selection.compacted:
            yield f"compact {len(selection.compacted)} old archives along with that, {size(rewritten)}"
    running = plan.stop.running if plan.stop is not None else ()
    if running:
        yield f"stop {', '.join(running)}"
        if plan.files is not None:
            yield "archive what changed since then"
    for server in plan.servers:
        yield f"hold a snapshot of {', '.join(server.names)} on {server.endpoint.name}"
    if running:
        yield f"start {', '.join(reversed(running))}"
    for server in plan.servers:
        yield f"dump {', '.join(server.names)} with pg_dump {'.'.join(map(str, server.tool.version))}"
    yield f"publish the backup in {os.fspath(plan.directory.job_path(plan.job.name))}"
    pruned = prune.plan(installation, plan.directory, plan.job.name, plan.job.retention)
    going = [decision.id for decision in pruned.decisions if not decision.keep]
    if going:
        yield f"prune {', '.join(going[:_SHOWN])}{' and more' if len(going) > _SHOWN else ''}"
