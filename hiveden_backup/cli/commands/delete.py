"""`delete`: one backup, whole."""

import typer

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.parameters import BACKUP
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.core.errors import UsageError
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.backups.prune import delete as remove


@command("delete")
def delete(backup: str = BACKUP, yes: bool = typer.Option(False, "--yes", help="Do it.")) -> None:
    """Remove one backup, whole."""
    surroundings = installation()
    directory = surroundings.directory
    found = catalog.resolve(directory, backup)
    if not yes:
        manifest = directory.manifest(found.job, found.id)
        targets = ", ".join(f"{each.type.value} {each.target}" for each in manifest.artifacts)
        output.say(f"This would remove {found} of {output.moment(manifest.started)}: {targets}.", err=True)
        raise UsageError("Nothing was removed", "", "Give --yes to do it")
    removed = remove(surroundings, found)
    output.say(
        f"Removed {found}"
        + (f" and {output.count(len(removed), 'archive')} that nothing else needs." if removed else ".")
    )
