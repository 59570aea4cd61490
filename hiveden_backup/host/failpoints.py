"""Where tests make the program fail, or hold it: `HIVEDEN_BACKUP_FAILPOINT=PHASE:error|kill|hold|enospc|eio`.

`PHASE@3` is the third time that a process comes by, and `PHASE` every time.
"""

import errno
import os
import signal

from hiveden_backup.core.errors import BackupError

VARIABLE = "HIVEDEN_BACKUP_FAILPOINT"
_passed: dict[str, int] = {}


def failpoint(phase: str) -> None:
    """Fail here if the environment names this phase: raise, die by SIGKILL, or stand still until SIGCONT."""
    wanted, _, how = os.environ.get(VARIABLE, "").partition(":")
    wanted, _, number = wanted.partition("@")
    if wanted != phase:
        return
    _passed[phase] = _passed.get(phase, 0) + 1
    if number and _passed[phase] != int(number):
        return
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hold":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        case _:
            raise BackupError(f"The fail point {phase} was hit", f"{VARIABLE} is set", f"Unset {VARIABLE}")
