"""The API under a booted systemd: its socket, its units, and what it has others do."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.support.http import Client
from tests.support.job import LARGE
from tests.support.machine import CHECKOUT, Machine

SOCKET = "/run/hiveden-backup/api.sock"
SERVICE = "hiveden-backup-api.service"
UNITS = ("hiveden-backup-api.socket", SERVICE)
CURL = ("curl", "--silent", "--show-error", "--max-time", "60", "--unix-socket", SOCKET)


class Home:
    """A machine with the API's socket up, a configuration, and a marked backup directory."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.jobs: dict[str, dict[str, Any]] = {}
        self.api: dict[str, Any] = {"idle": "60s"}

    def configure(self) -> None:
        table = {"directory": "/srv/backups", "retention": {"keep_last": 7}, "api": self.api, "jobs": self.jobs}
        self.machine.write("/etc/hiveden-backup/config.toml", tomli_w.dumps(table))

    def furnish(self) -> "Home":
        machine = self.machine
        machine.ok("groupadd", "--system", "--force", "hiveden-backup")
        for unit in UNITS:
            machine.write(f"/etc/systemd/system/{unit}", (CHECKOUT / "systemd" / unit).read_text())
        machine.ok("systemctl", "daemon-reload")
        machine.write("/srv/tree/file", "content\n")
        self.jobs["files"] = {"paths": ["/srv/tree"]}
        self.configure()
        machine.ok("hiveden-backup", "init", "--directory", "/srv/backups")
        machine.ok("hiveden-backup", "schedule", "apply")
        machine.ok("systemctl", "start", "hiveden-backup-api.socket")
        return self

    @property
    def client(self) -> Client:
        return Client(str(self.machine.path(SOCKET)))

    def is_active(self, unit: str = SERVICE) -> bool:
        return self.machine.show(unit, "ActiveState")["ActiveState"] == "active"


@pytest.fixture
def home(machine: Machine) -> Home:
    return Home(machine).furnish()
