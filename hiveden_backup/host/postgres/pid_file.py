"""The pid file of a server of this machine: whether one works in the directory that the file lies in."""

import os
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.host.disk.durable import read_regular

_LONGEST = 4096

_SHARED_MEMORY = 6
"""The line of the pid file that has key and id of the shared memory that each server has, and by which it sees itself
whether another one works in its directory."""


@dataclass(frozen=True, slots=True)
class Working:
    """The process of a server. It is `sure` unless another one may have the number since a crash left the file."""

    pid: int
    sure: bool


def working(pid_file: str) -> Working | None:
    """The server that works where its pid file is; a file that a crash left names some other process, or none.

    A run by a timer may not look at the processes of others: where they work is seen by root's full privileges alone.
    """
    try:
        lines = read_regular(Path(pid_file), _LONGEST).decode("ascii", "replace").split("\n")
        pid = abs(int(lines[0]))  # negative for a server of a single user
    except (OSError, ValueError):
        return None
    if pid == 0:
        return None
    try:
        there = os.path.samefile(f"/proc/{pid}/cwd", os.path.dirname(pid_file))
    except OSError:
        return _hidden(pid, lines)
    return Working(pid, sure=True) if there else None


def _hidden(pid: int, lines: list[str]) -> Working | None:
    """The same of a process whose directory cannot be seen: it is hidden, or gone."""
    words = lines[_SHARED_MEMORY].split() if len(lines) > _SHARED_MEMORY else []
    if words and _attached(words[-1], pid):
        return Working(pid, sure=True)
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is there, and neither root's nor ours, as a server's process is
        return Working(pid, sure=False)
    except (ProcessLookupError, OverflowError):
        return None
    return None  # no server runs as root; and one that we might end has its shared memory where we see it


def _attached(memory: str, pid: int) -> bool:
    """Whether something uses the shared memory with this id that the process made."""
    with open("/proc/sysvipc/shm", encoding="ascii") as table:
        rows = [row.split() for row in table]
    return any(row[1] == memory and row[4] == str(pid) and row[6] != "0" for row in rows)
