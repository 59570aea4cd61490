"""The entry point: collects the commands."""

import hiveden_backup.cli.commands.config
import hiveden_backup.cli.commands.restore
import hiveden_backup.cli.commands.run
import hiveden_backup.cli.commands.schedule
import hiveden_backup.cli.commands.serve
import hiveden_backup.cli.commands.show
import hiveden_backup.cli.commands.words  # noqa: F401 - importing them registers their commands
from hiveden_backup.cli import stderr
from hiveden_backup.cli.app import run


def main() -> None:
    """Run `hiveden-backup`."""
    stderr.install()
    run()
