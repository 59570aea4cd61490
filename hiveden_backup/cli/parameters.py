"""Arguments and options that several commands have."""

import typer

BACKUP_MEANING = "An id, JOB/latest, JOB/ID, or a unique beginning."
BACKUP = typer.Argument(..., metavar="BACKUP", help=BACKUP_MEANING)
JOBS = typer.Argument(None, help="Names of jobs; all when none is given.")
JSON = typer.Option(False, "--json", help="Print JSON.")
