"""What a run builds upon: the newest index whose file is whole, and which of its archives must not be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hiveden_backup.core.backup.layout import (
    ARCHIVE_NAMES,
    CHECKPOINT,
    CHECKPOINT_FACTS,
    INDEX,
    LONGEST_CHECKPOINT_FACTS,
    archive_list,
)
from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import Archive, ArtifactType
from hiveden_backup.host.disk.durable import digest, read_regular, translated, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory, missing_archives
from hiveden_backup.host.state.records import Records
from hiveden_backup.jobs.run.passes import State


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a checkpoint says of itself: the run's id, the index's T, paths and digest, the archives it names."""

    id: str
    taken_ns: int
    entries: int
    sha256: str
    archives: tuple[Archive, ...]


_FACTS = Codec(_Facts)


def find_base(directory: BackupDirectory, records: Records, job: str) -> tuple[State, tuple[str, ...]]:
    """The state to compare with, and warnings about what had to be passed over. The first run has an empty one."""
    warnings: list[str] = []
    state = _checkpoint(directory, job, warnings)
    for backup in directory.backups(job):
        if state is not None:
            break
        state = _backup_state(directory, job, backup, warnings)
    if state is None:
        return State(), tuple(warnings)
    bad = records.failed_archives(job)
    lost = missing_archives(directory, job, [(archive.path, archive.bytes) for archive in state.archives])
    broken = {number for number, archive in enumerate(state.archives) if archive.path in bad | lost}
    for number in sorted(broken):
        path = state.archives[number].path
        how = "missing or cut short" if path in lost else "damaged"
        warnings.append(f"{path} is {how}: what it held is archived again")
    return replace(state, broken=frozenset(broken)), tuple(warnings)


def _backup_state(directory: BackupDirectory, job: str, backup: str, warnings: list[str]) -> State | None:
    index = directory.backup_path(job, backup) / INDEX
    try:
        manifest = directory.manifest(job, backup)
        applications = [each for each in manifest.artifacts if each.type is ArtifactType.APPLICATION]
        if not applications:
            return None
        if directory.archive_names(job, backup) != tuple(archive.path for archive in manifest.archives):
            warnings.append(f"{index.parent} is damaged: its two lists of archives differ. It is not built upon")
            return None
        expected = {file.file: (file.bytes, file.sha256) for file in applications[0].files}
        for name in (INDEX, ARCHIVE_NAMES):
            with translated(f"reading {index.parent / name}"):
                found = digest(index.parent / name, expected[name][0]) if name in expected else None
            if found is None or found != expected[name]:
                warnings.append(f"{index.parent / name} is damaged: {job}/{backup} is not built upon")
                return None
    except BackupError as error:
        warnings.append(f"{job}/{backup} is not built upon: {error}")
        return None
    return State(index, manifest.archives, manifest.taken_ns, applications[0].entries)


def _checkpoint(directory: BackupDirectory, job: str, warnings: list[str]) -> State | None:
    """The checkpoint's state, if there is one that is newer than every backup."""
    home = directory.job_path(job) / CHECKPOINT
    try:
        facts = _FACTS.load(read_regular(home / CHECKPOINT_FACTS, LONGEST_CHECKPOINT_FACTS))
        if not directory.outdates(job, facts.id):
            return None
        if digest(home / INDEX)[1] != facts.sha256:
            warnings.append(f"The checkpoint of {job} is damaged and not built upon")
            return None
        return State(home / INDEX, facts.archives, facts.taken_ns, facts.entries)
    except FileNotFoundError:
        return None
    except (OSError, RecordError) as error:
        warnings.append(f"The checkpoint of {job} is damaged and not built upon: {error}")
        return None


def put_checkpoint(directory: BackupDirectory, job: str, backup: str, state: State, incoming: Path) -> State:
    """Keep a complete hot pass for the next run, should this one fail; the state at its new place.

    `state.index` lies in `incoming`, an empty directory otherwise; its archives are where backups name them already.
    """
    if state.index is None:
        raise ValueError("a checkpoint needs an index")
    facts = _Facts(backup, state.taken_ns, state.entries, digest(state.index)[1], state.archives)
    with translated(f"writing the checkpoint of {job}"):
        write_names(incoming, state.archives)
        write_durably(incoming / CHECKPOINT_FACTS, _FACTS.dump(facts))
        directory.put_checkpoint(job, incoming)
    return replace(state, index=directory.job_path(job) / CHECKPOINT / INDEX)


def write_names(folder: Path, archives: Sequence[Archive]) -> None:
    """Write `files.archives` into a backup or checkpoint, durably."""
    write_durably(folder / ARCHIVE_NAMES, archive_list(archive.path for archive in archives))
