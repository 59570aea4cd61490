"""Where tests make the program fail, or hold it: `HIVEDEN_BACKUP_FAILPOINT=PHASE:error|kill|hold|enospc|eio`."""

import errno
import os
import signal

from hiveden_backup.core.errors import BackupError

VARIABLE = "HIVEDEN_BACKUP_FAILPOINT"


def failpoint(phase: str) -> None:
    """Fail here if the environment names this phase: raise, die by SIGKILL, or stand still until SIGCONT."""
    wanted, _, how = os.environ.get(VARIABLE, "").partition(":")
    if wanted != phase:
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
