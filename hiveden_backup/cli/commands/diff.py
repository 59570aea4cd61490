"""`diff`: the paths that differ between two backups."""

from hiveden_backup.cli import output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.parameters import BACKUP, JSON
from hiveden_backup.cli.surroundings import installation
from hiveden_backup.jobs.backups import catalog, contents


@command("diff")
def diff(older: str = BACKUP, newer: str = BACKUP, as_json: bool = JSON) -> None:
    """List the paths that differ between two backups.

    Both are of one job: + added, ~ changed, - removed.
    """
    directory = installation().directory
    found = contents.diff(directory, catalog.resolve(directory, older), catalog.resolve(directory, newer))
    signs = {"added": ("+", found.added), "changed": ("~", found.changed), "removed": ("-", found.removed)}
    if as_json:
        output.print_json({name: [catalog.show_path(path) for path in paths] for name, (_, paths) in signs.items()})
        return
    if not any(paths for _, paths in signs.values()):
        output.say("No difference.")
    for sign, paths in signs.values():
        for path in paths:
            output.say(f"{sign} {catalog.show_path(path)}")
