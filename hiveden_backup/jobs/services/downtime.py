"""The job's containers, down for as long as a cold pass takes and no longer.

The debt is written before each stop and crossed out only after the container was seen running again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from hiveden_backup.core import events
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, BusyError, NotFoundError, StorageError
from hiveden_backup.core.model import StoppedContainer
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.ledger import Debt, boot_id
from hiveden_backup.host.state.locks import LockedContainers, container_locks
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.debts import Payment, PaymentResult, pay_debt

_SEEN_SECONDS = 5.0


@dataclass(slots=True)
class _Down:
    """A container that we stopped: as it was before, as it is since, and when (monotonic seconds).

    `payment` is what became of its debt, None until it was tried.
    """

    before: Container
    debt: Debt
    since: float
    stopped: Container | None = None
    until: float | None = None
    payment: Payment | None = None


@dataclass(slots=True)
class Downtime:
    """Stops a job's containers, starts them again, and remembers for how long each was down.

    `locked` are those containers. Times are seconds. `problems` are starts that failed: they do not discard a good
    backup, and their debts stay in the ledger.
    """

    docker: Docker
    installation: Installation
    job: str
    locked: LockedContainers
    stop_timeout: float
    start_timeout: float
    problems: list[BackupError] = field(default_factory=list)
    _down: list[_Down] = field(default_factory=list)
    _idle: list[Container] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        docker: Docker,
        installation: Installation,
        job: Job,
        locked: LockedContainers,
        problems: list[BackupError],
    ) -> Self:
        """With the name and the time-outs of a job; `problems` is where failures are added."""
        return cls(docker, installation, job.name, locked, job.stop_timeout, job.start_timeout, problems)

    def stop(self, containers: Sequence[Container]) -> None:
        """Stop those of `containers` that run, in this order. What does not run stays as it is."""
        for planned in containers:
            container = self.docker.container(planned.name)  # by its name: it may have been made anew since validation
            if container.running and not container.paused:
                self._stop(container)
            else:
                log.info(
                    f"Container {container.name} is {container.status} and stays so",
                    job=self.job,
                    container=container.name,
                )
                self._idle.append(container)

    def _stop(self, container: Container) -> None:
        debt = Debt(
            job=self.job,
            id=container.id,
            name=container.name,
            boot_id=boot_id(),
            started_at=container.started_at,
            owed_at=self.installation.now(),
            stop_timeout=self.stop_timeout,
        )
        down = _Down(container, debt, time.monotonic())
        with deferred():  # a debt that is written is one that we know of, and pay
            self.installation.ledger.owe(debt)
            self._down.append(down)
        with translated(f"stopping the container {container.name}", unwritable=StorageError):
            failpoint("owe")
            down.stopped = self.docker.stop(container, self.stop_timeout)
            log.event(events.ContainerStopped(self.job, container.name))
            failpoint("stop")

    def check_undisturbed(self) -> None:
        """BackupError when somebody started or removed one of the containers while all were to be down."""
        for was in (*self._idle, *(down.stopped for down in self._down if down.stopped is not None)):
            try:
                now = self.docker.container(was.id)
            except NotFoundError as error:
                raise NotFoundError(
                    f"The container {was.name} was removed while it was to be down for the backup",
                    "What was read meanwhile may not be consistent",
                    "Run again when it is there, or correct `containers`",
                ) from error
            if (now.running, now.paused, now.started_at) != (was.running, was.paused, was.started_at):
                raise BackupError(
                    f"The container {now.name} was started while it was to be down for the backup",
                    "So what was read meanwhile may not be consistent",
                    "Find out who started it (`docker events`), then run again",
                )

    def start(self) -> None:
        """Start what was stopped, in the opposite order, and pay every debt that can be paid. Signals wait meanwhile.

        Failures are collected in `problems`, never raised, so that every container gets its attempt. Doing it again
        goes on where it was broken off.
        """
        with deferred():
            for down in reversed(self._down):
                if down.until is not None:
                    continue
                try:
                    with translated(f"starting the container {down.before.name}"):
                        failpoint("start")
                        self.docker.start(down.before)
                        down.until = time.monotonic()
                except BackupError as error:  # paid below, with more patience
                    log.debug(f"Container {down.before.name} did not start at once: {error}", job=self.job)
            for down in reversed(self._down):
                if down.payment is None:
                    self._pay(down)

    def _pay(self, down: _Down) -> None:
        if down.until is not None:
            try:
                self.docker.wait_running(down.before, min(_SEEN_SECONDS, self.start_timeout))
            except BackupError as error:
                down.until = None
                log.debug(str(error), job=self.job)
        payment = pay_debt(
            self.docker, self.installation.ledger, down.debt, self.locked, start_timeout=self.start_timeout
        )
        down.payment = payment
        if down.until is None or payment.outcome is PaymentResult.STARTED:
            down.until = time.monotonic()
        if payment.error is not None:
            self.problems.append(payment.error)
            return
        if payment.detail:
            log.warning(f"Container {payment.container}: {payment.detail}", job=self.job, container=payment.container)
        if payment.outcome is not PaymentResult.GONE:
            log.event(events.ContainerStarted(self.job, payment.container, down.until - down.since))

    def await_healthy(self) -> None:
        """Wait until what we started is healthy, where it has a check; start again what ended meanwhile."""
        for down in reversed(self._down):
            if down.payment is None or down.payment.outcome not in (PaymentResult.STARTED, PaymentResult.RUNNING):
                continue  # gone, or its failure is reported already
            try:
                with container_locks(self.installation.state, [down.before.name], 0.0):
                    self._await_healthy(down.before)
            except BusyError:
                continue  # another job has stopped it by now, and starts it again
            except NotFoundError as error:
                log.warning(f"Container {down.before.name}: {error}", job=self.job)
            except BackupError as error:
                self.problems.append(error)

    def _await_healthy(self, before: Container) -> None:
        container = self.docker.container(before.id)
        if not container.up:
            log.warning(f"Container {container.name} ended again and is started anew", job=self.job)
            self.docker.start(container)
            self.docker.wait_running(container, self.start_timeout)
        self.docker.wait_healthy(container, self.start_timeout)

    def summary(self) -> tuple[StoppedContainer, ...]:
        """For the manifest: which containers were down, and how long."""
        return tuple(
            StoppedContainer(
                down.before.name,
                down.before.image,
                down.before.image_id,
                round((down.until if down.until is not None else time.monotonic()) - down.since, 3),
            )
            for down in self._down
        )
