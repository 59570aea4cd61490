"""The scratch place that a bench works in."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Bed:
    """A scratch place with a configuration, and the program on it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config = place / "etc/config.toml"
        self.backups = place / "backups"

    def configure(self, job: str) -> None:
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'directory = "{self.backups}"\n{job}')

    def fresh(self) -> None:
        shutil.rmtree(self.backups, ignore_errors=True)
        shutil.rmtree(self.place / "state", ignore_errors=True)
        self.program("init", "--directory", str(self.backups))

    def program(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "hiveden_backup", "--config", str(self.config), *arguments]
        environment = {**os.environ, "STATE_DIRECTORY": str(self.place / "state"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)}: {done.returncode}\n{done.stderr}")
        return done.stdout


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes; what others left to be written is written before."""
    os.sync()
    began = time.monotonic()
    work()
    return time.monotonic() - began
