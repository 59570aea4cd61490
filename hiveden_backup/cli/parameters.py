"""Arguments and options that several commands have."""

import os

import typer

from hiveden_backup.cli import completion
from hiveden_backup.core.errors import UsageError

BACKUP_MEANING = "An id, JOB/latest, JOB/ID, or a unique beginning."
BACKUP = typer.Argument(..., metavar="BACKUP", help=BACKUP_MEANING, autocompletion=completion.backups)
JOBS = typer.Argument(None, help="Names of jobs; all when none is given.", autocompletion=completion.jobs)
JSON = typer.Option(False, "--json", help="Print JSON.")


def absolute(path: str) -> str:
    """A path of a backup, normalized. UsageError when it is not absolute."""
    if not path.startswith("/"):
        raise UsageError(f"{path} is not an absolute path", "", "Give it as `show --files` lists it")
    return os.path.normpath(path)
