"""`check`: everything that a run needs, looked at."""

from typing import List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.output import Colour
from hiveden_backup.cli.parameters import JOBS, JSON
from hiveden_backup.cli.surroundings import chosen
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.errors import ConfigError
from hiveden_backup.core.model import Status
from hiveden_backup.jobs.offsite.check import offsite_findings
from hiveden_backup.jobs.run.check import validate
from hiveden_backup.jobs.schedule.survey import timer_findings, with_schedules
from hiveden_backup.jobs.setup.managed import hidden


@command("check")
def check(jobs: Optional[List[str]] = JOBS, as_json: bool = JSON) -> None:  # noqa: UP006
    """Look at everything that a run needs.

    Nothing is changed. Exit 1 if anything would prevent a run.
    """
    with watched() as installation:
        try:
            asked = chosen(installation, jobs or [])
        except ConfigError as error:
            raise with_schedules(installation, error) from error
        findings = hidden(installation.config_file, [job.name for job in asked])
        findings += [finding for job in asked for finding in validate(installation, job)]
        findings += offsite_findings(installation, asked)
    findings += timer_findings(installation, asked)
    if as_json:
        output.print_json(
            [
                {
                    "job": each.job,
                    "name": each.name,
                    "status": each.status.value,
                    "message": each.message,
                    "hint": each.hint,
                }
                for each in findings
            ]
        )
    else:
        colours = {Status.OK: Colour.GREEN, Status.WARN: Colour.YELLOW, Status.FAIL: Colour.RED}
        for each in findings:
            about = ": ".join(filter(None, (each.job, each.name)))
            output.say(f"  {about}: {each.message}", head=f"{each.status.value:4}", colour=colours[each.status])
            if each.hint and each.status is not Status.OK:
                output.say(f"      {each.hint}")
    raise typer.Exit(1 if any(each.status is Status.FAIL for each in findings) else 0)
