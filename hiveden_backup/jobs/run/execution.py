"""Steps 3 to 8 of a run, in that order: hot pass, stop, cold pass, start, dumps, and one rename."""

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from socket import gethostname

from hiveden_backup import __version__
from hiveden_backup.core.backup import layout
from hiveden_backup.core.backup.index import Selection
from hiveden_backup.core.config.parse import job_table
from hiveden_backup.core.errors import BackupError, CorruptError, Interrupted, NotFoundError, StorageError
from hiveden_backup.core.model import Artifact, ArtifactType, Manifest, Root
from hiveden_backup.core.names import backup_id
from hiveden_backup.core.progress import Step
from hiveden_backup.host.disk import stream
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.signals import time_limit
from hiveden_backup.host.state.locks import container_locks
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run import checkpoint as bases
from hiveden_backup.jobs.run.dumps import Dumps
from hiveden_backup.jobs.run.passes import Look, Passed, Take, Trees, compacting, look, settle, sync, take
from hiveden_backup.jobs.run.plan import Plan
from hiveden_backup.jobs.run.publish import artifact_file, publish
from hiveden_backup.jobs.run.space import compaction_fits
from hiveden_backup.jobs.services.downtime import Downtime

_HOT_PASSES = 3
_SHOWN_PATHS = 20


@dataclass(frozen=True, slots=True)
class Finished:
    """A published backup, and what was not quite right about the run."""

    manifest: Manifest
    problems: tuple[BackupError, ...] = ()


class Execution:
    """One run of one job whose lock is held and whose plan passed validation."""

    def __init__(self, installation: Installation, plan: Plan, started: datetime) -> None:
        if plan.directory is None:
            raise ValueError("the plan did not pass validation")
        self._installation = installation
        self._plan = plan
        self._job = plan.job
        self._directory: BackupDirectory = plan.directory
        self._started = started
        self._spool = plan.spool
        self._warnings: list[str] = list(plan.findings.warnings)
        self._state = plan.base
        self._downtime: Downtime | None = None
        self._late: list[BackupError] = []
        self._id, self._incoming = self._begin()

    # ---- the whole

    def execute(self) -> Finished:
        """Make the backup. Whatever is raised, what we stopped was given its start, and nothing partial is visible."""
        try:
            with translated(f"writing the backup directory {self._directory.path}"), ExitStack() as stack:
                if self._plan.looked is not None:
                    self._hot_passes(self._plan.looked)
                dumps = self._dumps(stack)
                cold = self._cold(dumps)
                if cold is not None:
                    self._settle_cold(cold)
                artifacts = self._write_dumps(dumps)
                if self._downtime is not None:
                    self._downtime.await_healthy()
                stack.close()
                manifest = self._finish(artifacts)
        except BaseException:
            for problem in self._problems():  # what is raised will be told, and these are not part of it
                log.error(str(problem), job=self._job.name)
            raise
        return Finished(manifest, self._problems())

    def _problems(self) -> tuple[BackupError, ...]:
        return (*(self._downtime.problems if self._downtime is not None else ()), *self._late)

    def _begin(self) -> tuple[str, Path]:
        moment = self._started
        with translated(f"writing the backup directory {self._directory.path}"):
            while True:
                try:
                    identifier = backup_id(moment)
                    return identifier, self._directory.begin(self._job.name, identifier)
                except FileExistsError:  # a second run within one second waits for the next
                    time.sleep(1)
                    moment = max(self._installation.now(), moment + timedelta(seconds=1))

    # ---- files, hot

    def _hot_passes(self, looked: Look) -> None:
        """One pass, or without a cold one up to three, until nothing is struck."""
        passes = 1 if self._plan.containers else _HOT_PASSES
        selection = self._compaction(looked)
        for number in range(1, passes + 1):
            passed = self._hot(looked, selection, number)
            if not (passed.struck or passed.unsure) or number == passes:
                break
            looked = look(self._trees, self._state, self._spool, f"hot-{number + 1}")
            selection = looked.selection
        if not self._plan.containers:
            self._note(passed)

    def _hot(self, looked: Look, selection: Selection, number: int) -> Passed:
        began = time.monotonic()
        taken = self._take(looked, selection, self._incoming / layout.hot_archive(self._id, number), Step.HOT)
        failpoint("hot")
        passed = self._adopt(taken)
        log.info(
            f"Archived {taken.selected.names} of {looked.comparison.entries} paths",
            job=self._job.name,
            bytes=taken.archive.bytes if taken.archive is not None else 0,
            seconds=time.monotonic() - began,
        )
        return passed

    def _compaction(self, looked: Look) -> Selection:
        selection, rewritten = compacting(looked, self._job, adding=2 if self._plan.containers else 1)
        if selection.compacted:
            if not compaction_fits(self._directory, looked.comparison.taken_weight, rewritten):
                self._warn("Compaction of old archives was skipped: the backup directory has too little space for it")
                return looked.selection
            log.info(f"Compacting {len(selection.compacted)} archives", job=self._job.name, bytes=rewritten)
            failpoint("compact")
        return selection

    def _take(self, looked: Look, selection: Selection, target: Path, step: Step) -> Take:
        self._installation.progress.begin(step)
        return take(
            self._trees,
            looked,
            selection,
            target,
            self._spool,
            level=self._job.compression_level,
            progress=self._installation.progress.advance,
        )

    def _adopt(self, taken: Take) -> Passed:
        """Settle a hot pass and make it the checkpoint: should the run fail later, its work is not lost."""
        folder = self._directory.job_path(self._job.name) / layout.incoming_checkpoint(self._id)
        folder.mkdir(mode=0o700)
        passed = settle(taken, folder / layout.INDEX, self._job.compression_level)
        if taken.archive is not None:
            self._directory.adopt_archive(self._job.name, self._incoming, taken.archive.path)
        self._state = bases.put_checkpoint(self._directory, self._job.name, self._id, passed.state, folder)
        return passed

    # ---- the moment

    def _dumps(self, stack: ExitStack) -> Dumps | None:
        if not self._plan.servers:
            return None

        return Dumps(self._job, self._id, stack)

    def _cold(self, dumps: Dumps | None) -> Take | None:
        """Steps 4 to 6: everything stopped for as long as it takes to archive the rest and to hold the databases."""
        if not self._plan.containers or self._plan.docker is None:
            self._hold(dumps)
            return None
        job = self._job
        names = [container.name for container in self._plan.containers]
        with container_locks(self._installation.state, names, job.lock_wait) as locked:
            synced = self._sync_before_stop()
            downtime = Downtime.of(self._plan.docker, self._installation, job, locked)
            self._downtime = downtime
            too_long = BackupError(
                f"The containers of {job.name} were down for longer than max_downtime allows",
                f"The cold pass was not done after {job.max_downtime:g} seconds",
                "Look at what changed so much meanwhile, or raise max_downtime",
            )
            try:
                self._installation.progress.begin(Step.STOP)
                with time_limit(job.max_downtime, too_long):
                    downtime.stop(self._plan.containers)
                    taken = self._cold_pass(synced)
                    self._hold(dumps)
            finally:
                try:
                    self._installation.progress.begin(Step.START)
                    downtime.start()
                except Interrupted:  # before it held signals back, or after; there is only one
                    downtime.start()
                    raise
        return taken

    def _sync_before_stop(self) -> int:
        """T of the new index: a sync after it, so that whatever is written later shows; outside of the downtime."""
        moment = time.time_ns()
        if self._plan.trees is not None:
            sync(self._trees)
        return moment

    def _cold_pass(self, synced: int) -> Take | None:
        if self._plan.looked is None:
            return None
        looked = look(self._trees, self._state, self._spool, "cold", taken_ns=synced)
        folder = self._spool if self._job.spool else self._incoming
        taken = self._take(looked, looked.selection, folder / layout.cold_archive(self._id), Step.COLD)
        failpoint("cold")
        return taken

    def _hold(self, dumps: Dumps | None) -> None:
        if dumps is not None:
            dumps.hold(self._plan.servers)
            failpoint("snapshot")
        if self._downtime is not None:
            self._downtime.check_undisturbed()
        if dumps is not None:
            dumps.begin()

    def _settle_cold(self, taken: Take) -> None:
        passed = settle(taken, self._incoming / layout.INDEX, self._job.compression_level)
        if taken.archive is not None and self._job.spool:
            copied = stream.copy(taken.path, self._incoming / taken.path.name)
            if copied.sha256 != taken.archive.sha256:
                raise StorageError(
                    f"{taken.path} is not what was written to it", "", "Look at `dmesg` and the disk's health"
                )
        self._state = passed.state
        for line in taken.diagnostics:
            self._warn(f"While the containers were stopped: {line}")
        self._note(passed)
        log.info(
            f"Archived {taken.selected.names} paths that changed since",
            job=self._job.name,
            bytes=taken.archive.bytes if taken.archive is not None else 0,
        )

    # ---- the end

    def _write_dumps(self, dumps: Dumps | None) -> tuple[Artifact, ...]:
        if dumps is None:
            return ()
        self._installation.progress.begin(Step.DUMP)
        artifacts = dumps.write(self._incoming, self._installation.progress.advance)
        dumps.write_globals(self._plan.servers, self._incoming)
        self._warnings.extend(dumps.warnings)
        return artifacts

    def _finish(self, databases: tuple[Artifact, ...]) -> Manifest:
        artifacts = (*self._application(), *databases)
        if not artifacts:
            raise NotFoundError(f"There is nothing to back up in {self._job.name}", "", "Name what there is in the job")
        known = self._known_archives()
        manifest = Manifest(
            id=self._id,
            job=self._job.name,
            host=gethostname(),
            version=__version__,
            started=self._started,
            finished=self._installation.now(),
            taken_ns=self._state.taken_ns if self._plan.looked is not None else 0,
            archives=tuple(replace(each, added=each.path not in known) for each in self._state.archives),
            roots=self._roots(),
            containers=self._downtime.summary() if self._downtime is not None else (),
            job_config=job_table(self._job),
            artifacts=artifacts,
            warnings=tuple(self._warnings),
        )
        publish(self._directory, self._incoming, manifest)
        try:
            with translated(f"removing the checkpoint of {self._job.name}"):
                self._directory.drop_checkpoint(self._job.name)
        except BackupError as error:  # the backup is there all the same, and newer than that checkpoint
            self._late.append(error)
        return manifest

    def _application(self) -> tuple[Artifact, ...]:
        if self._plan.looked is None or self._state.index is None:
            return ()
        index = self._incoming / layout.INDEX
        if self._state.index != index:  # no cold pass: the checkpoint's index is the backup's
            stream.copy(self._state.index, index)
        bases.write_names(self._incoming, self._state.archives)
        return (
            Artifact(
                type=ArtifactType.APPLICATION,
                target=self._job.name,
                server="",
                files=(artifact_file(index, 0), artifact_file(self._incoming / layout.ARCHIVE_NAMES, 0)),
                entries=self._state.entries,
                sources=self._plan.sources,
            ),
        )

    def _known_archives(self) -> frozenset[str]:
        """The archives that older backups name; those of a damaged one count as new: a matter of sizes only."""
        known: set[str] = set()
        for backup in self._directory.backups(self._job.name):
            with suppress(CorruptError):
                known.update(self._directory.archive_names(self._job.name, backup))
        return frozenset(known)

    def _roots(self) -> tuple[Root, ...]:
        if self._plan.looked is None:
            return ()
        views = self._plan.looked.views.values()
        return tuple(Root(view.path, view.device, view.mount.filesystem, view.mount_points) for view in views)

    # ---- what is worth telling

    @property
    def _trees(self) -> Trees:
        if self._plan.trees is None:
            raise ValueError("the job has no files")
        return self._plan.trees

    def _note(self, passed: Passed) -> None:
        for paths, what in (
            (passed.struck, "is not in this backup: it vanished while it was read"),
            (passed.unsure, "changed while it was read: this backup may have a mixture of old and new"),
        ):
            for path in paths[:_SHOWN_PATHS]:
                self._warn(f"{show_path(path)} {what}")
            if len(paths) > _SHOWN_PATHS:
                self._warn(f"So it is with {len(paths) - _SHOWN_PATHS} more paths")

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        log.warning(message, job=self._job.name)
