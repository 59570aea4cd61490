"""Paying the ledger: start what this program stopped and, killed or failed, did not start again.

Paying twice is harmless. Every debt is tried before anything is reported; nothing is printed here.
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from hiveden_backup.core import events
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import stop_order, stopped_before
from hiveden_backup.core.errors import (
    BackupError,
    BusyError,
    DeniedError,
    NotFoundError,
    StorageError,
    UnreachableError,
)
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.ledger import Debt, Ledger, boot_id
from hiveden_backup.host.state.locks import ExclusiveJob, LockedContainers, container_locks, job_lock
from hiveden_backup.jobs.services.at_once import Errand, do_all

_T = TypeVar("_T")

CALL_SECONDS = 20.0
"""How long a single answer is waited for while containers are to start; then it is asked for again."""
_RETRY_SECONDS = 0.5
_LONGEST_PAUSE = 4.0
_START_TIMEOUT = 60.0
_LEAST_WAIT = 2.0
_LEAST_CALL = 10.0
_POLL_SECONDS = 0.1
_KILL_SECONDS = 3.0  # from the end of a stop's timeout until Docker's SIGKILL has done its work
_LOCK_WAIT = 60.0


class PaymentResult(StrEnum):
    """What became of a debt. It is paid by the first three, and stays owed after the others."""

    STARTED = "started"
    RUNNING = "running"  # somebody else was faster
    GONE = "gone"  # removed; there is nothing to start
    SKIPPED = "skipped"  # its job runs now, and pays itself
    BUSY = "busy"  # another job holds the container
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Payment:
    """What became of the debt of `job` for `container`. `detail` is worth a person's attention, "" when nothing is.

    `started` is when we started it (monotonic seconds), None if we did not. An `untouched` one was up all the time.
    """

    job: str
    container: str
    outcome: PaymentResult
    detail: str = ""
    error: BackupError | None = None
    started: float | None = None
    untouched: bool = False

    @property
    def paid(self) -> bool:
        """Whether nothing is owed any more."""
        return self.outcome in (PaymentResult.STARTED, PaymentResult.RUNNING, PaymentResult.GONE)

    @property
    def exit_code(self) -> int:
        """What a command ends with for this one."""
        return self.error.exit_code if self.error is not None else 0


def tell(payment: Payment) -> None:
    """Put into the log what became of a debt."""
    detail = f". {payment.detail}" if payment.detail else ""
    message = f"Container {payment.container} was left stopped by an earlier run: {payment.outcome}{detail}"
    job, container, outcome = payment.job, payment.container, payment.outcome
    if payment.error is None:
        log.event(events.Recovered(job, message, container, outcome))
    else:
        log.event(events.Failed(message, payment.exit_code, job, container=container, result=outcome))


Connect = Callable[[], "AbstractContextManager[Docker]"]
"""How to reach Docker. It is only done when something is owed."""


def recover(
    connect: Connect,
    ledger: Ledger,
    job: str | None = None,
    *,
    lock_wait: float = _LOCK_WAIT,
    start_timeout: float = _START_TIMEOUT,
    waiting: Collection[str] = (),
) -> tuple[Payment, ...]:
    """Pay what `job`, or every job, owes; the jobs' locks are taken here, and a job that is busy is skipped.

    The jobs in `waiting` are left out: an in-place restore of theirs is half done.

    `lock_wait` seconds are waited in all for containers that other jobs hold, `start_timeout` for a job's to run.
    UnreachableError when something is owed and Docker does not answer.
    """
    payments: dict[tuple[str, str], Payment] = {}
    deadline = time.monotonic() + lock_wait
    with contextlib.ExitStack() as connection:
        docker: Docker | None = None
        # What fails may need what another job's debt starts: so all have one attempt before any has more.
        for patience in (0.0, start_timeout, 0.0):
            tried: list[Payment] = []
            for name in dict.fromkeys(debt.job for debt in ledger.debts(job) if debt.job not in waiting):
                try:
                    with job_lock(ledger.state, name):
                        debts = ledger.debts(name)  # again: before we had the lock its run may have paid
                        if debts and docker is None:
                            docker = connection.enter_context(connect())
                        if docker is not None:
                            tried += _pay_all(docker, ledger, debts, deadline, patience)
                except BusyError as error:
                    tried += [
                        Payment(name, debt.name, PaymentResult.SKIPPED, str(error)) for debt in ledger.debts(name)
                    ]
            payments |= {(payment.job, payment.container): payment for payment in tried}
            if PaymentResult.FAILED not in {payment.outcome for payment in tried}:
                break
    return tuple(payments.values())


def pay(
    connect: Connect,
    ledger: Ledger,
    job: ExclusiveJob,
    *,
    lock_wait: float = _LOCK_WAIT,
    start_timeout: float = _START_TIMEOUT,
) -> tuple[Payment, ...]:
    """As `recover`, for a job that is locked already (but not its containers)."""
    debts = ledger.debts(job.name)
    if not debts:
        return ()
    with connect() as docker:
        return tuple(_pay_all(docker, ledger, debts, time.monotonic() + lock_wait, start_timeout))


def pay_debt(
    docker: Docker,
    ledger: Ledger,
    debt: Debt,
    locked: LockedContainers,
    *,
    deadline: float,
    asked: bool = True,
    begun: Callable[[], None] = lambda: None,
) -> Payment:
    """Pay the debt for one of the `locked` containers, trying until `deadline`. Fails by its value only.

    `asked` is false where it is certain that Docker did not stop it. `begun` is called when those may start that need
    it: it was started, or refused to; as long as Docker is away, nothing else would start either.
    """
    if debt.name not in locked.names:
        raise ValueError(f"the container {debt.name} is not locked")
    started = None
    try:
        container, notice = _past_its_stop(docker, debt, deadline, asked=asked)
        if container is None:
            outcome = PaymentResult.GONE
        elif container.up or (debt.restless and container.running):
            outcome = PaymentResult.RUNNING
            notice = notice or ("It is paused, and stays so" if container.paused else "")
        else:
            started = _start(docker, container, deadline, begun, steady=not debt.restless)
            outcome = PaymentResult.STARTED
        with translated(f"crossing off the debt for the container {debt.name}", unwritable=StorageError):
            failpoint("settle")
            ledger.cross_off(debt.job, debt.name)
    except BackupError as error:
        return Payment(debt.job, debt.name, PaymentResult.FAILED, str(error), error)
    same = container is not None and (not asked or container.started_at == debt.started_at)
    untouched = outcome is PaymentResult.RUNNING and same
    return Payment(debt.job, debt.name, outcome, notice, started=started, untouched=untouched)


def _pay_all(
    docker: Docker, ledger: Ledger, debts: Sequence[Debt], lock_deadline: float, start_timeout: float
) -> Iterator[Payment]:
    """What is free at once and first, all of it together; then what others hold, as it becomes free."""
    ordered, needs = _in_start_order(docker, debts)
    payments: dict[str, Payment] = {}
    busy: list[Debt] = []
    with ExitStack() as held:
        errands: dict[str, Errand] = {}
        deadline = time.monotonic() + start_timeout
        for debt in ordered:
            try:
                locked = held.enter_context(container_locks(ledger.state, [debt.name], 0.0))
            except BusyError:
                busy.append(debt)
                continue
            except BackupError as error:
                payments[debt.name] = Payment(debt.job, debt.name, PaymentResult.FAILED, str(error), error)
                continue

            def settle(errand: Errand, debt: Debt = debt, locked: LockedContainers = locked) -> None:
                payments[debt.name] = pay_debt(
                    docker, ledger, debt, locked, deadline=deadline, begun=errand.others_may_go
                )

            needed = [errands[name] for name in needs[debt.name] if name in errands]
            errands[debt.name] = Errand(settle, needed)
        with deferred(), docker.within(CALL_SECONDS):
            do_all(errands.values())
    yield from (payments[debt.name] for debt in ordered if debt.name in payments)
    for debt in busy:
        try:
            with container_locks(ledger.state, [debt.name], max(0.0, lock_deadline - time.monotonic())) as locked:
                yield pay_debt(docker, ledger, debt, locked, deadline=time.monotonic() + start_timeout)
        except BackupError as error:
            outcome = PaymentResult.BUSY if isinstance(error, BusyError) else PaymentResult.FAILED
            yield Payment(debt.job, debt.name, outcome, str(error), error)


def _in_start_order(docker: Docker, debts: Sequence[Debt]) -> tuple[list[Debt], dict[str, list[str]]]:
    """What others need first, and for each by name what it needs: one that joins another's network starts after it."""
    everything = docker.containers()
    by_id = {container.id: container for container in everything}
    by_name = {container.name: container for container in everything}
    owed = {debt.name: by_id.get(debt.id) or by_name.get(debt.name) for debt in debts}
    ordered = stop_order([one for one in owed.values() if one], everything)
    before = stopped_before(ordered, everything)
    names = {container.id: name for name, container in owed.items() if container is not None}
    places = {container.id: place for place, container in enumerate(reversed(ordered))}
    needs: dict[str, list[str]] = {debt.name: [] for debt in debts}
    for needed, dependents in before.items():
        for dependent in dependents:
            needs[names[dependent]].append(names[needed])
    return (
        sorted(debts, key=lambda debt: places[container.id] if (container := owed[debt.name]) else -1),
        needs,
    )


def _past_its_stop(docker: Docker, debt: Debt, until: float, *, asked: bool) -> tuple[Container | None, str]:
    """As `_find`, once our stop is over: Docker goes on with it though its client was killed.

    Whether it was ever asked nobody knows, unless it was not. So one that has been up since before the stop is watched
    for as long as that may take; any other was started since. What restarts by itself is watched as well. An outage of
    Docker is waited out `until` then.
    """
    patience = math.ceil(debt.stop_timeout) + _KILL_SECONDS
    passed = (datetime.now(UTC) - debt.owed_at).total_seconds()
    deadline = time.monotonic() + min(max(patience - passed, 0.0), patience)
    while True:
        container, notice = through_outage(lambda: _find(docker, debt), until)
        up = container is not None and (container.running if debt.restless else container.up)
        untouched = up and container is not None and (debt.restless or container.started_at == debt.started_at)
        if not asked or not untouched or debt.boot_id != boot_id() or time.monotonic() >= deadline:
            return container, notice
        time.sleep(_POLL_SECONDS)


def through_outage(ask: Callable[[], _T], deadline: float) -> _T:
    """What Docker answers; again until `deadline` while it does not answer at all."""
    while True:
        try:
            return ask()
        except UnreachableError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_SECONDS)


def _find(docker: Docker, debt: Debt) -> tuple[Container | None, str]:
    """The container to start, and what is odd about it. One that was made anew has the name, not the id."""
    notice = f"Its ledger entry was damaged ({debt.damage})" if debt.damage else ""
    if debt.id:
        try:
            return docker.container(debt.id), notice
        except NotFoundError:
            notice = "It was removed since; one of the same name stands for it"
    try:
        return docker.container(debt.name), notice
    except NotFoundError:
        return None, "It was removed since, and there is no other of its name"


def _start(docker: Docker, container: Container, deadline: float, begun: Callable[[], None], *, steady: bool) -> float:
    """Start it, see it run steadily if it is to, and say when it was started (monotonic seconds).

    Tried until `deadline`, also through an outage of Docker. BackupError with the last reason.
    """
    pause = _RETRY_SECONDS
    while True:
        try:
            with translated(f"starting the container {container.name}"):
                failpoint("start")
                docker.start(container, max(_LEAST_CALL, deadline - time.monotonic()))
            started = time.monotonic()
            begun()
            if steady:
                docker.wait_running(container, max(_LEAST_WAIT, deadline - time.monotonic()))
        except (DeniedError, NotFoundError):
            raise
        except BackupError as error:
            if not isinstance(error, UnreachableError):
                begun()
            if time.monotonic() >= deadline:
                raise
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return started
