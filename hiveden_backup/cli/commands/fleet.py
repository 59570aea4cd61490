"""`fleet`: how the hosts are doing that send to one offsite."""

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.output import Colour
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.offsite.fleet import State
from hiveden_backup.jobs.offsite.fleet import fleet, is_troubled


@command("fleet")
def list_fleet(
    offsite: str = typer.Argument(
        ..., metavar="OFFSITE", help="The name of an offsite.", autocompletion=completion.offsites
    ),
    as_json: bool = JSON,
) -> None:
    """List the hosts that send to an offsite; exit 1 if one is late, failing or needs attention.

    They say so themselves, at the end of each push; nobody signs that.
    """
    rows = fleet(installation(), offsite)
    if as_json:
        output.print_json([row.table() for row in rows])
    elif not rows:
        output.say(f"No host has sent anything to {offsite} yet.")
    else:
        cells = [
            (
                row.name,
                row.state,
                f"{output.span(max(row.age_seconds, 0))} ago" if row.age_seconds is not None else "-",
                row.newest or "-",
                output.span(row.lag_seconds) if row.lag_seconds else "-",
                output.size(row.lag_bytes) if row.lag_bytes else "-",
                str(len(row.standing.jobs)) if row.standing is not None else "-",
                row.standing.version if row.standing is not None else "-",
            )
            for row in rows
        ]
        output.print_table(("HOST", "STATE", "HEARD OF", "NEWEST", "BEHIND", "TO SEND", "JOBS", "VERSION"), cells, (6,))
        for row in rows:
            for sentence in row.attention:
                output.say(
                    f"{row.name}: {sentence}", colour=Colour.YELLOW if row.state is State.ATTENTION else Colour.RED
                )
    raise typer.Exit(1 if any(map(is_troubled, rows)) else 0)
