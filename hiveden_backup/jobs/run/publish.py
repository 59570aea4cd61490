"""The end of a run: manifest, SHA256SUMS and its signature, everything durable, one rename."""

from collections.abc import Callable
from pathlib import Path

from hiveden_backup.core.backup import manifest as manifests
from hiveden_backup.core.backup.layout import MANIFEST, SIGNATURE, SUMS, sums
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import ArtifactFile, Manifest
from hiveden_backup.host.disk.durable import digest, translated, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.host.state.key import Key, this_key
from hiveden_backup.jobs.backups.ownership import OwnJob
from hiveden_backup.jobs.backups.signing import made, noted, remember
from hiveden_backup.jobs.installation import Installation


def artifact_file(path: Path, uncompressed_bytes: int) -> ArtifactFile:
    """What the manifest says of a finished file in the backup's directory."""
    size, sha256 = digest(path)
    return ArtifactFile(path.name, size, uncompressed_bytes, sha256)


@dataclass(frozen=True, slots=True)
class Signing:
    """What a run signs its backup with; `remember` notes durably that it is about to be visible."""

    key: Key
    remember: Callable[[str, bytes], None]


def signing(installation: Installation, job: OwnJob) -> Signing:
    """For a run of a job. The key is made here when there is none; what is remembered of the job is durable then."""
    key, chain = this_key(installation.state), noted(installation, job.directory, job.locked)
    if chain.signer not in {"", key.fingerprint}:
        log.warning(
            f"The key {chain.signer} is gone, and {key.fingerprint} signs from now on:"
            f" to restore older backups in place, add --trust {chain.signer}",
            job=job.name,
        )

    def note(backup: str, content: bytes) -> None:
        remember(installation, job.directory, job.locked, made(chain, backup, content, key.fingerprint))

    return Signing(key, note)


def publish(directory: BackupDirectory, incoming: Path, manifest: Manifest, signing: Signing) -> None:
    """Write the manifest, the sums and their signature into `incoming` and make it the backup.

    What the manifest names is fsynced already. ssh-keygen(1) works while the sums are written.
    Archives in `incoming` go to where backups name them, not a moment before: those of a run that fails leave with it.
    """
    with translated(f"finishing the backup {manifest.job}/{manifest.id}"):
        failpoint("manifest")
        write_durably(incoming / MANIFEST, manifests.dump(manifest))
        failpoint("digest")
        archives = [archive.path for archive in manifest.archives if (incoming / Path(archive.path).name).exists()]
        moving = {Path(name).name for name in archives}
        files = sorted(path for path in incoming.iterdir() if path.name not in moving)
        known = {file.file: file.sha256 for artifact in manifest.artifacts for file in artifact.files}
        digests = ((path.name, known.get(path.name) or digest(path)[1]) for path in files)
        content = sums(digests)
        failpoint("sign")
        with signing.key.signing(content) as signature:
            write_durably(incoming / SUMS, content)
            signing.remember(manifest.id, content)
            signed = signature()
        failpoint("signed")
        write_durably(incoming / SIGNATURE, signed)
        for name in archives:
            directory.adopt_archive(manifest.job, incoming, name)
        directory.publish(manifest.job, manifest.id)
