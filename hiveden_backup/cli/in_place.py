"""What `restore --in-place` and `undo` share: what was broken off comes first, a preview, the end."""

from typing import Any, Callable, List, NoReturn  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import report
from hiveden_backup.core.errors import UsageError
from hiveden_backup.core.names import from_iso
from hiveden_backup.core.restore_record import Phase
from hiveden_backup.jobs.recovery.heal import Healed
from hiveden_backup.jobs.restore.in_place import ActResult


def tell_healed(healed: Healed) -> None:
    """Say what had been broken off, and how it ended now."""
    for each in healed.acts:
        how = {Phase.DONE: "is finished now", Phase.UNDONE: "is reversed now"}.get(each.phase, "was taken back")
        output.say(f"The in-place restore of {each.job}/{each.backup} that was broken off {how}.")
    for error in healed.problems:
        report(error)


def finish(done: ActResult) -> None:
    """Report what went wrong, and end with the exit code that says so."""
    for problem in done.problems:
        report(problem)
    raise typer.Exit(1 if done.problems else 0)


def preview(table: dict[str, Any], lines: Callable[[dict[str, Any]], List[str]], *, as_json: bool) -> NoReturn:  # noqa: UP006
    """What would be done, on stdout; then the error that it was not."""
    if as_json:
        output.print_json(table)
    else:
        for line in lines(table):
            output.say(line)
    beyond = "--allow-beyond, where what is beyond the job is meant, and " if table.get("beyond") else ""
    raise UsageError("Nothing was changed", "", f"Give {beyond}--yes to do it")


def stopped(table: dict[str, Any]) -> List[str]:  # noqa: UP006
    """The lines of a preview that say which containers are stopped."""
    return [
        *(f"  stopped meanwhile: {name}" for name in table["containers"]),
        *(f"  stopped while files change places: {name}" for name in table["servers"]),
        *(
            f"  down while files are restored, too, for it can write to where that is done: {name}"
            for name in table.get("down_first", ())
        ),
    ]


def moment(text: str) -> str:
    """A moment of a table, as `output.moment` shows it."""
    return output.moment(from_iso(text))
