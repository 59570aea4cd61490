"""`accept`: what is unusual about a job's backups, or a disk that is gone, is meant."""

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.surroundings import chosen, installation
from hiveden_backup.jobs.run.accept import accept as accepting


@command("accept")
def accept(job: str = typer.Argument(..., metavar="JOB", help="A job's name.", autocompletion=completion.jobs)) -> None:
    """Say that what a job's newest backup lost, or a disk that is gone, is meant.

    Until then a run without that disk fails, and prune removes nothing that is older.
    """
    surroundings = installation()
    (found,) = chosen(surroundings, [job])
    accepted = accepting(surroundings, found)
    for sentence in accepted:
        output.say(f"Accepted: {sentence}.")
    if not accepted:
        output.say(f"There is nothing to accept for {job}: no mount is gone, and its newest backup is usual.")
