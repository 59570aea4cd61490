"""`fleet`: how the hosts are doing that send to one offsite."""

from collections.abc import Sequence

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, report
from hiveden_backup.cli.output import Colour
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.offsite.fleet import FleetRow, State
from hiveden_backup.core.offsite.layout import STATUS_FOLDER
from hiveden_backup.jobs.offsite.fleet import fleet, is_troubled

_SHOWN = 5


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
    found = fleet(installation(), offsite)
    if as_json:
        output.print_json([row.table() for row in found.rows])
    elif not found.rows:
        output.say(f"No host has sent anything to {offsite} yet.")
    else:
        _show(found.rows)
    if found.left_out:
        report(
            BackupError(
                f"{output.count(found.left_out, 'more host')} tell of themselves at {offsite}",
                f"No more than {len(found.rows)} are looked at",
                f"Look who writes to {STATUS_FOLDER} there",
            )
        )
    raise typer.Exit(1 if found.left_out or any(map(is_troubled, found.rows)) else 0)


def _show(rows: Sequence[FleetRow]) -> None:
    """A line for each host, within 80 columns; and what is wrong with those that need a look."""
    cells = [
        (
            row.name,
            row.state,
            output.roughly(max(row.age_seconds, 0)) if row.age_seconds is not None else "-",
            row.newest or "-",
            output.roughly(row.lag_seconds) if row.lag_seconds else "-",
            output.size(row.lag_bytes) if row.lag_bytes else "-",
        )
        for row in rows
    ]
    output.print_table(("HOST", "STATE", "HEARD OF", "NEWEST", "BEHIND", "TO SEND"), cells, right=(2, 4, 5))
    for row in rows:
        colour = Colour.YELLOW if row.state is State.ATTENTION else Colour.RED
        for sentence in row.attention[:_SHOWN]:
            output.say(f"{row.name}: {sentence}", colour=colour)
        if len(row.attention) > _SHOWN:
            output.say(f"{row.name}: {len(row.attention) - _SHOWN} more; --json has all", colour=colour)
    if any(row.attention for row in rows):
        output.say("Why, `hiveden-backup status` says on the host.")
