"""The entry point."""

import gc
import sys

from hiveden_backup import __version__
from hiveden_backup.cli import stderr


def main() -> None:
    """Run `hiveden-backup`."""
    stderr.install()
    if sys.argv[1:] == ["--version"]:  # scripts ask for it, and all that reads a command line takes longer to import
        print(f"hiveden-backup {__version__}")
        return
    gc.disable()  # nothing that an import makes is garbage, and looking for some takes a tenth of the time
    sys.modules["rich"] = None  # type: ignore[assignment] # "not there": some versions of typer would import it for nothing
    from hiveden_backup.cli.app import run  # noqa: PLC0415 - as said

    run()
