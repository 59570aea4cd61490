"""In-place restores after their beginning: forward, back, undone, and forgotten when their time is over.

The record says which way; every step can be done again. Nobody starts the containers of an act that is half done: what
they would write into a mixture of old and new cannot be told apart later.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hiveden_backup.core import events
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import stop_order
from hiveden_backup.core.errors import BackupError, BusyError, NotFoundError, StorageError, UnreachableError
from hiveden_backup.core.model import Job
from hiveden_backup.core.paths import inside
from hiveden_backup.core.restore_record import Act, DatabaseSwap, Phase
from hiveden_backup.host.disk import mounts, swaps
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.locks import container_locks, job_lock
from hiveden_backup.host.state.restore_records import Acts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.services.downtime import Downtime

if TYPE_CHECKING:
    from hiveden_backup.host.docker.engine import Docker
    from hiveden_backup.host.postgres.swap import Staged

_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a job's act that was broken off; `error` when it still waits to be finished."""

    job: str
    act: Act | None
    error: BackupError | None = None
    busy: bool = False

    def __str__(self) -> str:
        what = f"the in-place restore of {self.act.backup}" if self.act is not None else "an in-place restore"
        if self.error is not None:
            return f"{what} could not be settled: {self.error}"
        if self.act is None or self.busy:
            return "skipped, its job is busy and settles it itself"
        told = {Phase.DONE: "was finished", Phase.UNDONE: "was reversed"}
        return f"{what} that was broken off {told.get(self.act.phase, 'was taken back: nothing had been replaced')}"


@dataclass(frozen=True, slots=True)
class Mover:
    """Carries acts out."""

    installation: Installation

    @property
    def acts(self) -> Acts:
        """The records."""
        return Acts(self.installation.state)

    # ---- either way

    def forward(self, act: Act, point: str = "") -> Act:
        """Everything of a committed act that is not in place yet; the act as it is then, to be written down."""
        _check_holders(act)
        with self._servers(act) as servers, translated(f"swapping the files of {act.job}", unwritable=StorageError):
            for database in act.databases:
                _reach(point)
                with servers(database) as (postgres, endpoint):
                    postgres.swap(endpoint, _staged(database))
            for swap in act.swaps:
                _reach(point)
                swaps.forward(swap)
            _reach(point)
            for dress in act.dresses:
                swaps.dress(dress.new, dress.live)
            swaps.settle(act.swaps, act.dresses)
        return replace(act, phase=Phase.DONE, finished=self.installation.now())

    def backward(self, act: Act, point: str = "") -> Act:
        """Everything back to where it was before; the act as it is then, to be written down."""
        _check_holders(act)
        with self._servers(act) as servers, translated(f"putting back the files of {act.job}", unwritable=StorageError):
            for swap in reversed(act.swaps):
                _reach(point)
                swaps.backward(swap)
            for dress in act.dresses:
                swaps.dress(dress.old, dress.live)
            swaps.settle(act.swaps, act.dresses)
            _unmake(act)
            for database in act.databases:
                _reach(point)
                with servers(database) as (postgres, endpoint):
                    postgres.put_back(endpoint, _staged(database))
            _reach(point)
        return replace(act, phase=Phase.UNDONE, finished=self.installation.now())

    def check_kept(self, act: Act) -> None:
        """BackupError when something that an act replaced is not kept any more: half an undo could never be ended."""
        kept = (*act.holders, *(swap.old for swap in act.swaps if swap.had), *(dress.old for dress in act.dresses))
        with translated(f"looking for what the restore of {act.backup} replaced", unwritable=StorageError):
            gone = next((path for path in kept if not swaps.there(path)), None)
        if gone is not None:
            raise NotFoundError(
                f"{gone} is not there",
                f"It held what the restore of {act.job}/{act.backup} replaced, and its disk may not be mounted",
                "Mount it; if it was removed, there is nothing to put back",
            )
        with self._servers(act) as servers:
            for database in act.databases:
                with servers(database) as (postgres, endpoint):
                    postgres.check_kept(endpoint, _staged(database))

    def take_back(self, act: Act) -> None:
        """Remove what was staged for an act that did not come to its commit, and its record."""
        self._clear(act)
        _unmake(act)
        self._each_database(act, lambda postgres, endpoint, database: postgres.discard(endpoint, _staged(database)))
        self.acts.remove(act)

    def forget(self, act: Act) -> None:
        """Remove for good what an act replaced, or what its undo took away, and its record."""
        self._clear(act)
        if act.phase is Phase.DONE:
            self._each_database(act, lambda postgres, endpoint, swap: postgres.drop_kept(endpoint, _staged(swap)))
        else:
            self._each_database(act, lambda postgres, endpoint, swap: postgres.discard(endpoint, _staged(swap)))
        self.acts.remove(act)

    def _clear(self, act: Act) -> None:
        table = mounts.mounts()
        for holder in act.holders:
            mounted = [mount.point for mount in table if inside(mount.point, holder)]
            if mounted:
                raise StorageError(
                    f"{holder} cannot be removed", f"{mounted[0]} is mounted in it", f"Unmount it: umount {mounted[0]}"
                )
            with translated(f"removing {holder}", unwritable=StorageError):
                swaps.clear(holder)

    # ---- its databases

    def _each_database(self, act: Act, do) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - a step of postgres_swap
        with self._servers(act) as servers:
            for database in act.databases:
                try:
                    with servers(database) as (postgres, endpoint):
                        do(postgres, endpoint, database)
                except NotFoundError as error:  # with its server it is gone
                    log.warning(f"Databases of {database.server} cannot be dropped: {error}", job=act.job)

    @contextmanager
    def _servers(self, act: Act):  # type: ignore[no-untyped-def] # noqa: ANN202 - psycopg is slow to import
        """For the block, a way to each database's server."""
        with ExitStack() as stack:
            docker = self._connect(stack) if any(each.source.container for each in act.databases) else None

            @contextmanager
            def server(database: DatabaseSwap):  # type: ignore[no-untyped-def] # noqa: ANN202
                from hiveden_backup.host.postgres import swap as postgres_swap  # noqa: PLC0415 - slow to import
                from hiveden_backup.jobs.services.servers import endpoint_of  # noqa: PLC0415 - as above

                yield postgres_swap, endpoint_of(database.source, database.server, docker)

            yield server

    def _connect(self, stack: ExitStack) -> "Docker":
        from hiveden_backup.host.docker.engine import connect  # noqa: PLC0415 - slow to import

        return stack.enter_context(connect(self.installation.docker))

    # ---- broken off

    def settle(self, act: Act) -> Act:
        """Finish an act that was broken off, whichever way its record says. BackupError when it cannot be, yet.

        The caller holds the job's lock, and pays the ledger afterwards. An act that was taken back is returned as it
        was.
        """
        if act.phase is Phase.STAGING:
            self.take_back(act)
            return act
        with ExitStack() as stack:
            downtime: Downtime | None = None
            if act.containers:
                docker = self._connect(stack)
                job = Job(name=act.job, stop_timeout=act.stop_timeout, start_timeout=act.start_timeout)
                stack.enter_context(container_locks(self.installation.state, act.containers, job.lock_wait))
                downtime = Downtime(docker, self.installation.ledger, job, self.installation.now)
                downtime.stop(existing(docker, act.containers)[0])  # after a boot, Docker may have started some
            act = self._drive(act)
            self.acts.put(act)
            if downtime is not None:
                downtime.start()
        return act

    def _drive(self, act: Act) -> Act:
        return self.forward(act) if act.phase is Phase.COMMITTED else self.backward(act)

    def _settle_by(self, act: Act, deadline: float) -> Act:
        """As `settle`; again until `deadline` while a server does not answer yet, as after a power cut."""
        while True:
            try:
                return self.settle(act)
            except UnreachableError:
                if not act.half_done or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)

    def settle_all(self, job: str, patience: float = 0.0) -> Iterator[Settled]:
        """Finish each act of a job that was broken off. The caller holds its lock. Fails by its values only.

        `patience` is for how many seconds servers that do not answer are waited for.
        """
        deadline = time.monotonic() + patience
        for act in self.acts.of(job):
            if act.pending:
                try:
                    yield Settled(job, self._settle_by(act, deadline))
                except BackupError as error:
                    yield Settled(job, act, error)

    # ---- their time is over

    def expire(self, keep: Callable[[str], float | None], held: str | None = None) -> Iterator[BackupError]:
        """Forget every job's acts whose time is over; yields what could not be removed now.

        `keep` tells how long a job keeps them, None for what was said when it was restored. `held` is the job whose
        lock the caller has.
        """
        for job in self.acts.jobs():
            try:
                with nullcontext() if job == held else job_lock(self.installation.state, job):
                    for act in self.acts.of(job):
                        asked = keep(job)
                        over = act.expired(self.installation.now(), act.keep if asked is None else asked)
                        if over and _may_clear(act):
                            self.forget(act)
                            log.info(f"Removed what the in-place restore of {act.backup} replaced", job=job)
            except BusyError:
                continue  # the next run does it
            except BackupError as error:
                yield error


def settle_each(mover: Mover, job: str | None = None, patience: float = 0.0) -> Iterator[Settled]:
    """Finish what was broken off of `job`, or of every job; their locks are taken here. Fails by its values only.

    `patience` is for how many seconds each job's servers are waited for, when they do not answer.
    """
    for name in mover.acts.jobs() if job is None else (job,):
        try:
            if any(act.pending for act in mover.acts.of(name)):
                with job_lock(mover.installation.state, name):
                    yield from mover.settle_all(name, patience)
        except BusyError:
            yield Settled(name, None, busy=True)
        except BackupError as error:
            yield Settled(name, None, error)


def expire(mover: Mover, jobs: Mapping[str, Job], held: str | None = None) -> None:
    """Remove what in-place restores replaced and whose time is over; what cannot be removed now is a warning.

    `jobs` are those that are configured, `held` is the one whose lock the caller has.
    """
    keep = {name: job.undo_keep for name, job in jobs.items()}
    try:
        for error in mover.expire(keep.get, held):
            log.warning(str(error))
    except BackupError as error:
        log.warning(str(error))


def tell(settled: Settled) -> None:
    """Log what became of an act that was broken off."""
    outcome = str(settled)
    log.event(events.Recovered(settled.job, f"{outcome[0].upper()}{outcome[1:]}", failed=settled.error is not None))


def existing(docker: "Docker", names: Sequence[str]) -> tuple[list[Container], list[str]]:
    """Those containers that there are, in the order in which to stop them; and the names of the others."""
    found, absent = [], []
    for name in names:
        try:
            found.append(docker.container(name))
        except NotFoundError:
            absent.append(name)
    return stop_order(found, docker.containers() if found else ()), absent


def insist(first: Callable[[], Act], again: Callable[[], Act]) -> tuple[Act, BackupError | None]:
    """Do what must not stay half done, twice if it must be; and the failure that the second time made good."""
    with deferred():
        try:
            return first(), None
        except BackupError as error:
            log.warning(f"{error} Trying once more")
            return again(), error


def unfinished(act: Act, error: BackupError) -> BackupError:
    """The error for an act that is half done; its exit code is the reason's."""
    stopped = f", and {', '.join(act.containers)} stopped until then" if act.containers else ""
    told = BackupError(
        f"The in-place restore of {act.job} is half done{stopped}",
        str(error),
        f"Put that right, then finish it: hiveden-backup recover --job {act.job}",
    )
    told.exit_code = error.exit_code
    return told


def _check_holders(act: Act) -> None:
    """StorageError when what is to change places cannot be seen, for then it would seem to have done so already."""
    for holder in act.holders:
        if not swaps.there(holder):
            raise StorageError(
                f"{holder} is not there",
                "It holds what comes and goes: perhaps its disk is not mounted",
                "Mount it",
            )


def _unmake(act: Act) -> None:
    """Remove the directories that were made above restored paths, as far as they are empty."""
    with suppress(OSError):  # somebody uses them by now, or they were never made
        for path in reversed(act.made):
            os.rmdir(path)


def _may_clear(act: Act) -> bool:
    """Whether what an act keeps can be removed now: a disk may be away, and a job's unit sees the machine read-only."""
    return all(os.access(os.path.dirname(holder), os.W_OK) for holder in act.holders)


def _reach(point: str) -> None:
    """A fail point of the first attempt; the second one, and `recover`, have none there."""
    if point:
        failpoint(point)


def _staged(database: DatabaseSwap) -> "Staged":
    from hiveden_backup.host.postgres.swap import Staged  # noqa: PLC0415 - slow to import

    return Staged(
        server=database.server,
        live=database.live,
        staged=database.staged,
        kept=database.kept,
        oid=database.oid,
        replaced=database.replaced,
    )
