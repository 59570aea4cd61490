"""Control groups, whose folders stay when their processes are gone."""

import os
import subprocess
import time
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
    """Remove the groups of this name with those below them, as soon as the kernel has buried their processes."""
    for folder in (folder for hierarchy in hierarchies() for folder, _, _ in os.walk(hierarchy / name, topdown=False)):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                os.rmdir(folder)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
