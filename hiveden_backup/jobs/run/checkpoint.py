"""What a run builds upon: the newest index whose file is whole, and which of its archives must not be trusted."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.chain import Chain
from hiveden_backup.core.backup.layout import (
    ARCHIVE_NAMES,
    CHECKPOINT,
    CHECKPOINT_FACTS,
    INDEX,
    LONGEST_CHECKPOINT_FACTS,
    LONGEST_SUMS,
    MANIFEST,
    SUMS,
    archive_list,
    parse_sums,
)
from hiveden_backup.core.backup.signature import Lying, Signed, judge
from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, StorageError
from hiveden_backup.core.model import Archive, ArtifactType
from hiveden_backup.host.disk.archives import missing_archives
from hiveden_backup.host.disk.durable import digest, read_regular, translated, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.later import Later
from hiveden_backup.host.log import log
from hiveden_backup.host.state.chains import chains_of
from hiveden_backup.host.state.key import Key, known_key
from hiveden_backup.jobs.backups.signing import chain_of, lies
from hiveden_backup.jobs.backups.whereabouts import whereabouts
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.passes import State

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a checkpoint says of itself: the run's id, the index's T, paths and digest, the archives it names.

    `seal` is this host's word that all of it is its own. Who can write to the backup directory has none.
    """

    id: str
    taken_ns: int
    entries: int
    sha256: str
    archives: tuple[Archive, ...]
    seal: str = ""

    def sealed(self, directory: BackupDirectory, job: str, key: Key) -> "_Facts":
        """With the seal of this host."""
        content = _FACTS.dump(replace(self, seal=""))
        return replace(self, seal=key.seal(b"\0".join((directory.id.encode(), job.encode(), content))))


_FACTS = Codec(_Facts, sparse=("seal",))


def find_base(installation: Installation, directory: BackupDirectory, job: str) -> tuple[State, tuple[str, ...]]:
    """The state to compare with, and warnings about what had to be passed over. The first run has an empty one.

    Only what this host made is built upon, or what it has had since before there were signatures: the rest may be
    forged, and would be signed then.
    """
    records, warnings = installation.records, list[str]()
    state = _checkpoint(installation, directory, job, warnings)
    chain, strange = chain_of(installation, directory, job), list[str]()
    for backup in directory.backups(job):
        if state is not None:
            break
        sums = _own_sums(chain, directory.backup_path(job, backup), backup)
        if sums is None:
            strange.append(backup)
        else:
            state = _backup_state(directory, job, backup, sums, warnings)
    if strange:
        what = f"The backup {strange[0]}" if len(strange) == 1 else f"{len(strange)} backups ({strange[0]} is one)"
        warnings.append(f"{what} of {job} cannot be built upon: this host did not make that, or it was changed since")
    if state is None:
        return State(), tuple(warnings)
    bad = records.failed_archives(job)
    lost = missing_archives(directory, job, [(archive.path, archive.bytes) for archive in state.archives])
    missing = {number for number, archive in enumerate(state.archives) if archive.path in lost}
    away = _away(installation, directory, job, state, missing)
    broken = {number for number, archive in enumerate(state.archives) if archive.path in bad} | missing - away
    for number in sorted(broken):
        path = state.archives[number].path
        how = "missing or cut short" if path in lost else "damaged"
        warnings.append(f"{path} is {how}: what it held is archived again")
    return replace(state, broken=frozenset(broken), away=frozenset(away)), tuple(warnings)


def _away(
    installation: Installation, directory: BackupDirectory, job: str, state: State, missing: Collection[int]
) -> set[int]:
    """Those of the archives that are missing here which an offsite has, as this host's own journal says."""
    if not missing:
        return set()
    try:
        where = whereabouts(installation, directory, job)
    except StorageError as error:  # they are archived again then
        log.warning(str(error), job=job)
        return set()
    return {number for number in missing if where.has(state.archives[number])}


def _own_sums(chain: Chain, path: Path, backup: str) -> dict[str, str] | None:
    """The digests in the SHA256SUMS of a backup that is this host's own, as it made it; None for any other."""
    known = chain.known(backup)
    if known is None or not known.trusted:
        return None
    try:
        content = read_regular(path / SUMS, LONGEST_SUMS)
        lying = Lying(hashlib.sha256(content).hexdigest(), lies(path).signed)
        return parse_sums(content) if judge(known, lying, known.key, None).state is not Signed.FORGED else None
    except (OSError, ValueError):
        return None


def _backup_state(
    directory: BackupDirectory, job: str, backup: str, sums: Mapping[str, str], warnings: list[str]
) -> State | None:
    index = directory.backup_path(job, backup) / INDEX
    try:
        manifest = directory.manifest(job, backup)
        applications = [each for each in manifest.artifacts if each.type is ArtifactType.APPLICATION]
        if not applications:
            return None
        if directory.archive_names(job, backup) != tuple(archive.path for archive in manifest.archives):
            warnings.append(f"{index.parent} is damaged: its two lists of archives differ. It is not built upon")
            return None
        sizes = {file.file: file.bytes for file in applications[0].files}
        for name in (MANIFEST, INDEX, ARCHIVE_NAMES):
            with translated(f"reading {index.parent / name}"):
                found = digest(index.parent / name, sizes.get(name))[1]
            if found != sums.get(name):
                warnings.append(f"{index.parent / name} is damaged: {job}/{backup} is not built upon")
                return None
    except BackupError as error:
        warnings.append(f"{job}/{backup} is not built upon: {error}")
        return None
    return State(index, manifest.archives, manifest.taken_ns, applications[0].entries)


def _checkpoint(installation: Installation, directory: BackupDirectory, job: str, warnings: list[str]) -> State | None:
    """The checkpoint's state, if there is one that is newer than every backup."""
    home = directory.job_path(job) / CHECKPOINT
    try:
        facts = _facts(directory, job)
        if not directory.outdates(job, facts.id):
            return None
        if not _is_own(installation, directory, job, facts):
            warnings.append(f"The checkpoint of {job} is not built upon: nothing shows that this host made it")
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


def _facts(directory: BackupDirectory, job: str) -> _Facts:
    path = directory.job_path(job) / CHECKPOINT / CHECKPOINT_FACTS
    return _FACTS.load(read_regular(path, LONGEST_CHECKPOINT_FACTS))


def kept(installation: Installation, directory: BackupDirectory, job: str) -> tuple[Archive, ...]:
    """The archives of the job's checkpoint, if this host made it; those that backups name are among them."""
    with suppress(OSError, RecordError):
        facts = _facts(directory, job)
        return facts.archives if _is_own(installation, directory, job, facts) else ()
    return ()


def _is_own(installation: Installation, directory: BackupDirectory, job: str, facts: _Facts) -> bool:
    """Whether this host sealed a checkpoint; or made it before it remembered anything, as its records of runs say."""
    if facts.seal:
        key = known_key(installation.state)
        return key is not None and facts == facts.sealed(directory, job, key)
    if chains_of(installation.state, job).directories:
        return False
    return any(path.stem == facts.id and record.backup is None for path, record in installation.records.runs(job))


def put_checkpoint(
    directory: BackupDirectory, job: str, backup: str, state: State, incoming: Path, *, key: Key
) -> State:
    """Keep a complete hot pass for the next run, should this one fail; the state at its new place.

    `state.index` lies in `incoming`, an empty directory otherwise; its archives are where backups name them already.
    """
    if state.index is None:
        raise ValueError("a checkpoint needs an index")
    facts = _Facts(backup, state.taken_ns, state.entries, digest(state.index)[1], state.archives)
    with translated(f"writing the checkpoint of {job}"):
        write_names(incoming, state.archives)
        write_durably(incoming / CHECKPOINT_FACTS, _FACTS.dump(facts.sealed(directory, job, key)))
        directory.put_checkpoint(job, incoming)
    return replace(state, index=directory.job_path(job) / CHECKPOINT / INDEX)


def write_names(folder: Path, archives: Sequence[Archive]) -> None:
    """Write `files.archives` into a backup or checkpoint, durably."""
    write_durably(folder / ARCHIVE_NAMES, archive_list(archive.path for archive in archives))
