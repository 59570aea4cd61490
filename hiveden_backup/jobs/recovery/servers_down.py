"""The containers of database servers, down while files that they use change places, and up again for their databases.

They are not among those that a job stops: a backup is dumped from them while they run.
"""

import time
from collections.abc import Callable
from typing import Self

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, ContainerError, DeniedError, UnreachableError
from hiveden_backup.core.model import StoppedContainer
from hiveden_backup.core.postgres.values import Endpoint
from hiveden_backup.core.restore_record import Act
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.postgres import inspect
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
        if self.names and self.downtime is not None:
            found = existing(self.downtime.docker, self.names)[0]
            self.downtime.bring_up([each for each in found if each.name in self.names])

    def await_server(self, name: str, endpoint: Callable[[], Endpoint]) -> None:
        """Wait until a server accepts connections again. ContainerError when it does not: its files are not good.

        The way to it is looked for each time, for it is not there before the server listens.
        """
        if not self.names or self.downtime is None:
            return
        deadline = time.monotonic() + self.downtime.start_timeout
        while True:
            try:
                inspect.inspect(endpoint())
            except (UnreachableError, DeniedError) as error:
                if time.monotonic() >= deadline:
                    what = f"The server {name} does not come up on what was put in place"
                    raise ContainerError(what, str(error), f"Look at `docker logs {name}`") from error
            else:
                return
            time.sleep(_POLL_SECONDS)

    @property
    def problems(self) -> list[BackupError]:
        """Why some of them do not run."""
        return self.downtime.problems if self.downtime is not None else []

    def finish(self) -> list[BackupError]:
        """What is wrong with them when all is done."""
        if self.downtime is not None:
            self.downtime.await_healthy()
            self.downtime.start_at_last()
        return self.problems

    def summary(self) -> tuple[StoppedContainer, ...]:
        """Which of them were down, and how long."""
        return self.downtime.summary() if self.downtime is not None else ()


NO_SERVERS = ServersDown(())
