"""The program in a booted machine: jobs that its units run."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hiveden_backup.core.events import Kind
from hiveden_backup.host.failpoints import VARIABLE
from tests.support.dockerd import KEEP_RUNNING, Docker
from tests.support.job import QUICK
from tests.support.machine import Machine

CONFIG = "/etc/hiveden-backup/config.toml"
STATE = "/var/lib/hiveden-backup"
BACKUPS = "/srv/backups"
CONTENT = "what the application wrote"
SOON = "*:*:0/5"
"""A schedule that does not let a test wait."""


class Timed:
    """An installation in a machine. Files of jobs are below /srv/data, the backups in `directory`."""

    def __init__(self, machine: Machine, directory: str = BACKUPS) -> None:
        self.machine = machine
        self.directory = directory
        machine.write("/srv/data/file", CONTENT)
        machine.path(directory).mkdir(exist_ok=True)

    @property
    def docker(self) -> Docker:
        assert self.machine.docker is not None
        return self.machine.docker

    def configure(self, jobs: Mapping[str, Mapping[str, Any]], **top: Any) -> "Timed":
        """Write the configuration. A job has the files of /srv/data unless it says otherwise."""
        tables = {name: {"paths": ["/srv/data"], **QUICK, **job} for name, job in jobs.items()}
        self.machine.write(CONFIG, tomli_w.dumps({"directory": self.directory, **top, "jobs": tables}))
        return self

    def init(self) -> "Timed":
        self.machine.ok("hiveden-backup", "init", "--directory", self.directory)
        return self

    def apply(self) -> dict[str, list[str]]:
        """What `schedule apply` changed."""
        changes: dict[str, list[str]] = json.loads(self.machine.ok("hiveden-backup", "schedule", "apply", "--json"))
        return changes

    def app(self, name: str = "app") -> str:
        """A running container on the job's files."""
        return self.docker.run(KEEP_RUNNING, name=name, binds=["/srv/data:/data"])

    # ---- units

    def fail_at(self, job: str, failpoint: str, *settings: str) -> None:
        """From now on runs of the job fail, or are held, at a fail point; more settings of the unit's service."""
        lines = ["[Service]", f"Environment={VARIABLE}={failpoint}" if failpoint else "", *settings]
        self.machine.write(f"/run/systemd/system/hiveden-backup@{job}.service.d/90-test.conf", "\n".join(lines) + "\n")
        self.machine.ok("systemctl", "daemon-reload")

    def begin(self, job: str = "app") -> None:
        self.machine.ok("systemctl", "start", "--no-block", f"hiveden-backup@{job}")

    def held(self, job: str = "app") -> int:
        """Wait until a run stands still at its fail point; its process id in the machine."""
        return self.held_in(f"hiveden-backup@{job}.service")

    def held_in(self, unit: str) -> int:
        """As `held`, of any unit."""
        found = 0

        def stands() -> bool:
            nonlocal found
            found = int(self.machine.show(unit, "MainPID")["MainPID"])
            return found > 0 and "\nState:\tT" in self.machine.path(f"/proc/{found}/status").read_text()

        wait(stands, f"{unit} is held")
        return found

    def go_on(self, process: int) -> None:
        self.machine.ok("kill", "-CONT", str(process))

    def ended(self, job: str = "app") -> str:
        """Wait until the job's unit is done; its result."""
        return self.ended_in(f"hiveden-backup@{job}.service")

    def ended_in(self, unit: str) -> str:
        """As `ended`, of any unit."""
        wait(lambda: self.machine.show(unit, "ActiveState")["ActiveState"] in ("inactive", "failed"), f"{unit} ends")
        return self.machine.show(unit, "Result")["Result"]

    # ---- what came of it

    def record(self, job: str = "app") -> dict[str, Any]:
        """The newest run's record."""
        table: dict[str, Any] = json.loads(max(self.state.glob(f"runs/{job}/*.json")).read_text())
        return table

    def runs(self, job: str = "app") -> int:
        return len(list(self.state.glob(f"runs/{job}/*.json")))

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `schedule show` tells of each job."""
        rows = json.loads(self.machine.ok("hiveden-backup", "schedule", "show", "--json"))
        return {row["job"]: row for row in rows}

    def listing(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.machine.ok("hiveden-backup", "list", "--json"))
        return rows

    def ids(self, job: str = "app") -> list[str]:
        return sorted({row["id"] for row in self.listing() if row["job"] == job})

    @property
    def state(self) -> Path:
        return self.machine.path(STATE)

    @property
    def owed(self) -> list[Path]:
        return list(self.state.glob("ledger/*/*.json"))

    def events(self, kind: str, *matches: str) -> list[dict[str, Any]]:
        """Our entries of a kind in the journal."""
        (message_id,) = (each.message_id for each in Kind if each == kind)
        return self.machine.journal(f"MESSAGE_ID={message_id}", *matches)

    def is_up_again(self, name: str = "app") -> None:
        """The container runs, and nothing is owed."""
        wait(lambda: self.docker.is_running(name), f"{name} runs")
        wait(lambda: not self.owed, "nothing is owed")


def wait(condition: Any, what: str, seconds: float = 120.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"After {seconds:g} seconds still not: {what}"
        time.sleep(0.1)
