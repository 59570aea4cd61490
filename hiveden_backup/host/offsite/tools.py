"""Whether rclone and age are there, and new enough: older ones lie in more ways than those that we know."""

import re

from hiveden_backup.core.errors import UnreachableError
from hiveden_backup.host.process import Command, find_program, run

LEAST = {"rclone": (1, 60), "age": (1, 1)}
"""The oldest versions that were tried: those of Debian 12."""

_ASKED = {"rclone": "version", "age": "--version"}
_VERSION = re.compile(r"(?:^|[\sv])(\d+)\.(\d+)")
_TIMEOUT_SECONDS = 60.0


def version(program: str) -> str:
    """What a program says that it is. UnreachableError when it is missing or too old.

    One that was built by hand may say nothing that we understand; it is taken as it is.
    """
    argv = (find_program(program), _ASKED[program])
    # without a configuration, which `rclone version` would look for
    said = run(Command(argv, environment={"RCLONE_CONFIG": "/dev/null"}), timeout=_TIMEOUT_SECONDS).stdout
    first = said.partition(b"\n")[0].decode("utf-8", "replace").strip()
    found = _VERSION.search(first)
    if found is not None and (int(found[1]), int(found[2])) < LEAST[program]:
        least = ".".join(map(str, LEAST[program]))
        hint = f"Install a newer one: apt-get install {program}"
        raise UnreachableError(f"{program} is too old for offsite copies", f"It is {first}; {least} is needed", hint)
    return first if first.startswith(program) else f"{program} {first}"
