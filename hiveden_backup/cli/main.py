"""The entry point: collects the commands."""

import hiveden_backup.cli.backups
import hiveden_backup.cli.restoring
import hiveden_backup.cli.running
import hiveden_backup.cli.schedule
import hiveden_backup.cli.serve
import hiveden_backup.cli.setup
import hiveden_backup.cli.words  # noqa: F401 - importing them registers their commands
from hiveden_backup.cli import stderr
from hiveden_backup.cli.app import run


def main() -> None:
    """Run `hiveden-backup`."""
    stderr.install()
    run()
