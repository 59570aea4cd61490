"""`init`: a directory becomes a backup directory."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional  # noqa: UP035 - typer 0.7 reads annotations of its own time

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command, options, report
from hiveden_backup.cli.elsewhere import AS_OF, HOST, IDENTITY, RCLONE_CONFIG, From
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.cli.watched import watched
from hiveden_backup.core.errors import common_exit_code
from hiveden_backup.core.model import Owner
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.setup.init import Initialised, initialise

if TYPE_CHECKING:
    from hiveden_backup.jobs.offsite.asked import Asked
    from hiveden_backup.jobs.offsite.mirror import Mirrored


@command("init")
def init(  # noqa: PLR0917 - typer reads it
    directory: Path = typer.Option(
        ..., "--directory", help="Where the backups are to be.", metavar="DIR", autocompletion=completion.files
    ),
    take_over: Optional[List[str]] = typer.Option(  # noqa: UP006
        None,
        "--take-over",
        help="Go on with this job's backups, which another machine made; may be repeated.",
        metavar="JOB",
    ),
    offsite: Optional[str] = typer.Option(
        None, "--from", metavar="OFFSITE", help="With all backups of an offsite: REMOTE:PATH, a directory, or a name."
    ),
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """Create and mark a backup directory.

    A marked one is adopted. A starter configuration is written if there is none. With --from, what is small of the
    backups at an offsite comes into it; archives and dumps travel when something is restored.
    """
    asked = From(offsite, identity, as_of, host, rclone_config).asked()
    done, mirrored = initialise(directory, installation(), () if asked is not None else take_over or ()), None
    if asked is not None:
        mirrored = _mirrored(done.directory, asked)
        again = initialise(directory, installation(), take_over or ())
        done = replace(again, created=done.created, configuration=done.configuration)
    if as_json:
        output.print_json(
            {
                "directory": str(done.directory),
                "id": done.id,
                "created": done.created,
                "configuration": done.configuration,
                **({"from": {"host": mirrored.host, "backups": mirrored.backups}} if mirrored is not None else {}),
                **({"taken_over": [_taken(job, owner) for job, owner in done.taken_over]} if take_over else {}),
            }
        )
    else:
        _tell(done, leads_elsewhere=mirrored is None)
        if mirrored is not None:
            output.say(f"{output.count(mirrored.backups, 'backup')} of {mirrored.host} came from {offsite}.")
            output.say("Files and dumps are still there: to restore, say --from and --identity again.")
    raise typer.Exit(_left_out(mirrored))


def _tell(done: Initialised, *, leads_elsewhere: bool) -> None:
    output.say(f"{'Marked' if done.created else 'Adopted'} the backup directory {done.directory}.")
    if done.configuration:
        output.say(
            f"Wrote a starter configuration to {options.config}. Next: add a job to it, then hiveden-backup check"
        )
        if leads_elsewhere:
            _lead_elsewhere()
    elif done.other_directory:
        output.say(f"{options.config} names another directory ({done.other_directory}): change `directory` there.")
    for job, before in done.taken_over:
        whose = f"{before.host} (id {before.host_id})" if before is not None else "nobody that is known"
        output.say(f"The backups of {job} are this machine's now. They belonged to {whose}.")
    for job, owner in done.foreign:
        take_over = f"hiveden-backup init --directory {done.directory} --take-over {job}"
        output.say(
            f"The backups of {job} belong to {owner.host} (id {owner.host_id}): to list, verify and restore them is "
            f"fine. If this machine replaces that one: {take_over}"
        )
    if done.backups:
        output.say(f"It holds {output.count(done.backups, 'backup')}: hiveden-backup list")


def _mirrored(directory: Path, asked: "Asked") -> "Mirrored":
    from hiveden_backup.jobs.offsite.mirror import mirror  # noqa: PLC0415 - few want it

    with watched() as surroundings:
        return mirror(surroundings, BackupDirectory.open(directory), asked)


def _left_out(mirrored: "Optional[Mirrored]") -> int:
    """Tell which backups could not be had; the exit code."""
    errors = mirrored.left_out if mirrored is not None else ()
    for error in errors:
        report(error)
    return common_exit_code(error.exit_code for error in errors)


def _lead_elsewhere() -> None:
    output.say("A backup on this machine dies with it. For encrypted copies elsewhere:")
    output.say("  1. age-keygen -o identity.txt makes a key. Keep that file off this machine; a second one, on paper.")
    output.say(f"  2. Its public part and the place go into a table [offsite.NAME] of {options.config}.")
    output.say("  3. What places there are, and how each is set up: hiveden-backup guide offsite")


def _taken(job: str, owner: Optional[Owner]) -> dict[str, Any]:
    was = None if owner is None else {"host_id": owner.host_id, "host": owner.host}
    return {"job": job, "owner": was}
