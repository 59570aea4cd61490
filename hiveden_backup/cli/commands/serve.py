"""The command that starts the other door. The two never import each other: this process becomes that one."""

import os
import sys
from pathlib import Path

from hiveden_backup.cli.app import command, options, state_directory


@command("serve")
def serve() -> None:
    """The HTTP API, on the socket that systemd hands over.

    It ends by itself when it is idle.
    """
    program = [sys.executable, "-P", "-m", "hiveden_backup.api"]
    places = ["--config", str(options.config), "--state", str(state_directory())]
    started = Path(sys.argv[0])  # as a command, not as a module: units name it by this path
    named = ["--program", str(started.absolute())] if started.name == "hiveden-backup" else []
    os.execv(program[0], [*program, *places, *named])
