"""The containers of database servers, down while files that they use change places, and up again for their databases.

They are not among those that a job stops: a backup is dumped from them while they run.
"""

import time
from dataclasses import dataclass
from typing import Self

from hiveden_backup.core.errors import BackupError, ContainerError, UnreachableError
from hiveden_backup.core.model import StoppedContainer
from hiveden_backup.core.postgres.values import Endpoint
from hiveden_backup.core.restore_record import Act
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.state.locks import LockedContainers
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.docker import existing
from hiveden_backup.jobs.services.downtime import Downtime

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ServersDown:
    """The servers' containers of one act; there may be none. Stopping and starting may be done again."""

    names: tuple[str, ...]
    downtime: Downtime | None = None

    @classmethod
    def of(cls, installation: Installation, act: Act, docker: Docker, locked: LockedContainers) -> Self:
        """Those that an act says; their locks are among `locked`."""
        downtime = Downtime(docker, installation, act.job, locked, act.stop_timeout, act.start_timeout)
        return cls(act.servers, downtime)

    def stop(self) -> None:
        """Stop those that run."""
        if self.names and self.downtime is not None:
            self.downtime.stop(existing(self.downtime.docker, self.names)[0])

    def start(self) -> None:
        """Start all of them: they ran when the act began, and their databases are needed. BackupError when one ends."""
        down = self.downtime
        if not self.names or down is None:
            return
        down.start()
        problems = list(down.problems)
        down.problems.clear()
        containers = [each for each in existing(down.docker, self.names)[0] if each.name in self.names]
        for container in reversed(containers):
            if not container.up:
                if problems:
                    raise problems[0]
                down.docker.start(container)
                down.docker.wait_running(container, down.start_timeout)
            down.installation.ledger.cross_off(down.job, container.name)  # also what a killed run owed

    def await_server(self, endpoint: Endpoint) -> None:
        """Wait until a server accepts connections again. ContainerError when it does not: its files are not good."""
        if not self.names or self.downtime is None:
            return
        deadline = time.monotonic() + self.downtime.start_timeout
        while True:
            try:
                inspect(endpoint)
            except UnreachableError as error:
                if time.monotonic() >= deadline:
                    what = f"The server {endpoint.name} does not come up on what was put in place"
                    raise ContainerError(what, str(error), f"Look at `docker logs {endpoint.name}`") from error
            else:
                return
            time.sleep(_POLL_SECONDS)

    def finish(self) -> list[BackupError]:
        """What is wrong with them when all is done."""
        if self.downtime is None:
            return []
        self.downtime.await_healthy()
        self.downtime.start_at_last()
        return self.downtime.problems

    def summary(self) -> tuple[StoppedContainer, ...]:
        """Which of them were down, and how long."""
        return self.downtime.summary() if self.downtime is not None else ()


NO_SERVERS = ServersDown(())
