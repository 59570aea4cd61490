"""What a command that takes a while has around it: the log, and on a terminal the progress line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import hiveden_backup.cli.failures  # noqa: F401 - an upgrade may have replaced it by the time that it is needed
from hiveden_backup.cli import log
from hiveden_backup.cli.app import options
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.jobs.installation import Installation


@contextmanager
def watched() -> Iterator[Installation]:
    """The installation; while the block lasts, stderr has the log and, on a terminal, the progress line."""
    progress = log.ProgressLine() if sys.stderr.isatty() and not options.quiet else log.Unwatched()
    log.configure(verbose=options.verbose, quiet=options.quiet, progress=progress)
    try:
        yield replace(installation(), progress=progress)
    finally:
        progress.clear()
