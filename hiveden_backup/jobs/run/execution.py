"""Steps 3 to 8 of a run, in that order: hot pass, stop, cold pass, start, dumps, and one rename."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from hiveden_backup import __version__
from hiveden_backup.core import events
from hiveden_backup.core.backup import layout
from hiveden_backup.core.backup.index import Selection
from hiveden_backup.core.backup.proving import LEAST
from hiveden_backup.core.config.parse import job_table
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, Interrupted, NotFoundError, StorageError
from hiveden_backup.core.model import Artifact, ArtifactType, Manifest
from hiveden_backup.core.names import backup_id
from hiveden_backup.core.progress import Step
from hiveden_backup.host.disk import stream, witness
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import time_limit
from hiveden_backup.host.state.identity import host_name
from hiveden_backup.host.state.locks import ExclusiveJob, container_locks
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.backups.ownership import OwnJob, claimed
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.broken_off import Remembered
from hiveden_backup.jobs.run.checkpoint import put_checkpoint, write_names
from hiveden_backup.jobs.run.concluding import Passed, conclude
from hiveden_backup.jobs.run.dumps import Dumps
from hiveden_backup.jobs.run.passes import Look, State, Trees, compacting, look, sync
from hiveden_backup.jobs.run.plan import Plan, PlannedFiles, PlannedStop
from hiveden_backup.jobs.run.proving import Proving
from hiveden_backup.jobs.run.publish import artifact_file, publish, signing
from hiveden_backup.jobs.run.room import Room
from hiveden_backup.jobs.run.space import check_spool, compaction_fits, expected_dumps, expected_lists
from hiveden_backup.jobs.run.taking import Part, PartDone, RoomFor, Selected, Take, Target, take
from hiveden_backup.jobs.run.unusual import unusual
from hiveden_backup.jobs.services.downtime import Downtime

_HOT_PASSES = 3
_SHOWN_PATHS = 20


@dataclass(frozen=True, slots=True)
class Published:
    """A published backup, and what was not quite right about the run."""

    manifest: Manifest
    problems: tuple[BackupError, ...] = ()


@dataclass(frozen=True, slots=True)
class Cold:
    """What the moment in which the containers were down left: a cold pass that was archived, and who was down."""

    taken: Take | None = None
    downtime: Downtime | None = None


class Execution:
    """One run of one job that is locked and whose plan passed validation.

    `_warnings` and `_problems` are what the steps leave for the end: the manifest's, and the run's. What is in question
    is compared with archives from so many bytes on: `worth_proving`.
    """

    def __init__(
        self,
        installation: Installation,
        job: ExclusiveJob,
        plan: Plan,
        started: datetime,
        *,
        worth_proving: int = LEAST,
    ) -> None:
        self._installation = installation
        self._plan = plan
        self._job = plan.job
        self._directory = plan.directory
        self._spool = plan.spool
        self._started = started
        self._worth_proving = worth_proving
        self._warnings = list(plan.warnings)
        self._problems: list[BackupError] = []
        self._downtime: Downtime | None = None
        own = claimed(installation, plan.directory, job)
        self._owner = own.owner
        self._signing = signing(installation, own)
        self._id, self._incoming = self._begin(own)
        self._remembered = Remembered(self._directory, self._spool, self._id)
        self._room = Room(installation, own, self._job, expected_lists(plan))
        self._hot_archives = 0

    # ---- the whole

    def execute(self) -> Published:
        """Make the backup. Whatever is raised, what we stopped was given its start, and nothing partial is visible."""
        try:
            with translated(f"writing the backup directory {self._directory.path}"), ExitStack() as stack:
                state = hot = self._hot_passes(self._plan.files) if self._plan.files is not None else State()
                dumps = Dumps(self._job, self._id, stack)
                cold = self._cold(state, dumps)
                if cold.taken is not None:
                    state = self._finish_cold(cold.taken)
                databases = self._write_dumps(dumps)
                if cold.downtime is not None:
                    cold.downtime.await_healthy()
                stack.close()
                self._room.insist_on(hot.archives)
                manifest = self._publish(state, databases, cold.downtime)
        except BaseException:
            self._start_at_last()
            for problem in self._problems:  # what is raised will be told, and these are not part of it
                log.error(str(problem), job=self._job.name)
            raise
        self._start_at_last()
        return Published(manifest, tuple(self._problems))

    def _begin(self, job: OwnJob) -> tuple[str, Path]:
        moment = self._started
        with translated(f"writing the backup directory {self._directory.path}"):
            while True:
                try:
                    identifier = backup_id(moment)
                    return identifier, self._directory.begin(job.name, identifier)
                except FileExistsError:  # a second run within one second waits for the next
                    time.sleep(1)
                    moment = max(self._installation.now(), moment + timedelta(seconds=1))

    # ---- files, hot

    def _hot_passes(self, files: PlannedFiles) -> State:
        """One pass, or without a cold one up to three, until nothing is struck; one more where one waited for room."""
        passes = 1 if self._plan.stop is not None else _HOT_PASSES
        looked = self._proved(files)
        selection = self._compaction(looked)
        for number in range(1, passes + 2):
            passed = self._hot(files.trees, looked, selection)
            self._room.make(expected_dumps(self._plan))
            delayed = self._room.was_slow()
            if number > passes or ((passed.exact or number == passes) and not delayed):
                break
            looked = look(files.trees, passed.state, self._spool, f"hot-{number + 1}")
            selection = looked.selection
        if self._plan.stop is None:
            self._note(passed)
        self._room.insist_on(passed.state.archives)
        return passed.state

    def _proved(self, files: PlannedFiles) -> Look:
        """The look of the plan, without what is proved to be archived as it is."""
        proving = Proving(
            self._job,
            files.trees,
            self._directory.job_path(self._job.name),
            self._spool,
            self._installation.progress,
            self._warn,
            self._worth_proving,
        )
        return proving.proved(files.look)

    def _hot(self, trees: Trees, looked: Look, selection: Selection) -> Passed:
        began = time.monotonic()
        anew = self._plan.full and looked.base.index is None  # a part of that is less than what is there
        target = self._target(self._incoming, self._name_hot, None if anew else self._settle_part, self._room.claimed)
        taken = self._take(trees, looked, selection, target, Step.HOT)
        self._hot_archives += len(taken.parts)
        failpoint("hot")
        passed = self._keep(taken)
        log.info(
            f"Archived {taken.selected.extent.names} of {looked.comparison.entries} paths",
            job=self._job.name,
            bytes=taken.bytes,
            seconds=time.monotonic() - began,
        )
        return passed

    def _target(
        self, folder: Path, name: Callable[[int], str], part_done: PartDone | None = None, room: RoomFor | None = None
    ) -> Target:
        return Target(folder, name, self._job.compression_level, self._installation.progress.advance, part_done, room)

    def _name_hot(self, number: int) -> str:
        return layout.hot_archive(self._id, self._hot_archives + number)

    def _compaction(self, looked: Look) -> Selection:
        selection, rewritten = compacting(looked, self._job, self._plan.history)
        if selection.compacted:
            if not compaction_fits(self._directory, looked.comparison.taken_weight, rewritten):
                self._warn("Compaction of old archives was skipped: the backup directory has too little space for it")
                return looked.selection
            log.info(f"Compacting {len(selection.compacted)} archives", job=self._job.name, bytes=rewritten)
            failpoint("compact")
        return selection

    def _take(self, trees: Trees, looked: Look, selection: Selection, target: Target, step: Step) -> Take:
        self._installation.progress.begin(step)
        taken = take(trees, looked, selection, target, self._spool)
        for sentence in filter(None, (looked.too_long, *taken.warnings)):
            self._warn(sentence)
        return taken

    def _settle_part(self, selected: Selected, part: Part) -> None:
        """What is complete is not lost any more, whatever becomes of the pass."""
        self._directory.adopt_archive(self._job.name, self._incoming, part.archive.path)
        self._remembered.add(selected, part)
        self._room.add(part.archive)
        failpoint("archive")

    def _keep(self, taken: Take) -> Passed:
        """Conclude a hot pass and make it the checkpoint: should the run fail later, its work is not lost."""
        folder = self._directory.job_path(self._job.name) / layout.incoming_checkpoint(self._id)
        folder.mkdir(mode=0o700)
        passed = conclude(taken, folder / layout.INDEX, self._job.compression_level)
        for part in taken.parts if not taken.durable else ():
            self._directory.adopt_archive(self._job.name, self._incoming, part.archive.path)
        kept = put_checkpoint(self._directory, self._job.name, self._id, passed.state, folder, key=self._signing.key)
        self._remembered.forget()
        return replace(passed, state=kept)

    # ---- the moment

    def _cold(self, state: State, dumps: Dumps) -> Cold:
        """Steps 4 to 6: everything stopped for as long as it takes to archive the rest and to hold the databases."""
        stop = self._plan.stop
        if stop is None:
            self._hold(dumps)
            dumps.begin()
            return Cold()
        names = [container.name for container in stop.containers]
        with container_locks(self._installation.state, names, self._job.lock_wait) as locked:
            if self._plan.files is not None:
                check_spool(self._plan.files.look, self._spool)
            synced = self._sync_before_stop()
            self._downtime = downtime = Downtime.of(stop.docker, self._installation, self._job, locked, self._problems)
            try:
                taken = self._while_down(stop, downtime, state, synced, dumps)
            finally:
                try:
                    self._installation.progress.begin(Step.START)
                    downtime.start()
                except Interrupted:  # before it held signals back, or after; there is only one
                    downtime.start()
                    raise
        return Cold(taken, downtime)

    def _start_at_last(self) -> None:
        if self._downtime is not None:
            self._downtime.start_at_last()

    def _while_down(
        self, stop: PlannedStop, downtime: Downtime, state: State, synced: int, dumps: Dumps
    ) -> Take | None:
        too_long = BackupError(
            f"The containers of {self._job.name} were down for longer than max_downtime allows",
            f"The cold pass was not done after {self._job.max_downtime:g} seconds",
            "Look at what changed so much meanwhile, or raise max_downtime",
        )
        self._installation.progress.begin(Step.STOP)
        with time_limit(self._job.max_downtime, too_long):
            downtime.stop(stop.containers)
            taken = self._cold_pass(state, synced)
            self._hold(dumps)
            downtime.check_undisturbed()
            dumps.begin()
        return taken

    def _sync_before_stop(self) -> int:
        """T of the new index: a sync after it, so that whatever is written later shows; outside of the downtime."""
        moment = time.time_ns()
        if self._plan.files is not None:
            witness.load()
            sync(self._plan.files.trees)
        return moment

    def _cold_pass(self, state: State, synced: int) -> Take | None:
        if self._plan.files is None:
            return None
        trees = self._plan.files.trees
        looked = look(trees, state, self._spool, "cold", taken_ns=synced)
        folder = self._spool if self._job.spool else self._incoming
        target = self._target(folder, partial(layout.cold_archive, self._id))
        taken = self._take(trees, looked, looked.selection, target, Step.COLD)
        failpoint("cold")
        return taken

    def _hold(self, dumps: Dumps) -> None:
        if self._plan.servers:
            dumps.hold(self._plan.servers)
            failpoint("snapshot")

    def _finish_cold(self, taken: Take) -> State:
        passed = conclude(taken, self._incoming / layout.INDEX, self._job.compression_level)
        for part in taken.parts if self._job.spool else ():
            copied = stream.copy(part.path, self._incoming / part.path.name)
            if copied.sha256 != part.archive.sha256:
                raise StorageError(
                    f"{part.path} is not what was written to it", "", "Look at `dmesg` and the disk's health"
                )
        for part in taken.parts if self._plan.servers else ():  # the dumps may take hours, and fail
            self._settle_part(taken.selected, part)
        for line in (line for part in taken.parts for line in part.changed):
            self._warn(f"While the containers were stopped: {line}")
        self._note(passed)
        log.info(
            f"Archived {taken.selected.extent.names} paths that changed since", job=self._job.name, bytes=taken.bytes
        )
        return passed.state

    # ---- the end

    def _write_dumps(self, dumps: Dumps) -> tuple[Artifact, ...]:
        if not self._plan.servers:
            return ()
        self._installation.progress.begin(Step.DUMP)
        artifacts = dumps.write(self._incoming, self._installation.progress.advance)
        dumps.write_globals(self._plan.servers, self._incoming)
        self._warnings.extend(dumps.warnings)
        return artifacts

    def _publish(self, state: State, databases: tuple[Artifact, ...], downtime: Downtime | None) -> Manifest:
        files = self._plan.files
        artifacts = (*([self._application(files, state)] if files is not None else []), *databases)
        if not artifacts:
            raise NotFoundError(f"There is nothing to back up in {self._job.name}", "", "Name what there is in the job")
        known = self._known_archives()
        manifest = Manifest(
            id=self._id,
            job=self._job.name,
            host=host_name(),
            version=__version__,
            started=self._started,
            finished=self._installation.now(),
            taken_ns=state.taken_ns,
            archives=tuple(replace(each, added=each.path not in known) for each in state.archives),
            roots=files.roots if files is not None else (),
            volumes=files.volumes if files is not None else (),
            containers=downtime.summary() if downtime is not None else (),
            job_config=job_table(self._job),
            artifacts=artifacts,
            warnings=tuple(self._warnings),
            owner=self._owner,
        )
        manifest = replace(manifest, unusual=unusual(self._plan, manifest, state, self._incoming / layout.INDEX))
        publish(self._directory, self._incoming, manifest, self._signing)
        if manifest.unusual:
            log.event(events.Unusual(self._job.name, self._id, ". ".join(manifest.unusual)))
        try:
            with translated(f"removing the checkpoint of {self._job.name}"):
                self._directory.drop_checkpoint(self._job.name)
        except BackupError as error:  # the backup is there all the same, and newer than that checkpoint
            self._problems.append(error)
        return manifest

    def _application(self, files: PlannedFiles, state: State) -> Artifact:
        index = self._incoming / layout.INDEX
        if state.index is not None and state.index != index:  # no cold pass: the checkpoint's is the backup's
            stream.copy(state.index, index)
        write_names(self._incoming, state.archives)
        return Artifact(
            type=ArtifactType.APPLICATION,
            target=self._job.name,
            server="",
            files=(artifact_file(index, 0), artifact_file(self._incoming / layout.ARCHIVE_NAMES, 0)),
            entries=state.entries,
            sources=files.sources,
        )

    def _known_archives(self) -> frozenset[str]:
        """The archives that older backups name; those of a damaged one count as new: a matter of sizes only."""
        known: set[str] = set()
        for backup in self._directory.backups(self._job.name):
            with suppress(CorruptError):
                known.update(self._directory.archive_names(self._job.name, backup))
        return frozenset(known)

    # ---- what is worth telling

    def _note(self, passed: Passed) -> None:
        for paths, what in (
            (passed.struck, "is not in this backup: it vanished while it was read"),
            (passed.unsure, "changed while it was read: this backup may have a mixture of old and new"),
            (passed.disturbed, "moved while it was read: what was new or changed in it is not in this backup"),
        ):
            for path in paths[:_SHOWN_PATHS]:
                self._warn(f"{show_path(path)} {what}")
            if len(paths) > _SHOWN_PATHS:
                self._warn(f"So it is with {len(paths) - _SHOWN_PATHS} more paths")

    def _warn(self, message: str) -> None:
        if message not in self._warnings:  # each pass says it
            self._warnings.append(message)
            log.warning(message, job=self._job.name)
