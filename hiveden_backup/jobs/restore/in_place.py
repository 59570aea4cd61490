"""An in-place restore: everything is staged, one record commits it, everything is swapped while containers are down.

Until the record is written nothing that was there is touched, and whatever fails takes back what was staged.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from hiveden_backup.core import events
from hiveden_backup.core.backup.extraction import Losses
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, Interrupted, StorageError, UnreachableError, raise_all
from hiveden_backup.core.model import RunKind, StoppedContainer, longest_downtime
from hiveden_backup.core.progress import Step
from hiveden_backup.core.restore_record import Act, DatabaseSwap, Phase
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.postgres.swap import Staged, intended, stage
from hiveden_backup.host.signals import deferred
from hiveden_backup.host.state.locks import ExclusiveJob, container_locks
from hiveden_backup.host.state.records import RunRecord
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.recording import Recording, done
from hiveden_backup.jobs.backups.verify import check_sums, dump_at_hand
from hiveden_backup.jobs.backups.whereabouts import left_out
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery import holders as holders_of
from hiveden_backup.jobs.recovery.heal import Healed, healed
from hiveden_backup.jobs.recovery.mover import Mover, insist, unfinished
from hiveden_backup.jobs.recovery.servers_down import NO_SERVERS, ServersDown
from hiveden_backup.jobs.restore import holding, in_use, staging
from hiveden_backup.jobs.restore.differing import Differing, not_replaced
from hiveden_backup.jobs.restore.places import Files
from hiveden_backup.jobs.restore.plan import Database, Part, Replacement, create_volumes, replacement
from hiveden_backup.jobs.services.downtime import Downtime


@dataclass(frozen=True, slots=True)
class ActResult:
    """A finished in-place restore, or undo. `table` is its plan, ready for JSON.

    `problems` are what somebody has to look at all the same.
    """

    act: Act
    table: dict[str, Any]
    problems: tuple[BackupError, ...] = ()
    warnings: tuple[str, ...] = ()
    down: tuple[StoppedContainer, ...] = ()

    def recorded(self, record: RunRecord) -> RunRecord:
        """The record of the act, now that it has ended."""
        downtime = longest_downtime(self.down)
        return replace(done(record, self.problems), warnings=self.warnings, downtime_seconds=downtime)


def preview(installation: Installation, backup: Backup, part: Part) -> dict[str, Any]:
    """What `restore_in_place` would replace, ready for JSON. Nothing is changed, and nobody asked but the job's own."""
    with replacement(installation, backup, part, act=False) as plan:
        return plan.table()


def restore_in_place(
    installation: Installation, backup: Backup, part: Part, told: Callable[[Healed], None], *, accept: bool = False
) -> ActResult | None:
    """Restore a backup in place, or a part of it; None when that had been broken off, and is finished now.

    `told` hears what was broken off before, as soon as it is brought to its end. BackupError when nothing was replaced,
    and everything is as it was, or when the error says otherwise. Unless `accept`, databases that are not what was
    dumped are such a reason, and are kept beside the live ones. Without consent, so is what the job lacks today.
    """
    with (
        Recording(installation, RunKind.RESTORE, backup.job, backup.id) as recording,
        healed(installation, backup.job, told) as (job, found),
        recording.begun(job),
    ):
        if any(act.phase is Phase.DONE and act.backup == backup.id and _is_of(act, part) for act in found.acts):
            recording.record = done(recording.record, found.problems)
            return None
        with replacement(installation, backup, part, act=True) as plan:
            result = _Restore(installation, job, plan, accept=accept).execute(plan.table())
        recording.record = result.recorded(recording.record)
        return result


def _is_of(act: Act, part: Part) -> bool:
    """Whether an act is the one that is asked for."""
    asked = part.database or "", part.paths, part.without_databases
    return (act.database, act.paths, act.files_only) == asked


class _Restore:
    """One act, from its record to its end. `act` is always what the record says."""

    def __init__(self, installation: Installation, job: ExclusiveJob, plan: Replacement, *, accept: bool) -> None:
        self._installation = installation
        self._plan = plan
        self._mover = Mover(installation, job)
        self._problems: list[BackupError] = list(plan.skipped)
        self._warnings: list[str] = []
        self._downtime: Downtime | None = None
        self._servers = NO_SERVERS
        self._committing = False
        self._accept = accept
        self._differing: list[Differing] = []
        self._late = bool(plan.down_first)
        self._act = self._begun()
        beneath.load()

    def execute(self, table: dict[str, Any]) -> ActResult:
        """The whole. Whatever is raised, what was staged is gone, or the record tells `recover` what to do."""
        plan = self._plan
        away = left_out(self._installation, plan.manifest)
        check_sums(plan.directory, plan.backup, plan.manifest, plan.sums, left_out=away)
        for name in plan.absent:
            self._warn(f"There is no container {name} on this machine: it is passed over")
        for warning in create_volumes(plan):
            self._warn(warning)
        try:
            self._stage()
            self._insist_on_likeness()
            self._swap()
        except BaseException:
            stopped = self._downtime.problems if self._downtime is not None else ()
            for problem in (*stopped, *self._servers.problems):
                log.error(str(problem), job=plan.job.name)  # what is raised will be told, and these are not part of it
            self._clean()
            raise
        log.event(events.Restored(plan.backup.job, plan.backup.id))
        down = (
            *(self._downtime.summary() if self._downtime is not None else ()),
            *self._servers.summary(),
        )
        return ActResult(self._act, table, tuple(self._problems), tuple(self._warnings), down)

    def _begun(self) -> Act:
        job, now = self._plan.job, self._installation.now()
        return Act(
            id=self._mover.acts.new_id(self._plan.backup.job, now),
            job=self._plan.backup.job,
            backup=self._plan.backup.id,
            started=now,
            database=self._plan.part.database or "",
            paths=self._plan.part.paths,
            files_only=self._plan.part.without_databases,
            keep=job.undo_keep,
            stop_timeout=job.stop_timeout,
            start_timeout=job.start_timeout,
            containers=tuple(container.name for container in self._plan.containers),
            servers=tuple(container.name for container in self._plan.servers),
        )

    def _put(self, act: Act) -> None:
        self._mover.put(act)
        self._act = act

    def _put_prepared(self, act: Act) -> None:
        """As `_put`, before holders are made, unless the record says so already."""
        if self._act != (prepared := holders_of.prepared(act)):
            self._put(prepared)

    # ---- nothing is touched yet

    def _stage(self) -> None:
        plan, progress = self._plan, self._installation.progress
        progress.begin(Step.RESTORE)
        self._mover.forget_beside([(each.endpoint.name, each.artifact.target) for each in plan.databases])
        if plan.files is not None and not self._late:
            self._stage_files(plan.files, plan.around, plan.stopped)
        else:
            with translated("staging the restored files", unwritable=StorageError):
                failpoint("stage")
        for database in plan.databases:
            self._stage_database(database)

    def _stage_files(self, files: Files, containers: Sequence[Container], stopping: Collection[str] = ()) -> None:
        """Stage them where none of `containers` that run can write.

        Where only some of `stopping` (ids) can, that waits until they are down. BackupError where others can.
        """
        plan = self._plan
        with translated("staging the restored files", unwritable=StorageError):
            made = tuple(dict.fromkeys(path for place in files.places for path in place.missing))
            act = replace(self._act, exclude=files.exclude, made=made)
            holders, left = holding.reserve(act, holding.rooms(files.places, containers), self._put_prepared)
            found = holding.outlook(left, containers, stopping)
            raise_all(f"{plan.backup} cannot be restored in place now", found.obstacles)
            if found.down:
                self._act, self._late = self._mover.take_back_files(self._act), True
                return
            self._put_prepared(holding.holding(act, holders))
            self._put(holders_of.make(self._act))
            failpoint("stage")
            lost = staging.stage(self._installation, plan.directory, plan.manifest, self._act, holders)
            if lost.counts:
                self._problems.append(_without(plan, lost))
            failpoint("stage")

    def _stage_database(self, database: Database) -> None:
        name, before = database.artifact.target, self._act.databases
        meant = intended(database.endpoint, name, self._act.started)
        self._put(replace(self._act, databases=(*before, _swap_of(meant, database))))
        with dump_at_hand(self._installation, self._plan.backup, database.artifact) as dump:
            staged, restored = stage(database.endpoint, dump, database.facts, name, self._act.started, database.tool)
        self._put(replace(self._act, databases=(*before, _swap_of(staged, database))))
        for warning in restored.warnings:
            self._warn(warning)
        if restored.differences:
            self._differing.append(Differing(_swap_of(staged, database), restored.differences))
        with translated("staging the restored databases", unwritable=StorageError):
            failpoint("stage")

    def _insist_on_likeness(self) -> None:
        """DifferencesError when databases are not what was dumped, and nobody has accepted that."""
        if self._accept:
            for each in self._differing:
                for difference in each.differences:
                    self._warn(f"{each.database.live} on {each.database.server}: {difference}")
        elif self._differing:
            error = not_replaced(self._plan.manifest, self._act, self._differing)
            self._act = self._mover.keep_beside(self._act, [each.database for each in self._differing])
            raise error

    def _clean(self) -> None:
        """After a failure: remove what was staged, unless names have changed. What cannot be, `recover` removes."""
        if self._act.phase not in (Phase.STAGING, Phase.UNDONE):
            return
        try:
            if self._committing:  # a record that failed to be written, yet is there, must not be found
                self._put(self._act)
            self._mover.take_back(self._act)
        except BackupError as error:
            log.error(f"What was staged is still there, for hiveden-backup recover: {error}", job=self._act.job)

    # ---- the moment

    def _swap(self) -> None:
        """Everything down, the last look, the record, everything swapped, everything started."""
        plan, act = self._plan, self._act
        locks = container_locks(self._installation.state, act.stopped, plan.job.lock_wait)
        with locks as locked, ExitStack() as started:
            if plan.docker is not None:
                self._downtime = Downtime.of(plan.docker, self._installation, plan.job, locked, [])
                started.callback(self._start, self._downtime)
                self._downtime.stop(plan.containers)
                self._servers = ServersDown.of(self._installation, act, plan.docker, locked)
                started.callback(self._start_servers)
                self._servers.stop()
                if self._late and plan.files is not None:
                    log.info("Files are restored while containers are down that could write there", job=plan.job.name)
                    self._stage_files(plan.files, plan.docker.containers())
            act = self._named()
            with deferred():
                self._committing = True
                self._put(act)
                self._forward()
        if self._downtime is not None:
            self._downtime.await_healthy()
            self._downtime.start_at_last()
            self._problems.extend((*self._downtime.problems, *self._servers.finish()))

    def _start(self, downtime: Downtime) -> None:
        """Start what was stopped, but nothing on a mixture of old and new."""
        if self._act.phase in (Phase.COMMITTED, Phase.UNDOING):
            return
        try:
            downtime.start()
        except Interrupted:  # before it held signals back, or after; there is only one
            downtime.start()
            raise

    def _start_servers(self) -> None:
        """As `_start`: when nothing was committed, or all went back. Else they run already."""
        if self._act.phase not in (Phase.COMMITTED, Phase.UNDOING):
            try:
                self._servers.start()
            except BackupError as error:
                if error not in self._servers.problems:  # those are told at the end, if they still are
                    self._problems.append(error)

    def _named(self) -> Act:
        """The act with every name that is to change, as the record of the commit has it."""
        act, lost = staging.with_swaps(self._act)
        if self._plan.docker is not None and self._plan.files is not None:
            in_use.check_unused(self._plan.docker, self._plan.files, act)
            in_use.check_not_lost(self._plan.docker, lost, act.servers, self._plan.data)
        for path in lost:
            self._warn(f"{path} is not in the backup, nor is the directory it is in: it goes with what is replaced")
        with translated(f"committing the restore of {self._plan.backup}", unwritable=StorageError):
            failpoint("commit")
        return replace(act, phase=Phase.COMMITTED)

    def _forward(self) -> None:
        """Twice if it must be; and when that cannot be, all goes back, which is decided by a record too."""
        act, servers, move = self._act, self._servers, self._mover
        try:
            self._act, problem = insist(lambda: move.forward(act, servers, "swap"), lambda: move.forward(act, servers))
        except UnreachableError as error:
            raise unfinished(act, error) from error
        except BackupError:
            try:
                self._put(replace(act, phase=Phase.UNDOING))
                self._act = move.backward(self._act, servers)
            except BackupError as error:
                raise unfinished(act, error) from error
            raise
        self._problems.extend(written(self._mover, self._act, problem))

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        log.warning(message, job=self._act.job)


def written(mover: Mover, act: Act, problem: BackupError | None) -> Iterator[BackupError]:
    """Write down the end of an act. When that fails, it has ended all the same, and `recover` only repeats it."""
    if problem is not None:
        yield problem
    try:
        mover.put(act)
    except BackupError as error:
        yield error


def _without(plan: Replacement, lost: Losses) -> BackupError:
    return BackupError(
        f"{plan.backup} was restored without some attributes",
        f"The disk has none, nor had what was replaced: {lost}",
        "Where that matters, restore with --to DIR to a disk that keeps them",
    )


def _swap_of(staged: Staged, database: Database) -> DatabaseSwap:
    return DatabaseSwap(
        server=staged.server,
        live=staged.live,
        staged=staged.staged,
        kept=staged.kept,
        oid=staged.oid,
        replaced=staged.replaced,
        source=database.source,
    )
