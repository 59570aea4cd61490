"""Arguments and options that several commands have."""

import typer

from hiveden_backup.cli import completion

BACKUP_MEANING = "An id, JOB/latest, JOB/ID, or a unique beginning."
BACKUP = typer.Argument(..., metavar="BACKUP", help=BACKUP_MEANING, autocompletion=completion.backups)
JOBS = typer.Argument(None, help="Names of jobs; all when none is given.", autocompletion=completion.jobs)
JSON = typer.Option(False, "--json", help="Print JSON.")
