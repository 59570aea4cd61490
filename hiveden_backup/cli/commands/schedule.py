"""The commands of `schedule`: timers from the configuration."""

import typer

from hiveden_backup.cli import completion, log, output
from hiveden_backup.cli.app import command, options, state_directory
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.registry import group
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.lines import split_lines
from hiveden_backup.core.schedule.units import Changes
from hiveden_backup.host.systemd.systemctl import require
from hiveden_backup.host.systemd.unit_files import UnitFiles
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.schedule import survey as schedule
from hiveden_backup.jobs.schedule.apply import apply as install
from hiveden_backup.jobs.schedule.apply import remove as uninstall
from hiveden_backup.jobs.schedule.apply import set_schedule as reschedule
from hiveden_backup.jobs.schedule.apply import unset_schedule
from hiveden_backup.jobs.schedule.survey import survey

_JOB = typer.Argument(..., metavar="JOB", autocompletion=completion.jobs)
_schedule = group("schedule", "Start jobs by timers of systemd.")


def _installation() -> Installation:
    require(change=False)
    log.configure(verbose=options.verbose, quiet=options.quiet)
    return installation()


@command("show", group=_schedule)
def show(as_json: bool = JSON) -> None:
    """Each job's schedule, when it elapses next, and whether the installed timer differs."""
    rows = schedule.rows(_installation())
    if as_json:
        output.print_json([row.table() for row in rows])
        return
    head = ("JOB", "SCHEDULE", "CALENDARS", "NEXT", "ZONE", "LAST TRIGGER", "TIMER")
    cells = []
    for row in rows:
        lines = max(len(row.schedule), len(row.calendars), len(row.next), 1)
        columns = (
            [row.job],
            row.schedule or ["-"],
            row.calendars or ["-"],
            [output.moment(each) for each in row.next] or ["-"],
            [row.timezone],
            [output.moment(row.last_trigger) if row.last_trigger else "-"],
            [row.drift or "as configured"],
        )
        cells += list(zip(*([*column, *[""] * (lines - len(column))] for column in columns), strict=True))
    output.print_table(head, cells)
    if any(row.drift for row in rows):
        output.say("Some timers are not as the configuration says. Put them right: hiveden-backup schedule apply")


@command("apply", group=_schedule)
def apply(
    dry_run: bool = typer.Option(False, "--dry-run", help="Print how the units would change; change nothing."),
    as_json: bool = JSON,
) -> None:
    """Install the timers that the configuration asks for."""
    surroundings = _installation()
    if not dry_run:
        _say(install(surroundings), as_json=as_json)
        return
    found = survey(surroundings)
    if as_json:
        _say(found.changes, as_json=True)
        return
    for line in split_lines(found.diff()) or ["Nothing would change."]:
        output.say(line)
    for timer in found.idle:
        output.say(f"{timer} would be started.")


@command("set", group=_schedule)
def set_schedule(
    job: str = _JOB,
    expression: str = typer.Argument(..., metavar="EXPR", help="A systemd calendar, or five cron fields."),
    as_json: bool = JSON,
) -> None:
    """Write a job's schedule to the managed drop-in, and apply."""
    _say(reschedule(_installation(), job, expression), as_json=as_json)


@command("unset", group=_schedule)
def unset(job: str = _JOB, as_json: bool = JSON) -> None:
    """Let a job run only when told to, and apply."""
    _say(unset_schedule(_installation(), job), as_json=as_json)


@command("remove", group=_schedule)
def remove(as_json: bool = JSON) -> None:
    """Take all timers and other units away again.

    The configuration stays as it is; `apply` installs them anew.
    """
    log.configure(verbose=options.verbose, quiet=options.quiet)
    _say(uninstall(UnitFiles(state_directory())), as_json=as_json)


def _say(changes: Changes, *, as_json: bool) -> None:
    groups = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    if as_json:
        output.print_json({name: list(paths) for name, paths in groups.items()})
        return
    for name, paths in groups.items():
        for path in paths:
            output.say(f"{name:8}{path}")
    if not changes:
        output.say("All units are as the configuration says.")
