"""What lists show of many backups: none is read again while its files are as they were.

A manifest of hundreds of archives takes milliseconds to read, and there may be ten thousand. Whoever changes a file
changes its ctime, which nobody but root can set; where that is not so (network, FUSE, FAT), nothing is remembered. Only
lists use this: what decides about backups reads them.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hiveden_backup.core.backup.layout import LONGEST_SUMS, MANIFEST, SIGNATURE, SUMS
from hiveden_backup.core.backup.signature import Lying
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.model import Artifact, ArtifactType, Manifest
from hiveden_backup.host.disk.durable import read_regular
from hiveden_backup.host.disk.mounts import mount_of, mounts
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.glances import glances_of, put_glances
from hiveden_backup.jobs.backups.signing import evidence_of, lies
from hiveden_backup.jobs.installation import Installation

_MARGIN_NS = 2 * 10**9  # what changed within it may change again without another time
_WORTH = 16  # backups: fewer are read as fast as what is remembered


@dataclass(frozen=True, slots=True)
class Shown:
    """An artifact as lists show it; `file` is the first of its files, `size` what the backup added for it."""

    type: ArtifactType
    target: str
    server: str
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Glance:
    """A backup as lists show it; `evidence` stands for its SHA256SUMS and signature, as verifications have it."""

    started: datetime
    finished: datetime
    downtime_seconds: float
    lying: Lying
    evidence: str
    artifacts: tuple[Shown, ...]


@dataclass(slots=True)
class Glances:
    """At the `backups` of one job."""

    installation: Installation
    directory: BackupDirectory
    job: str
    backups: tuple[str, ...]
    _remembered: dict[str, Any] = field(default_factory=dict)
    _new: int = 0
    _worth: bool = False

    def __post_init__(self) -> None:
        home = os.path.realpath(self.directory.path / self.job)
        here = self.installation.elsewhere is None
        self._worth = here and len(self.backups) >= _WORTH and not mount_of(home, mounts()).loose
        if self._worth:
            self._remembered = glances_of(self.installation.state, self.job, self.directory.id)

    def at(self, backup: str) -> Glance:
        """At one backup. NotFoundError, or CorruptError when it cannot be read."""
        path = f"{self.directory.path}/{self.job}/{backup}"
        stamp = _stamp(path) if self._worth else None
        with suppress(KeyError, TypeError, ValueError, OverflowError, OSError):
            before, *rest = self._remembered[backup]
            if stamp is not None and before == stamp[0]:
                return _glance(*rest)
        found = _read(self.directory, self.job, backup)
        if stamp is not None and stamp == _stamp(path) and stamp[1] < _now_ns() - _MARGIN_NS:
            self._remembered[backup] = [stamp[0], *_row(found)]
            self._new += 1
        return found

    def keep(self) -> None:
        """Remember what was new in them, once that is worth it, and nothing of others."""
        if self._new >= _WORTH:
            kept = {backup: self._remembered[backup] for backup in self.backups if backup in self._remembered}
            put_glances(self.installation.state, self.job, self.directory.id, kept)


def shown(manifest: Manifest, artifact: Artifact) -> Shown:
    """An artifact of a backup as lists show it."""
    size = sum(file.bytes for file in artifact.files)
    if artifact.type is ArtifactType.APPLICATION:
        size += sum(archive.bytes for archive in manifest.archives if archive.added)
    return Shown(artifact.type, artifact.target, artifact.server, artifact.files[0].file, size)


def _read(directory: BackupDirectory, job: str, backup: str) -> Glance:
    manifest = directory.manifest(job, backup)
    path = f"{directory.path}/{job}/{backup}"
    lying, evidence = lies(path), ""
    if lying.signed:
        with suppress(OSError):
            evidence = evidence_of(path, read_regular(f"{path}/{SUMS}", LONGEST_SUMS))
    artifacts = tuple(shown(manifest, each) for each in manifest.artifacts)
    return Glance(manifest.started, manifest.finished, manifest.downtime_seconds, lying, evidence, artifacts)


def _stamp(path: str) -> tuple[str, int] | None:
    """What changes with a backup's small files, and when the last of them did; None where one cannot be looked at."""
    try:
        found = [os.lstat(path), os.lstat(f"{path}/{MANIFEST}"), os.lstat(f"{path}/{SUMS}")]
        with suppress(FileNotFoundError):
            found.append(os.lstat(f"{path}/{SIGNATURE}"))
    except OSError:
        return None
    text = " ".join(
        [f"{each.st_ino} {each.st_mode} {each.st_size} {each.st_mtime_ns} {each.st_ctime_ns}" for each in found]
    )
    return text, max([each.st_ctime_ns for each in found])


def _now_ns() -> int:
    return int(datetime.now(UTC).timestamp() * 10**9)


def _row(found: Glance) -> list[Any]:
    artifacts = [[each.type.value, each.target, each.server, each.file, each.size] for each in found.artifacts]
    times = [int(found.started.timestamp()), int(found.finished.timestamp())]
    return [*times, found.downtime_seconds, found.lying.sums, found.lying.signed, found.evidence, artifacts]


def _glance(*row: Any) -> Glance:
    """The inverse of `_row`."""
    started, finished, downtime, sums, signed, evidence, artifacts = row
    made = tuple([Shown(_TYPES[kind], *rest) for kind, *rest in artifacts])
    moments = datetime.fromtimestamp(started, UTC), datetime.fromtimestamp(finished, UTC)
    return Glance(*moments, downtime, Lying(sums, signed), evidence, made)


_TYPES = {each.value: each for each in ArtifactType}
