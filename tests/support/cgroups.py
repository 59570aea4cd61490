"""Control groups, whose folders stay when their processes are gone."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 120.0


def hierarchies() -> list[Path]:
    """Where they are mounted: one place, or several with the first version of them."""
    done = subprocess.run(
        ["findmnt", "--raw", "--noheadings", "--output=TARGET", "--types=cgroup,cgroup2"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in done.stdout.splitlines()]


def remove(name: str) -> None:
    """End what is in the groups of this name or below them (containers of an Engine that is gone), and remove them."""
    for folder in (folder for hierarchy in hierarchies() for folder, _, _ in os.walk(hierarchy / name, topdown=False)):
        deadline = time.monotonic() + PATIENCE
        while True:
            for process in map(int, Path(folder, "cgroup.procs").read_text().split()):
                if process:  # 0 is one that this namespace does not see, and to kill(2) our own group
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            try:
                os.rmdir(folder)
                break
            except OSError:  # the kernel has not buried them all
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
