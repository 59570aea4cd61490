"""What there is: the artifacts of finished backups, one backup whole, its paths, and the difference of two."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from hiveden_backup.core.backup import manifest as manifests
from hiveden_backup.core.backup.artifact_names import backup_of, filename
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.backup.signature import Signature
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import AmbiguousError, CorruptError, NotFoundError, UsageError
from hiveden_backup.core.model import ArtifactType, Manifest, Verdict
from hiveden_backup.core.names import is_job_name, iso
from hiveden_backup.host.disk.repository import BackupDirectory, no_such_backup
from hiveden_backup.host.state.records import Verification
from hiveden_backup.jobs.backups.glances import Glance, Glances, Shown, shown
from hiveden_backup.jobs.backups.signing import signatures
from hiveden_backup.jobs.backups.whereabouts import Places
from hiveden_backup.jobs.installation import Installation

_LIST = "See what there is: hiveden-backup list"


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """One artifact of a finished backup. `size` is what this backup added to the disk for it, in bytes."""

    id: str
    job: str
    type: ArtifactType
    target: str
    server: str
    path: str
    size: int
    started: datetime
    created: datetime
    downtime_seconds: float
    verified: Verification | None
    signature: Signature
    where: Place = Place.HERE

    @property
    def filename(self) -> str:
        """What the artifact is called in one flat word."""
        return filename(self.job, self.id, self.type, self.server, self.target)

    def table(self) -> dict[str, Any]:
        """The row as `list --json` prints it."""
        return {
            "id": self.id,
            "job": self.job,
            "type": self.type.value,
            "target": self.target,
            "server": self.server,
            "path": self.path,
            "size": self.size,
            "created": iso(self.created),
            "downtime_seconds": self.downtime_seconds,
            "verified": verified_table(self.verified),
            "signature": self.signature.table(),
            "where": self.where.value,
        }


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup by its job and id."""

    job: str
    id: str

    def __str__(self) -> str:
        return f"{self.job}/{self.id}"


def verified_table(found: Verification | None) -> dict[str, Any] | None:
    """A verification as listings print it."""
    if found is None:
        return None
    read = iso(found.archives_read or found.at) if found.result is Verdict.OK else None
    return {"at": iso(found.at), "result": found.result, "archives_read": read}


def backup_size(manifest: Manifest) -> int:
    """The bytes that a backup added to the disk for all its artifacts."""
    return sum(shown(manifest, artifact).size for artifact in manifest.artifacts)


def rows(
    installation: Installation,
    directory: BackupDirectory,
    *,
    job: str | None = None,
    kind: ArtifactType | None = None,
    target: str | None = None,
) -> tuple[tuple[ArtifactRow, ...], tuple[CorruptError, ...]]:
    """All artifacts that fit, newest first, and the backups whose manifest cannot be read.

    NotFoundError for a `job` that has no backups here.
    """
    found: list[ArtifactRow] = []
    damaged: list[CorruptError] = []
    for name in jobs_of(directory, job):
        verified, whose = _verifications(installation, name), signatures(installation, directory, name)
        glances = Glances(installation, directory, name, directory.backups(name))
        places = Places(installation, directory, name)
        for backup in glances.backups:
            try:
                glance = glances.at(backup)
            except CorruptError as error:
                damaged.append(error)
                continue
            except NotFoundError:  # it was pruned in this moment
                continue
            wanted = [
                artifact
                for artifact in glance.artifacts
                if (kind is None or artifact.type is kind) and (target is None or artifact.target == target)
            ]
            if wanted:
                known = verified.get(backup)
                signature = whose.judged(backup, known, glance.lying, glance.evidence)
                of = partial(_row, directory, Backup(name, backup), glance, places.of(backup))
                found.extend(of(artifact, known, signature) for artifact in wanted)
        glances.keep()
    found.sort(key=lambda row: row.id, reverse=True)
    return tuple(found), tuple(damaged)


def _verifications(installation: Installation, job: str) -> Mapping[str, Verification]:
    """What verifying gave of the job's backups: of those that lie here."""
    return installation.records.verifications(job) if installation.elsewhere is None else {}


def jobs_of(directory: BackupDirectory, job: str | None) -> tuple[str, ...]:
    """The jobs that have a directory here, or just this one of them. NotFoundError when it is none."""
    jobs = directory.jobs()
    if job is not None and job not in jobs:
        raise NotFoundError(f"There are no backups of a job {job}", f"There are some of: {', '.join(jobs) or 'none'}")
    return jobs if job is None else (job,)


def _row(  # noqa: PLR0917 - what it is made of, part by part
    directory: BackupDirectory,
    backup: Backup,
    glance: Glance,
    where: Place,
    artifact: Shown,
    verified: Verification | None,
    signature: Signature,
) -> ArtifactRow:
    path = f"{directory.path}/{backup}"  # no Path: there may be ten thousand rows
    return ArtifactRow(
        id=backup.id,
        job=backup.job,
        type=artifact.type,
        target=artifact.target,
        server=artifact.server,
        path=f"{path}/{artifact.file}" if artifact.type is ArtifactType.DATABASE else path,
        size=artifact.size,
        started=glance.started,
        created=glance.finished,
        downtime_seconds=glance.downtime_seconds,
        verified=verified,
        signature=signature,
        where=where,
    )


def history(directory: BackupDirectory, job: str, backups: Iterable[str] | None = None) -> Iterator[Manifest]:
    """What the job's backups say of themselves, newest first, passing over damaged ones; or those `backups` of it."""
    for backup in directory.backups(job) if backups is None else backups:
        with suppress(CorruptError, NotFoundError):
            yield directory.manifest(job, backup)


def newest_manifest(directory: BackupDirectory, job: str) -> Manifest | None:
    """What the job's newest backup says of itself, passing over damaged ones; None when there is none."""
    return next(history(directory, job), None)


def resolve(directory: BackupDirectory, text: str) -> Backup:
    """The backup that a person means by an id, `JOB/latest`, `JOB/ID` or a unique beginning of either's id.

    NotFoundError when there is none, UsageError when there are several.
    """
    job, slash, wanted = text.strip("/").rpartition("/")
    if slash and not is_job_name(job):
        raise no_such_backup(text)
    jobs = (job,) if slash else directory.jobs()
    if wanted == "latest":
        newest = [Backup(name, directory.backups(name)[0]) for name in jobs if directory.backups(name)]
        if not newest:
            raise no_such_backup(text)
        if len(newest) > 1:
            raise AmbiguousError(f"{text} does not say of which job", "", f"Name one: {newest[0].job}/latest")
        return newest[0]
    matches = [Backup(name, each) for name in jobs for each in directory.backups(name) if each.startswith(wanted)]
    if not matches or not wanted:
        raise no_such_backup(text)
    exact = [match for match in matches if match.id == wanted]
    if len(exact or matches) > 1:
        several = ", ".join(str(match) for match in (exact or matches)[:5])
        raise AmbiguousError(
            f"{text} means several backups", f"It could be {several}", "Give more of the id, or JOB/ID"
        )
    return (exact or matches)[0]


def show(installation: Installation, directory: BackupDirectory, backup: Backup) -> tuple[dict[str, Any], Signature]:
    """`{manifest, size, verified, signature, where}` of one backup, as `show --json` prints it; and whose it is."""
    manifest = directory.manifest(backup.job, backup.id)
    verified = _verifications(installation, backup.job).get(backup.id)
    signature = signatures(installation, directory, backup.job).of(backup.id, verified)
    table = {
        "manifest": manifests.to_table(manifest),
        "size": backup_size(manifest),
        "verified": verified_table(verified),
        "signature": signature.table(),
        "where": Places(installation, directory, backup.job).of(backup.id).value,
    }
    return table, signature


def show_path(path: bytes) -> str:
    """A path relative to `/` as people and JSON read it: absolute, odd bytes as surrogates."""
    return "/" + os.fsdecode(path)


def find(
    installation: Installation, directory: BackupDirectory, text: str, kind: ArtifactType, target: str
) -> ArtifactRow:
    """The artifact that a client means by its path, its name, or its backup's id (`JOB/ID` where jobs share one).

    Nothing is looked up in the file system by what the client says. `target` tells databases of one backup apart.
    """
    parts = text.split("/")
    if any(not char.isprintable() for char in text) or ".." in parts or "." in parts:
        raise UsageError(f"{text!r} is no backup", "It is no path that this program ever gave", _LIST)
    listed, _ = rows(installation, directory, kind=kind)
    found = [row for row in listed if text in (row.path, row.filename, row.id, f"{row.job}/{row.id}")]
    if not found:
        raise NotFoundError(f"There is no backup {text} of type {kind}", "", _LIST)
    exact = [row for row in found if row.target == target] if len(found) > 1 else found
    if len(exact) != 1:
        several = ", ".join(row.filename for row in (exact or found)[:5])
        raise AmbiguousError(f"{text} means several backups", f"It could be {several}", "Give one of these names")
    return exact[0]


def find_filename(directory: BackupDirectory, text: str) -> tuple[Backup, Manifest]:
    """The backup that an artifact with this name belongs to. UsageError when no artifact can be called so."""
    named = backup_of(text)
    if named is None:
        raise UsageError(f"{text!r} is not the name of a backup", "", _LIST)
    backup = Backup(*named)
    manifest = directory.manifest(backup.job, backup.id)
    names = {filename(backup.job, backup.id, each.type, each.server, each.target) for each in manifest.artifacts}
    if text not in names:
        raise NotFoundError(f"There is no backup {text}", f"{backup} has {', '.join(sorted(names))}", _LIST)
    return backup, manifest
