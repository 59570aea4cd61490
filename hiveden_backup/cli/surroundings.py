"""What commands hand on to the jobs: the installation, and which of its jobs are chosen."""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from hiveden_backup.cli.app import options, state_directory
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.model import Trigger
from hiveden_backup.jobs.installation import Installation


def installation() -> Installation:
    """The installation that the global options and the environment name."""
    return Installation(
        options.config,
        state_directory(),
        lambda: datetime.now(UTC),
        trigger=_trigger(),
        invocation=os.environ.get("INVOCATION_ID", ""),
    )


def chosen(surroundings: Installation, names: Sequence[str]) -> list[Job]:
    """The jobs of these names, all when there is none. NotFoundError."""
    jobs = surroundings.config.jobs
    unknown = [name for name in names if name not in jobs]
    if unknown:
        raise NotFoundError(
            f"There is no job {unknown[0]}",
            f"The configuration has: {', '.join(jobs) or 'none'}",
            "Name one of these",
        )
    if not jobs:
        raise NotFoundError("There is no job in the configuration", "", f"Add one to {surroundings.config_file}")
    return [jobs[name] for name in dict.fromkeys(names)] or list(jobs.values())


def _trigger() -> Trigger:
    """What made this run: a timer when systemd started us for one, the API when told so, else somebody."""
    if os.environ.get("TRIGGER_UNIT", "").endswith(".timer"):
        return Trigger.TIMER
    told = os.environ.get("HIVEDEN_BACKUP_TRIGGER", "")
    with suppress(ValueError):
        return Trigger(told)
    return Trigger.MANUAL
