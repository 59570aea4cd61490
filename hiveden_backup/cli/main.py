"""The entry point: collects the commands."""

from importlib import import_module

from hiveden_backup.cli import stderr
from hiveden_backup.cli.app import run

_COMMANDS = (
    "list",
    "show",
    "diff",
    "verify",
    "delete",
    "restore",
    "undo",
    "run",
    "check",
    "prune",
    "recover",
    "status",
    "serve",
    "init",
    "schedule",
    "config",
)
for _name in _COMMANDS:  # importing one registers it
    import_module(f"hiveden_backup.cli.commands.{_name}")


def main() -> None:
    """Run `hiveden-backup`."""
    stderr.install()
    run()
