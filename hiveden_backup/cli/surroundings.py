"""What commands hand on to the jobs: which are chosen, and what they need around them."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hiveden_backup.cli.app import now, options, state_directory, trigger
from hiveden_backup.core.errors import NotFoundError

if TYPE_CHECKING:
    from hiveden_backup.core.model import Config, Job
    from hiveden_backup.jobs.installation import Context


def chosen(config: "Config", names: Sequence[str]) -> "list[Job]":
    """The jobs of these names, all when there is none. NotFoundError."""
    unknown = [name for name in names if name not in config.jobs]
    if unknown:
        raise NotFoundError(
            f"There is no job {unknown[0]}",
            f"The configuration has: {', '.join(config.jobs) or 'none'}",
            "Name one of these",
        )
    if not config.jobs:
        raise NotFoundError("There is no job in the configuration", "", f"Add one to {options.config}")
    return [config.jobs[name] for name in dict.fromkeys(names)] or list(config.jobs.values())


@contextmanager
def context(config: "Config") -> "Iterator[Context]":
    """What jobs need around them; while the block lasts, stderr has the log and, on a terminal, the progress line."""
    from hiveden_backup.cli import log
    from hiveden_backup.host.clock import local_zone
    from hiveden_backup.jobs.installation import Context

    progress = log.ProgressLine() if sys.stderr.isatty() and not options.quiet else log.Phase()
    log.configure(verbose=options.verbose, quiet=options.quiet, progress=progress)
    try:
        invocation = os.environ.get("INVOCATION_ID", "")
        yield Context(config, state_directory(), now, local_zone(), progress, trigger(), invocation)
    finally:
        progress.clear()
