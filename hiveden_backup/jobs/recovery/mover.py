"""In-place restores after their beginning: forward, back, undone, and forgotten when their time is over.

The record says which way; every step can be done again. Nobody starts the containers of an act that is half done: what
they would write into a mixture of old and new cannot be told apart later.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from hiveden_backup.core import events
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, BusyError, NotFoundError, StorageError, UnreachableError
from hiveden_backup.core.postgres.values import Endpoint
from hiveden_backup.core.restore_record import Act, DatabaseSwap, Phase
from hiveden_backup.host.disk import beneath, swaps
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.postgres import swap as postgres
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.locks import ExclusiveJob, container_locks, job_lock
from hiveden_backup.host.state.restore_records import Acts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery import holders
from hiveden_backup.jobs.recovery.servers_down import NO_SERVERS, ServersDown
from hiveden_backup.jobs.services.docker import existing
from hiveden_backup.jobs.services.downtime import Downtime
from hiveden_backup.jobs.services.servers import endpoint_of

_RETRY_SECONDS = 2.0
_LOCK_WAIT = 3600.0  # as a job's lock_wait, where it says nothing


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
    """Carries acts of one job out."""

    installation: Installation
    job: ExclusiveJob

    @property
    def acts(self) -> Acts:
        """The records."""
        return Acts(self.installation.state)

    def put(self, act: Act) -> None:
        """Write down how far an act is."""
        self.acts.put(self.job, act)

    # ---- either way

    def forward(self, act: Act, servers: ServersDown, point: str = "") -> Act:
        """Everything of a committed act that is not in place yet; the act as it is then, to be written down.

        `servers` are down while files change places, so that databases come after them; else these come first.
        """
        with (
            holders.held(act) as ground,
            _servers(self.installation, act) as endpoint,
            translated(f"swapping the files of {act.job}", unwritable=StorageError),
        ):
            if not act.servers:
                _swap_databases(act, endpoint, point)
            servers.stop()
            for swap in act.swaps:
                _reach(point)
                swaps.forward(swap, ground)
            _reach(point)
            for dress in act.dresses:
                swaps.dress_root(dress.new, dress.live, ground)
            swaps.make_durable(act.swaps, act.dresses, ground)
            _start(act, servers, endpoint, point)
            if act.servers:
                _swap_databases(act, endpoint, point)
        return replace(act, phase=Phase.DONE, finished=self.installation.now())

    def backward(self, act: Act, servers: ServersDown, point: str = "") -> Act:
        """Everything back to where it was before; the act as it is then, to be written down."""
        with (
            holders.held(act) as ground,
            _servers(self.installation, act) as endpoint,
            translated(f"putting back the files of {act.job}", unwritable=StorageError),
        ):
            servers.stop()
            for swap in reversed(act.swaps):
                _reach(point)
                swaps.backward(swap, ground)
            for dress in act.dresses:
                swaps.dress_root(dress.old, dress.live, ground)
            swaps.make_durable(act.swaps, act.dresses, ground)
            holders.unmake(act)
            _start(act, servers, endpoint, point)
            for database in act.databases:
                _reach(point)
                postgres.put_back(endpoint(database), _staged(database))
            _reach(point)
        return replace(act, phase=Phase.UNDONE, finished=self.installation.now())

    def take_back(self, act: Act) -> None:
        """Remove what was staged for an act that did not come to its commit, and its record."""
        holders.take_back(act)
        self._each_database(act, postgres.discard)
        self.acts.remove(self.job, act)

    def take_back_files(self, act: Act) -> Act:
        """Remove what was staged of files for an act that goes on; the act without it."""
        holders.take_back(act)
        act = replace(act, holders=(), made=(), places=(), known=(), boot="")
        self.put(act)
        return act

    def keep_beside(self, act: Act, kept: Sequence[DatabaseSwap]) -> Act:
        """Take back what was staged for an act, all but some restored databases; these may be looked into.

        They go with `undo_keep`, or when the same databases are restored again.
        """
        act = self.take_back_files(act)
        others = [each for each in act.databases if each not in kept]
        self._each_database(replace(act, databases=tuple(others)), postgres.discard)
        act = replace(act, phase=Phase.BESIDE, finished=self.installation.now(), databases=tuple(kept))
        self.put(act)
        self._each_database(act, postgres.show)
        return act

    def forget_beside(self, databases: Collection[tuple[str, str]]) -> None:
        """Drop what earlier restores left of these databases (servers and names) because of differences."""
        for act in self.acts.of(self.job.name):
            gone = tuple(each for each in act.databases if (each.server, each.live) in databases)
            if act.phase is Phase.BESIDE and gone:
                self._each_database(replace(act, databases=gone), postgres.discard)
                rest = replace(act, databases=tuple(each for each in act.databases if each not in gone))
                self.put(rest) if rest.databases else self.acts.remove(self.job, act)
                log.info(f"Dropped what the restore of {act.backup} had kept beside", job=act.job)

    def forget(self, act: Act) -> None:
        """Remove for good what an act replaced, or what its undo took away, and its record.

        From the moment that its record says so, nothing can be put back from it. Why it cannot be removed is written
        down, too.
        """
        act = replace(act, removing=True)
        self.put(act)
        try:
            holders.clear(act)
            self._each_database(act, postgres.drop_kept if act.phase is Phase.DONE else postgres.discard)
            self.acts.remove(self.job, act)
        except BackupError as error:
            self.put(replace(act, stuck=str(error)))
            raise

    # ---- its databases

    def _each_database(self, act: Act, do: "Callable[[Endpoint, postgres.Staged], tuple[str, ...] | None]") -> None:
        with _servers(self.installation, act) as endpoint:
            for database in act.databases:
                try:
                    for note in do(endpoint(database), _staged(database)) or ():
                        log.warning(note, job=act.job)
                except NotFoundError as error:  # with its server it is gone
                    log.warning(f"Databases of {database.server} cannot be dropped: {error}", job=act.job)

    # ---- broken off

    def settle(self, act: Act) -> Act:
        """Finish an act that was broken off, whichever way its record says. BackupError when it cannot be, yet.

        The ledger is to be paid afterwards. An act that was taken back is returned as it was.
        """
        beneath.load()
        if act.phase is Phase.STAGING and not act.servers:
            self.take_back(act)
            return act
        with ExitStack() as stack:
            downtime: Downtime | None = None
            servers = NO_SERVERS
            if act.stopped:
                docker = stack.enter_context(connect(self.installation.docker))
                names = {*act.stopped, *(each.name for each in existing(docker, act.stopped)[0])}
                locked = stack.enter_context(container_locks(self.installation.state, names, _LOCK_WAIT))
                servers = ServersDown.of(self.installation, act, docker, locked)
                downtime = Downtime(docker, self.installation, act.job, locked, act.stop_timeout, act.start_timeout)
            if act.phase is Phase.STAGING:
                servers.start()  # it was broken off before the commit, and they have to let go of what was staged
                self.take_back(act)
                return act
            if downtime is not None:
                downtime.stop(existing(downtime.docker, act.containers)[0])  # some may run, after a boot
            act = self.forward(act, servers) if act.phase is Phase.COMMITTED else self.backward(act, servers)
            self.put(act)
            if downtime is not None:
                downtime.start()
        return act

    def _settle_by(self, act: Act, deadline: float) -> Act:
        """As `settle`; again until `deadline` while a server does not answer yet, as after a power cut."""
        while True:
            try:
                return self.settle(act)
            except UnreachableError:
                if not act.half_done or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)

    def settle_all(self, patience: float = 0.0) -> Iterator[Settled]:
        """Finish each act of the job that was broken off. Fails by its values only.

        `patience` is for how many seconds servers that do not answer are waited for.
        """
        deadline = time.monotonic() + patience
        for act in self.acts.of(self.job.name):
            if act.pending:
                try:
                    yield Settled(self.job.name, self._settle_by(act, deadline))
                except BackupError as error:
                    yield Settled(self.job.name, act, error)


def check_kept(installation: Installation, act: Act) -> None:
    """BackupError when something that an act replaced is not kept any more: half an undo could never be ended."""
    if act.goes:
        raise NotFoundError(
            f"The in-place restore of {act.job}/{act.backup} cannot be undone any more",
            "Its time (undo_keep) is over, and a part of what it replaced may be removed already",
            "See what backups there are: hiveden-backup list",
        )
    holders.check_kept(act)
    with _servers(installation, act) as endpoint:
        for database in act.databases:
            postgres.check_kept(endpoint(database), _staged(database))


def settle_each(installation: Installation, job: str | None = None, patience: float = 0.0) -> Iterator[Settled]:
    """Finish what was broken off of `job`, or of every job; their locks are taken here. Fails by its values only.

    `patience` is for how many seconds each job's servers are waited for, when they do not answer.
    """
    acts = Acts(installation.state)
    for name in acts.jobs() if job is None else (job,):
        try:
            if any(act.pending for act in acts.of(name)):
                with job_lock(installation.state, name) as locked:
                    installation.records.mark_killed(locked, installation.now(), None)
                    yield from Mover(installation, locked).settle_all(patience)
        except BusyError:
            yield Settled(name, None, busy=True)
        except BackupError as error:
            yield Settled(name, None, error)


def tell(settled: Settled) -> None:
    """Log what became of an act that was broken off."""
    outcome = str(settled)
    log.event(events.Recovered(settled.job, f"{outcome[0].upper()}{outcome[1:]}", failed=settled.error is not None))


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
    stopped = f", and {', '.join(act.stopped)} stopped until then" if act.stopped else ""
    told = BackupError(
        f"The in-place restore of {act.job} is half done{stopped}",
        str(error),
        f"Put that right, then finish it: hiveden-backup recover --job {act.job}",
    )
    told.exit_code = error.exit_code
    return told


def _swap_databases(act: Act, endpoint: Callable[[DatabaseSwap], Endpoint], point: str) -> None:
    for database in act.databases:
        _reach(point)
        postgres.swap(endpoint(database), _staged(database))


def _start(act: Act, servers: ServersDown, endpoint: Callable[[DatabaseSwap], Endpoint], point: str) -> None:
    """Start the servers that were down for the files, and wait until they take what is to be done next."""
    if act.servers:
        _reach(point)
    servers.start()
    for database in act.databases:
        servers.await_server(database.server, partial(endpoint, database))


@contextmanager
def _servers(installation: Installation, act: Act) -> Iterator[Callable[[DatabaseSwap], Endpoint]]:
    """For the block, a way to each database's server."""
    with ExitStack() as stack:
        inside = any(each.source.container for each in act.databases)
        docker = stack.enter_context(connect(installation.docker)) if inside else None
        yield lambda database: endpoint_of(database.source, database.server, docker)


def _reach(point: str) -> None:
    """A fail point of the first attempt; the second one, and `recover`, have none there."""
    if point:
        failpoint(point)


def _staged(database: DatabaseSwap) -> "postgres.Staged":
    return postgres.Staged(
        server=database.server,
        live=database.live,
        staged=database.staged,
        kept=database.kept,
        oid=database.oid,
        replaced=database.replaced,
    )
