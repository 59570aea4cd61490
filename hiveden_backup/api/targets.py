"""From what a client names to the job that backs it up, made where there is none."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from starlette.concurrency import run_in_threadpool

from hiveden_backup.api import models
from hiveden_backup.api import unit_runs as acts
from hiveden_backup.api.errand import Errand
from hiveden_backup.api.launcher import Launcher
from hiveden_backup.api.problems import ActError
from hiveden_backup.core.api_targets import Wanted
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import NotFoundError, UnfitError, UnreachableError, UsageError
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.jobs.setup import targets

_ADOPTION_SECONDS = 120.0
_KINDS = {Errand.ADOPT: acts.CommandKind.ADOPT, Errand.CONFIGURE: acts.CommandKind.INIT}
_THEIR_FAULT = {Errand.ADOPT: frozenset({2, 66, 78}), Errand.CONFIGURE: frozenset({2, 66, 73, 78})}
"""Exit codes of an errand that say that the request asks for something that cannot be."""


def wanted_of(body: models.Target) -> Wanted:
    """The request in the program's words. UsageError when a name cannot be one."""
    return Wanted(body.type, body.target, tuple(body.source_dirs or ()), body.container_name or None)


async def job_of(launcher: Launcher, wanted: Wanted) -> tuple[Job, bool]:
    """The job that a target belongs to, and whether it was made for it now."""
    config = await run_in_threadpool(lambda: launcher.installation.config)
    job = await run_in_threadpool(targets.find, config, wanted)
    if job is not None:
        return job, False
    if wanted.type is ArtifactType.APPLICATION and not wanted.paths:
        raise UsageError(
            f"There is no job for the application {wanted.target}",
            "A new one needs to know its directories",
            "Give source_dirs, or an absolute path as the target",
        )
    name = await errand(launcher, Errand.ADOPT, asdict(wanted), f"Make a job for {wanted.target}")
    jobs = (await run_in_threadpool(lambda: launcher.installation.config)).jobs
    if name not in jobs:
        raise NotFoundError(f"There is no job for {wanted.target}", "", "Look at the configuration, then ask again")
    return jobs[name], name not in config.jobs


async def errand(launcher: Launcher, what: Errand, details: Mapping[str, object], description: str) -> str:
    """Have something done outside of this service; what it said. UnfitError when it cannot be done as asked."""
    arguments = (what, json.dumps(dict(details)))
    module = "hiveden_backup.api.errand"
    try:
        _, said = await acts.command(
            launcher, _KINDS[what], arguments, _ADOPTION_SECONDS, description=description, module=module
        )
    except ActError as error:
        if error.exit_code in _THEIR_FAULT[what]:
            raise UnfitError(str(error)) from error
        raise
    if said is None:
        raise UnreachableError(f"{description}: no answer within {_ADOPTION_SECONDS:g} seconds", "", "See the journal")
    return said
