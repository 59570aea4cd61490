"""`undo`: an in-place restore reversed."""

from typing import Any, List  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.in_place import finish, moment, preview, stopped, tell_healed
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.watched import watched
from hiveden_backup.jobs.restore import undo as undoing


@command("undo")
def undo(
    job: str = typer.Argument(..., metavar="JOB", help="A job's name.", autocompletion=completion.jobs),
    yes: bool = typer.Option(False, "--yes", help="Do it; without it, what would come back is printed."),
    as_json: bool = JSON,
) -> None:
    """Reverse the last in-place restore of a job."""
    with watched() as surroundings:
        if not yes:
            preview(undoing.preview(surroundings, job), _put_back, as_json=as_json)
        done = undoing.undo(surroundings, job, tell_healed)
    if done is None:
        return  # this undo had been broken off
    if as_json:
        output.print_json(done.table)
    else:
        what = [place.live for place in done.act.places] + [f"the database {each.live}" for each in done.act.databases]
        output.say(f"Back as before the restore of {job}/{done.act.backup}: {', '.join(what)}.")
    finish(done)


def _put_back(table: dict[str, Any]) -> List[str]:  # noqa: UP006
    lines = [f"The restore of {table['job']}/{table['id']}, made {moment(table['restored'])}, would be reversed:"]
    lines.extend(f"  {path}" for path in table["files"])
    for each in table["databases"]:
        kept = f"comes back from {each['kept']}" if each["kept"] else "goes: there was none before"
        lines.append(f"  the database {each['database']} on {each['server']} {kept}")
    return [*lines, *stopped(table)]
