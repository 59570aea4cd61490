"""Who has locked a file: the kernel tells all of it in one list, of processes that we may not look at as well."""

import os
from contextlib import suppress

_LOCKS = "/proc/locks"
_PID, _FILE, _FIRST = 4, 5, 6


def holder(path: str, byte: int) -> str | None:
    """The name and the number of the first process that has a lock beginning at `byte` of the file `path`.

    None when nobody has, or it cannot be told: there is no such file, or no such list. The name is left out where a
    sandbox hides other processes. Files are told apart by their inode numbers alone: the devices in the list are not
    those of stat(2) on every file system.
    """
    with suppress(OSError):
        wanted = str(os.stat(path, follow_symlinks=False).st_ino)
        with open(_LOCKS, encoding="ascii", errors="replace") as file:
            for line in file:
                fields = [field for field in line.split() if field != "->"]
                if fields[_FIRST:][:1] == [str(byte)] and fields[_FILE].rpartition(":")[2] == wanted:
                    return _named(fields[_PID])
    return None


def _named(pid: str) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return f"{file.read().strip()} (process {pid})"
    return f"process {pid}"
