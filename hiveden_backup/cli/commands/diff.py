"""`diff`: the paths that differ between two backups."""

from pathlib import Path
from typing import Optional

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.elsewhere import AS_OF, FROM, HOST, IDENTITY, RCLONE_CONFIG, From
from hiveden_backup.cli.parameters import BACKUP, JSON
from hiveden_backup.jobs.backups import catalog, contents


@command("diff")
def diff(  # noqa: PLR0917 - typer reads it
    older: str = BACKUP,
    newer: str = BACKUP,
    offsite: Optional[str] = FROM,
    identity: Optional[Path] = IDENTITY,
    as_of: Optional[str] = AS_OF,
    host: Optional[str] = HOST,
    rclone_config: Optional[Path] = RCLONE_CONFIG,
    as_json: bool = JSON,
) -> None:
    """List the paths that differ between two backups.

    Both are of one job: + added, ~ changed, - removed.
    """
    with From(offsite, identity, as_of, host, rclone_config).reading_of(newer) as there:
        both = there.resolve(older), there.resolve(newer)
        there.bring(both)
        found = contents.diff(there.installation.directory, *both)
    signs = {"added": ("+", found.added), "changed": ("~", found.changed), "removed": ("-", found.removed)}
    if as_json:
        output.print_json({name: [catalog.show_path(path) for path in paths] for name, (_, paths) in signs.items()})
        return
    if not any(paths for _, paths in signs.values()):
        output.say("No difference.")
    for sign, paths in signs.values():
        for path in paths:
            output.say(f"{sign} {catalog.show_path(path)}")
