"""Paying the ledger: start what this program stopped and, killed or failed, did not start again.

Paying twice is harmless. Every debt is tried before anything is reported; nothing is printed here.
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from hiveden_backup.core import events
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import stop_order
from hiveden_backup.core.errors import BackupError, BusyError, NotFoundError, StorageError, UnreachableError
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.ledger import Debt, Ledger, boot_id
from hiveden_backup.host.state.locks import ExclusiveJob, LockedContainers, container_locks, job_lock

_START_ATTEMPTS = 3
_RETRY_SECONDS = 1.0
_START_TIMEOUT = 60.0
_LEAST_WAIT = 2.0
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
    """What became of the debt of `job` for `container`. `detail` is worth a person's attention, "" when nothing is."""

    job: str
    container: str
    outcome: PaymentResult
    detail: str = ""
    error: BackupError | None = None

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

    `lock_wait` seconds are waited in all for containers that other jobs hold, `start_timeout` for each to run.
    UnreachableError when something is owed and Docker does not answer.
    """
    payments: dict[tuple[str, str], Payment] = {}
    deadline = time.monotonic() + lock_wait
    with contextlib.ExitStack() as connection:
        docker: Docker | None = None
        while True:
            tried: list[Payment] = []
            for name in dict.fromkeys(debt.job for debt in ledger.debts(job) if debt.job not in waiting):
                try:
                    with job_lock(ledger.state, name):
                        debts = ledger.debts(name)  # again: before we had the lock its run may have paid
                        if debts and docker is None:
                            docker = connection.enter_context(connect())
                        if docker is not None:
                            tried += _pay_all(docker, ledger, debts, deadline, start_timeout)
                except BusyError as error:
                    tried += [
                        Payment(name, debt.name, PaymentResult.SKIPPED, str(error)) for debt in ledger.debts(name)
                    ]
            payments |= {(payment.job, payment.container): payment for payment in tried}
            outcomes = {payment.outcome for payment in tried}
            if not {PaymentResult.STARTED, PaymentResult.FAILED} <= outcomes:
                return tuple(payments.values())
            # What failed may need what another job's debt has just started.


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
    docker: Docker, ledger: Ledger, debt: Debt, locked: LockedContainers, *, start_timeout: float = _START_TIMEOUT
) -> Payment:
    """Pay the debt for one of the `locked` containers. Fails by its value only."""
    if debt.name not in locked.names:
        raise ValueError(f"the container {debt.name} is not locked")
    try:
        container, notice = _past_its_stop(docker, debt)
        if container is None:
            outcome = PaymentResult.GONE
        elif container.up:
            outcome = PaymentResult.RUNNING
            notice = notice or ("It is paused, and stays so" if container.paused else "")
        else:
            _start(docker, container, start_timeout)
            outcome = PaymentResult.STARTED
        with translated(f"crossing off the debt for the container {debt.name}", unwritable=StorageError):
            failpoint("settle")
            ledger.cross_off(debt.job, debt.name)
    except BackupError as error:
        return Payment(debt.job, debt.name, PaymentResult.FAILED, str(error), error)
    return Payment(debt.job, debt.name, outcome, notice)


def _pay_all(
    docker: Docker, ledger: Ledger, debts: Sequence[Debt], deadline: float, start_timeout: float
) -> Iterator[Payment]:
    for debt in _in_start_order(docker, debts):
        try:
            with container_locks(ledger.state, [debt.name], max(0.0, deadline - time.monotonic())) as locked:
                yield pay_debt(docker, ledger, debt, locked, start_timeout=start_timeout)
        except BackupError as error:
            outcome = PaymentResult.BUSY if isinstance(error, BusyError) else PaymentResult.FAILED
            yield Payment(debt.job, debt.name, outcome, str(error), error)


def _in_start_order(docker: Docker, debts: Sequence[Debt]) -> list[Debt]:
    """What others need first: a container that joins another's network does not start before that."""
    everything = docker.containers()
    by_id = {container.id: container for container in everything}
    by_name = {container.name: container for container in everything}
    owed = {debt: by_id.get(debt.id) or by_name.get(debt.name) for debt in debts}
    places = {
        container.id: place
        for place, container in enumerate(reversed(stop_order([one for one in owed.values() if one], everything)))
    }
    return sorted(debts, key=lambda debt: places[container.id] if (container := owed[debt]) else -1)


def _past_its_stop(docker: Docker, debt: Debt) -> tuple[Container | None, str]:
    """As `_find`, once our stop is over: Docker goes on with it though its client was killed.

    Whether it was ever asked nobody knows. So one that has been up since before the stop is watched for as long as that
    may take; any other was started since.
    """
    patience = math.ceil(debt.stop_timeout) + _KILL_SECONDS
    passed = (datetime.now(UTC) - debt.owed_at).total_seconds()
    deadline = time.monotonic() + min(max(patience - passed, 0.0), patience)
    while True:
        container, notice = _find(docker, debt)
        untouched = container is not None and container.up and container.started_at == debt.started_at
        if not untouched or debt.boot_id != boot_id() or time.monotonic() >= deadline:
            return container, notice
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


def _start(docker: Docker, container: Container, timeout: float) -> None:
    """Start it and see it run. BackupError with the last reason after some attempts."""
    deadline = time.monotonic() + timeout
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            with translated(f"starting the container {container.name}"):
                failpoint("start")
                docker.start(container)
            docker.wait_running(container, max(_LEAST_WAIT, deadline - time.monotonic()))
        except UnreachableError:
            raise
        except BackupError:
            if attempt == _START_ATTEMPTS or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_SECONDS * attempt)
        else:
            return
