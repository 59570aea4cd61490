"""`status`: how each job is doing."""

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.offsite_table import print_offsites
from hiveden_backup.cli.output import Colour
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.lines import split_lines
from hiveden_backup.jobs.schedule.status import JobState, statuses


@command("status")
def status(as_json: bool = JSON) -> None:
    """How each job is doing; exit 1 if anything failed, is overdue or needs attention."""
    rows = statuses(installation())
    if as_json:
        output.print_json([row.table() for row in rows])
    else:
        colours = {JobState.OK: Colour.GREEN, JobState.RUNNING: Colour.GREEN, JobState.NEVER: Colour.YELLOW}
        away = any(row.where not in (None, Place.HERE) for row in rows)
        head = ("JOB", "STATE", "LAST RUN", "LAST SUCCESS", "SIZE", "DOWNTIME", "NEXT RUN", "VERIFIED", "SIGNED")
        cells = [
            (
                row.job,
                row.state,
                output.moment(row.last_run) if row.last_run else "-",
                f"{output.span(row.age_seconds)} ago" if row.age_seconds is not None else "-",
                output.size(row.size) if row.size is not None else "-",
                output.span(row.downtime_seconds) if row.downtime_seconds else "-",
                output.moment(row.next_run) if row.next_run else "-",
                f"{row.verified.result} {output.moment(row.verified.at)}" if row.verified else "-",
                row.signature.short if row.signature is not None else "-",
                *([row.where.value if row.where is not None else "-"] if away else []),
            )
            for row in rows
        ]
        output.print_table((*head, *(["WHERE"] if away else [])), cells)
        if elsewhere := [(row.job, each) for row in rows for each in row.offsite]:
            output.say("")
            print_offsites(elsewhere)
        for row in rows:
            colour = colours.get(row.state, Colour.RED)
            for number, line in enumerate(split_lines(row.error)):  # an error may have lines of its own
                output.say(line if number else f"{row.job}: {line}", colour=colour)
            for line in row.attention:
                output.say(f"{row.job}: {line}", colour=colour)
    raise typer.Exit(1 if any(row.needs_attention for row in rows) else 0)
