"""Files out of a backup into a new directory. Nothing but the backup directory is needed for it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hiveden_backup.core.backup.extraction import Losses
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, NotFoundError, StorageError, UsageError
from hiveden_backup.core.globs import Globs
from hiveden_backup.core.model import ArtifactType, Manifest
from hiveden_backup.core.progress import Step
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.links import led_by_root
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.spool import temporary_spool
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.locks import LockedJob, job_lock
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.verify import check_sums
from hiveden_backup.jobs.backups.whereabouts import left_out
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.holding import refuse_reached
from hiveden_backup.jobs.restore.trust import warn_of
from hiveden_backup.jobs.restore.unpack import closed, select, unpack, whole_or_nothing
from hiveden_backup.jobs.services.docker import docker_may_be_there


@dataclass(frozen=True, slots=True)
class RestoredFiles:
    """What came back: paths and bytes of regular files, below `target`; and what that would not keep of them."""

    target: Path
    entries: int
    bytes: int
    losses: Losses

    @property
    def problem(self) -> BackupError | None:
        """What somebody has to know of it all the same."""
        if not self.losses.counts:
            return None
        return BackupError(
            f"{self.target} did not keep everything",
            f"The content of all files is there, but not {self.losses}",
            "Where that matters, restore to a disk that keeps it",
        )


def restore_files(installation: Installation, backup: Backup, target: Path, only: Sequence[str]) -> RestoredFiles:
    """Restore a backup's files below `target`, a new or empty directory outside of the backup directory.

    With `only`, just what those globs match, by the final index. NotFoundError when one of them matches nothing;
    CorruptError, and nothing stays of it, when the backup is damaged.
    """
    _refuse_inside(target, installation.directory)
    with job_lock(installation.state, backup.job, shared=True) as job:
        installation.progress.begin(Step.RESTORE)
        return _restore(installation, job, backup, target, only)


def _restore(
    installation: Installation, job: LockedJob, backup: Backup, target: Path, only: Sequence[str]
) -> RestoredFiles:
    directory = installation.directory
    manifest = directory.manifest(job.name, backup.id)
    if not has_files(manifest):
        raise NotFoundError(
            f"{backup} has no files",
            "Its job backs up databases only",
            f"See what it has: hiveden-backup show {backup}",
        )
    place = _resolved(target)
    away = left_out(installation, manifest)
    warn_of(installation, directory, backup, check_sums(directory, backup, manifest, left_out=away))
    with temporary_spool() as spool:
        wanted = Globs(only, covering=True)
        plan = select(directory, manifest, wanted.matches if only else None, spool)
        if wanted.unmatched:
            raise NotFoundError(
                f"Nothing in {backup} matches {', '.join(wanted.unmatched)}",
                "Nothing was restored" if len(only) > 1 else "",
                f"List its paths: hiveden-backup show {backup} --files",
            )
        with translated(f"restoring to {target}", unwritable=StorageError):
            _refuse_used(target)
            _refuse_reached(installation, place)
            with _made(place) as room:
                failpoint("stage")
                with closed(room, str(target)) as sealed:
                    _refuse_filled(target, beneath.listed(room))
                    with whole_or_nothing(room, str(target), sealed=sealed):
                        size, losses = unpack(installation, manifest, plan, room)
                _insist_on_name(place, room)
    return RestoredFiles(target, plan.entries, size, losses)


def _refuse_reached(installation: Installation, place: str) -> None:
    """BackupError when a running container could meddle with what comes there; a warning where Docker does not tell."""
    if not docker_may_be_there(installation.docker):
        return
    try:
        with connect(installation.docker) as docker:
            containers = docker.containers()
    except BackupError as error:
        log.warning(f"Whether a running container can write to {place} cannot be told. {error}")
        return
    refuse_reached(place, containers)


def has_files(manifest: Manifest) -> bool:
    """Whether a backup holds files, and not databases only."""
    return any(artifact.type is ArtifactType.APPLICATION for artifact in manifest.artifacts)


def _resolved(target: Path) -> str:
    """A directory by a path without links: what leads to it is followed once, here. It must be no link itself.

    UsageError when somebody else can have laid a link on the way, which would lead root to where he likes.
    """
    _refuse_used(target)
    place = led_by_root(os.path.join(os.getcwd(), target))
    if place is None:
        real = os.path.realpath(target)
        raise UsageError(
            f"{target} leads to {real} by a symbolic link that belongs to somebody else",
            "Who laid it decides where it leads to in the end",
            "If that is where you mean, give it by that path",
        )
    return place


@contextmanager
def _made(place: str) -> Iterator[int]:
    """A descriptor of a directory, for the block. It is made, and what is missing above it, each name durable."""
    there = place
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    with ExitStack() as stack:
        directory = stack.enter_context(beneath.opened(there))
        for name in place[len(there) :].split("/"):
            if name:
                above, directory = directory, stack.enter_context(beneath.made(directory, name))
                beneath.sync(above)
        yield directory


def _insist_on_name(place: str, directory: int) -> None:
    """StorageError unless a directory has still the name by which it was reached."""
    try:
        with beneath.opened(place) as found:
            same = os.path.samestat(os.fstat(found), os.fstat(directory))
    except OSError:
        same = False
    if not same:
        raise StorageError(
            f"{place} is another directory by now",
            f"It was replaced while files were restored; these are in {os.readlink(beneath.through(directory))}",
            "Restore to a directory in which nobody else can rename anything",
        )


def _refuse_used(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is no directory", "", "Give a new or empty directory")
    if target.is_dir():
        _refuse_filled(target, os.listdir(target))


def _refuse_filled(target: Path, names: Sequence[str]) -> None:
    if names:
        raise UsageError(f"{target} is not empty", "A restore never writes over files", "Give a new or empty directory")


def _refuse_inside(target: Path, directory: BackupDirectory) -> None:
    """UsageError when `target` lies in the backup directory."""
    if target.resolve().is_relative_to(directory.path.resolve()):
        raise UsageError(f"{target} lies in the backup directory", "", "Give a directory outside of it")
