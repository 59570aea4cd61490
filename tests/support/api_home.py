"""A booted machine with the API's socket up, a configuration, and a marked backup directory."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import tomli_w

from tests.support.http import Client, free_port
from tests.support.machine import CHECKOUT, PATIENCE, Machine

SOCKET = "/run/hiveden-backup/api.sock"
SERVICE = "hiveden-backup-api.service"
UNITS = ("hiveden-backup-api.socket", SERVICE)
_LARGE = 4_000_000


class Home:
    """The machine as a dashboard's host. `jobs` and `api` are what `configure` writes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.jobs: dict[str, dict[str, Any]] = {}
        self.api: dict[str, Any] = {"idle": "60s"}

    def configure(self) -> None:
        table = {"directory": "/srv/backups", "retention": {"keep_last": 7}, "api": self.api, "jobs": self.jobs}
        self.machine.write("/etc/hiveden-backup/config.toml", tomli_w.dumps(table))

    def furnish(self) -> "Home":
        """One job, `files`, over a small tree; nothing is scheduled."""
        machine = self.machine
        machine.ok("groupadd", "--system", "--force", "hiveden-backup")
        for unit in UNITS:
            machine.write(f"/etc/systemd/system/{unit}", (CHECKOUT / "systemd" / unit).read_text())
        machine.ok("systemctl", "daemon-reload")
        machine.write("/srv/tree/file", "content\n")
        self.jobs["files"] = {"paths": ["/srv/tree"]}
        self.configure()
        machine.ok("hiveden-backup", "init", "--directory", "/srv/backups")
        machine.ok("systemctl", "start", UNITS[0])
        return self

    @property
    def client(self) -> Client:
        return Client(str(self.machine.path(SOCKET)))

    def is_active(self, unit: str = SERVICE) -> bool:
        return self.machine.show(unit, "ActiveState")["ActiveState"] == "active"

    def listen_on_tcp(self) -> int:
        """Let the socket listen on loopback, too, by a drop-in as the README has it; the port."""
        port = free_port("127.0.0.1")
        drop_in = f"[Socket]\nListenStream=127.0.0.1:{port}\n"
        self.machine.write(f"/etc/systemd/system/{UNITS[0]}.d/tcp.conf", drop_in)
        self.machine.ok("systemctl", "daemon-reload")
        self.machine.ok("systemctl", "stop", SERVICE)
        self.machine.ok("systemctl", "restart", UNITS[0])
        return port

    def ended(self, run: str) -> dict[str, Any]:
        """What is said of a run once it has ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found: dict[str, Any] = self.client.get(f"/runs/{run}").ok()
            if found["result"] != "running":
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def sql(self, container: str, statement: str, database: str = "shop") -> str:
        """What the server in a container answers."""
        assert self.machine.docker is not None
        sockets = f"/proc/{self.machine.docker.state(container)['Pid']}/root/run/postgresql"
        return self.machine.ok("psql", "-h", sockets, "-U", "postgres", "-d", database, "-XAtc", statement).strip()

    def databases(self, container: str) -> list[str]:
        """The names of the databases in a container."""
        return self.sql(container, "SELECT datname FROM pg_database", "postgres").splitlines()

    # ---- a run that takes a while

    def slow_job(self, **settings: Any) -> None:
        """A job `slow` that needs a second or so for each megabyte."""
        large = self.machine.srv / "slow/large"
        large.parent.mkdir(exist_ok=True)
        large.write_bytes(os.urandom(_LARGE))
        self.jobs["slow"] = {"paths": ["/srv/slow"], "compression_level": 16, **settings}
        self.configure()

    @contextlib.contextmanager
    def slow_run(self) -> Iterator[str]:
        """A run of that job that stands still while the block lasts; its name."""
        self.slow_job()
        run: str = self.client.post("/jobs/slow/run?wait=false").ok(202)["run"]
        with self.stopped_run():
            yield run

    @contextlib.contextmanager
    def stopped_run(self) -> Iterator[None]:
        """The job's run, whoever started it, stands still while the block lasts."""
        unit = "hiveden-backup@slow.service"
        self.machine.until(["sh", "-c", "ls /srv/backups/slow/.incoming-*/*.hot-*.tar.zst"])
        self.machine.ok("systemctl", "kill", "--signal=STOP", unit)
        try:
            yield
        finally:
            self.machine.ok("systemctl", "kill", "--signal=CONT", unit)
