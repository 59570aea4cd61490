"""`init`: a directory becomes a backup directory."""

from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, options
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.model import Owner
from hiveden_backup.jobs.setup.init import initialise


@command("init")
def init(
    directory: Path = typer.Option(
        ..., "--directory", help="Where the backups are to be.", metavar="DIR", autocompletion=completion.files
    ),
    take_over: Optional[List[str]] = typer.Option(  # noqa: UP006
        None,
        "--take-over",
        help="Go on with this job's backups, which another machine made; may be repeated.",
        metavar="JOB",
    ),
    as_json: bool = JSON,
) -> None:
    """Create and mark a backup directory.

    A marked one is adopted. A starter configuration is written if there is none.
    """
    done = initialise(directory, installation(), take_over or [])
    if as_json:
        output.print_json(
            {
                "directory": str(done.directory),
                "id": done.id,
                "created": done.created,
                "configuration": done.configuration,
                **({"taken_over": [_taken(job, owner) for job, owner in done.taken_over]} if take_over else {}),
            }
        )
        return
    output.say(f"{'Marked' if done.created else 'Adopted'} the backup directory {done.directory}.")
    if done.configuration:
        output.say(
            f"Wrote a starter configuration to {options.config}. Next: add a job to it, then hiveden-backup check"
        )
    elif done.other_directory:
        output.say(f"{options.config} names another directory ({done.other_directory}): change `directory` there.")
    for job, before in done.taken_over:
        whose = f"{before.host} (id {before.host_id})" if before is not None else "nobody that is known"
        output.say(f"The backups of {job} are this machine's now. They belonged to {whose}.")
    for job, owner in done.foreign:
        output.say(
            f"The backups of {job} belong to {owner.host} (id {owner.host_id}): to list, verify and restore them is "
            f"fine. If this machine replaces that one: hiveden-backup init --directory {directory} --take-over {job}"
        )
    if done.backups:
        output.say(f"It holds {output.count(done.backups, 'backup')}: hiveden-backup list")


def _taken(job: str, owner: Optional[Owner]) -> dict[str, Any]:
    was = None if owner is None else {"host_id": owner.host_id, "host": owner.host}
    return {"job": job, "owner": was}
