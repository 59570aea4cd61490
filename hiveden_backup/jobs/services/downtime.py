"""The job's containers, down for as long as a cold pass takes and no longer.

The debt is written before each stop and crossed out only after the container was seen running again. What has no order
goes down and comes back at once.
"""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from hiveden_backup.core import events
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import stopped_before
from hiveden_backup.core.errors import BackupError, BusyError, DeniedError, NotFoundError, StorageError
from hiveden_backup.core.model import StoppedContainer
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.ledger import Debt, boot_id
from hiveden_backup.host.state.locks import LockedContainers, container_locks
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.at_once import Errand, do_all
from hiveden_backup.jobs.services.debts import CALL_SECONDS, Payment, PaymentResult, pay_debt, through_outage
from hiveden_backup.jobs.services.docker import all_to_stop

_STEADY_SECONDS = 10.0  # of one that was restarted since we started it: what Docker takes for a good start


@dataclass(slots=True, eq=False)
class _Down:
    """A container that we stop: as it was before, as it is since, and when (monotonic seconds).

    `stopping` is None until Docker is asked, `failed` is why that went wrong. `payment` is what became of its debt,
    None until it was tried, and `problem` what is told of it.
    """

    before: Container
    debt: Debt
    since: float = 0.0
    stopping: Errand | None = None
    stopped: Container | None = None
    failed: BackupError | None = None
    until: float | None = None
    payment: Payment | None = None
    problem: BackupError | None = None

    @property
    def under_way(self) -> bool:
        """Whether Docker has not answered to its stop yet."""
        return self.stopping is not None and self.stopped is None and self.failed is None

    @property
    def never_asked(self) -> bool:
        """Whether it is certain that Docker did not stop it for us."""
        return self.stopping is None or isinstance(self.failed, DeniedError | NotFoundError)


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
    _first: dict[str, frozenset[str]] = field(default_factory=dict)

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

    # ---- stopping

    def stop(self, containers: Sequence[Container]) -> None:
        """Stop those of `containers` that run, with what lives in them, dependents first and the rest at once.

        What does not run stays as it is. The first failure is raised when what was begun has come to its end.
        """
        found = self._as_they_are(containers)
        for container in found:
            if not container.goes_down:
                self._leave(container)
        waiting = [container for container in found if container.goes_down]
        ended: queue.SimpleQueue[_Down] = queue.SimpleQueue()
        up = {container.id for container in waiting}
        flying = 0
        while waiting or flying:
            ready = [container for container in waiting if not self._first[container.id] & up]
            waiting = [container for container in waiting if container not in ready]
            for down in [self._owe(container) for container in ready]:
                self._ask(down, ended)
                flying += 1
            down = ended.get()
            flying -= 1
            up.discard(down.before.id)
            self._see(down, flying, ended)

    def _as_they_are(self, containers: Sequence[Container]) -> list[Container]:
        """As they are now, in their order, by name: one may have been made anew since validation."""
        found, everything = all_to_stop(self.docker, [container.name for container in containers])
        stranger = next((each.name for each in found if each.name not in self.locked.names), None)
        if stranger is not None:
            raise BackupError(
                f"The container {stranger} lives in one that is to be stopped since a moment ago",
                "It would have to be stopped, too, and was not there when this began",
                "Run again",
            )
        self._first = stopped_before(found, everything)
        return found

    def _leave(self, container: Container) -> None:
        log.info(
            f"Container {container.name} is {container.status} and stays so", job=self.job, container=container.name
        )
        self._idle.append(container)

    def _owe(self, container: Container) -> _Down:
        down = self._down_of(container)
        with deferred():  # a debt that is written is one that we know of, and pay
            self.installation.ledger.owe(down.debt)
            self._down.append(down)
        with translated(f"stopping the container {container.name}", unwritable=StorageError):
            failpoint("owe")
        return down

    def _down_of(self, container: Container) -> _Down:
        now = self.installation.now()
        debt = Debt(
            job=self.job,
            id=container.id,
            name=container.name,
            boot_id=boot_id(),
            started_at=container.started_at,
            owed_at=now,
            stop_timeout=self.stop_timeout,
            restless=container.restless(now),
        )
        return _Down(container, debt, time.monotonic())

    def _ask(self, down: _Down, ended: "queue.SimpleQueue[_Down]") -> None:
        def stop(_: Errand) -> None:
            try:
                down.stopped = self.docker.stop(down.before, self.stop_timeout)
            except BackupError as error:
                down.failed = error
            finally:
                ended.put(down)

        down.since = time.monotonic()
        with deferred():
            down.stopping = Errand(stop)
            down.stopping.begin()

    def _see(self, down: _Down, flying: int, ended: "queue.SimpleQueue[_Down]") -> None:
        """What came of a stop. Before its failure is raised, those that are under way come to their end."""
        if down.stopping is not None:
            down.stopping.join()
        if down.failed is not None:
            others = [ended.get() for _ in range(flying)]
            for name in (other.before.name for other in others if other.stopped is not None):
                log.event(events.ContainerStopped(self.job, name))
            raise down.failed
        if down.stopped is None:  # it was down already: Docker may have been asked twice, by a proxy that tries again
            down.stopped = self.docker.container(down.before.id)
            if down.stopped.ended_before(down.debt.owed_at):  # somebody else stopped it, and knows why
                with deferred():
                    self.installation.ledger.cross_off(self.job, down.before.name)
                    self._down.remove(down)
                self._leave(down.stopped)
                return
        log.event(events.ContainerStopped(self.job, down.before.name))
        with translated(f"stopping the container {down.before.name}", unwritable=StorageError):
            failpoint("stop")

    def check_undisturbed(self) -> None:
        """BackupError when somebody started or removed one of the containers while all were to be down."""
        deadline = time.monotonic() + self.start_timeout
        for was in (*self._idle, *(down.stopped for down in self._down if down.stopped is not None)):
            try:
                now = through_outage(lambda: self.docker.container(was.id), deadline)  # noqa: B023 - called at once
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

    # ---- starting

    def start(self) -> None:
        """Start what was stopped, in the opposite order, and pay every debt that can be paid. Signals wait meanwhile.

        All of them together have `start_timeout`, and the time of stops that are under way. Failures are collected in
        `problems`, never raised, so that every container gets its attempt. Doing it again goes on where it was broken
        off.
        """
        with deferred():
            owing = [down for down in reversed(self._down) if down.payment is None]
            patience = self.start_timeout + (self.stop_timeout if any(down.under_way for down in owing) else 0.0)
            self._start([(down, self.locked) for down in owing], time.monotonic() + patience)
            for down in owing:
                self._tell(down)

    def _start(self, owing: Sequence[tuple[_Down, LockedContainers]], deadline: float) -> None:
        """Pay these debts at once, but each after those of what it needs, which come before it."""
        errands: dict[str, Errand] = {}
        for down, locked in owing:
            this = down.before.id
            needs = [errand for each, errand in errands.items() if this in self._first.get(each, ())]
            errands[this] = Errand(self._payer(down, locked, deadline), needs)
        with self.docker.within(CALL_SECONDS):
            do_all(errands.values())

    def _payer(self, down: _Down, locked: LockedContainers, deadline: float) -> Callable[[Errand], None]:
        def pay(errand: Errand) -> None:
            if down.stopping is not None:
                down.stopping.wait()
            if isinstance(down.failed, NotFoundError):
                down.payment = self._let_go(down)
                return
            down.payment = pay_debt(
                self.docker,
                self.installation.ledger,
                down.debt,
                locked,
                deadline=deadline,
                asked=not down.never_asked,
                begun=errand.others_may_go,
            )

        return pay

    def _let_go(self, down: _Down) -> Payment:
        """Owe no more for one that was removed before it was stopped: whoever did that has one of its name started."""
        try:
            with translated(f"crossing off the debt for the container {down.before.name}", unwritable=StorageError):
                self.installation.ledger.cross_off(self.job, down.before.name)
        except BackupError as error:
            return Payment(self.job, down.before.name, PaymentResult.FAILED, str(error), error)
        return Payment(self.job, down.before.name, PaymentResult.GONE, "It was removed before it was stopped")

    def _tell(self, down: _Down) -> None:
        payment = down.payment
        if payment is None:
            return
        down.until = payment.started or time.monotonic()
        if payment.error is not None:
            down.problem = _still_down(payment.error, self.job, payment.container)
            self.problems.append(down.problem)
            return
        if payment.detail:
            log.warning(f"Container {payment.container}: {payment.detail}", job=self.job, container=payment.container)
        if payment.untouched:
            log.info(f"Container {payment.container} was not stopped", job=self.job, container=payment.container)
        elif payment.outcome is not PaymentResult.GONE:
            log.event(events.ContainerStarted(self.job, payment.container, down.until - down.since))

    def bring_up(self, containers: Sequence[Container]) -> None:
        """As `start`, and all of `containers` run then: also what failed to start before, ended since, or never ran.

        BackupError when one of all that does not; it stays among `problems`.
        """
        with deferred():
            for down in self._down:
                if down.problem is not None:
                    self.problems.remove(down.problem)
                    down.problem = down.payment = None
            owed = {down.before.name for down in self._down if down.payment is None}
            for container in containers:
                if not container.up and container.name not in owed:
                    self._down.append(self._down_of(container))  # no stop of ours: nothing new is owed
            self.start()
        first = next((down.problem for down in self._down if down.problem is not None), None)
        if first is not None:
            raise first

    def start_at_last(self) -> None:
        """Try once more to start what is still down, at the end of everything else. What runs then is no problem."""
        with ExitStack() as held:
            again: list[tuple[_Down, LockedContainers]] = []
            for down in reversed(self._down):
                locked = held.enter_context(self._held(down)) if down.problem is not None else None
                if locked is not None:
                    again.append((down, locked))
            with deferred():
                self._start(again, time.monotonic())
                for down, _ in again:
                    self._tell_at_last(down)

    def _tell_at_last(self, down: _Down) -> None:
        problem, payment = down.problem, down.payment
        if problem is None or payment is None or payment.error is not None:
            return
        self.problems.remove(problem)
        log.warning(
            f"Container {payment.container} did not start at first, and runs now: {problem.why}",
            job=self.job,
            container=payment.container,
        )
        down.problem = None
        self._tell(down)

    # ---- running

    def await_healthy(self) -> None:
        """Wait until what we started is healthy, where it was before; start again what ended meanwhile.

        All of them together have `start_timeout` for it.
        """
        deadline = time.monotonic() + self.start_timeout
        for down in reversed(self._down):
            if down.payment is None or down.payment.outcome not in (PaymentResult.STARTED, PaymentResult.RUNNING):
                continue  # gone, or its failure is reported already
            if down.debt.restless or down.payment.untouched:
                continue
            try:
                with self._held(down) as locked:
                    if locked is not None:
                        self._await_healthy(down.before, deadline)
            except NotFoundError as error:
                log.warning(f"Container {down.before.name}: {error}", job=self.job)
            except BackupError as error:
                self.problems.append(error)

    def _await_healthy(self, before: Container, deadline: float) -> None:
        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        container = through_outage(lambda: self.docker.container(before.id), deadline)
        if not container.up and not container.restarting:
            log.warning(f"Container {container.name} ended again and is started anew", job=self.job)
            self.docker.start(container)
            self.docker.wait_running(container, left())
        elif container.restarts:
            self.docker.wait_running(container, left(), steady=_STEADY_SECONDS)
        if before.health == "healthy":
            self.docker.wait_healthy(container, left())

    @contextmanager
    def _held(self, down: _Down) -> Iterator[LockedContainers | None]:
        """The container for the block, if it is free: another job may have stopped it by now, and starts it again."""
        with ExitStack() as stack:
            try:
                locks = container_locks(self.installation.state, [down.before.name], 0.0)
                locked: LockedContainers | None = stack.enter_context(locks)
            except BusyError:
                locked = None
            yield locked

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
            if down.payment is None or not down.payment.untouched
        )


def _still_down(error: BackupError, job: str, container: str) -> BackupError:
    told = BackupError(
        f"The container {container} could not be started again",
        str(error),
        f"Put that right, then start it: hiveden-backup recover --job {job}",
    )
    told.exit_code = error.exit_code
    return told
