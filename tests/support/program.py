"""The program on files alone: a directory, a configuration, and the command line as a person uses it."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from hiveden_backup.host.failpoints import VARIABLE
from tests.support import forked
from tests.support.job import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


class Program:
    """hiveden-backup with a job `files` over `tree`. `settings` are more lines of the job's table."""

    def __init__(self, place: Path, settings: str = "") -> None:
        self.place = place
        self.tree = place / "tree"
        self.tree.mkdir()
        self.backups = place / "backups"
        self.config = place / "etc/config.toml"
        self.ok("init", "--directory", str(self.backups))
        with self.config.open("a") as file:
            file.write(f'\n[jobs.files]\npaths = ["{self.tree}"]\n{settings}\n')

    def call(self, *arguments: str, failpoint: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command line."""
        environment = {**os.environ, "STATE_DIRECTORY": str(self.place / "state"), "PYTHONPATH": str(ROOT)}
        if failpoint:
            environment[VARIABLE] = failpoint
        return forked.call(["--config", str(self.config), *arguments], environment, self.place, PATIENCE)

    def ok(self, *arguments: str) -> str:
        """What a command line that succeeds prints."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *options: str) -> str:
        """Run the job; the new backup's id."""
        return self.ok("run", "files", *options).strip()

    def restore(self, backup: str, *options: str) -> Path:
        """Restore a backup into a new directory; where the tree is in it."""
        target = self.place / f"restored-{len(list(self.place.iterdir()))}"
        self.ok("restore", f"files/{backup}", "--to", str(target), *options)
        return target / str(self.tree).lstrip("/")

    def archives(self, backup: str) -> list[dict[str, Any]]:
        """The manifest's archives."""
        manifest = json.loads(self.ok("show", f"files/{backup}", "--json"))["manifest"]
        archives: list[dict[str, Any]] = manifest["archives"]
        return archives

    def age(self) -> None:
        """Let what is in the tree be older than the margin that a comparison keeps."""
        time.sleep(2.1)
