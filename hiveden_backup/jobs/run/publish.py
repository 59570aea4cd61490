"""The end of a run: manifest and SHA256SUMS, everything durable, one rename."""

from pathlib import Path

from hiveden_backup.core.backup import manifest as manifests
from hiveden_backup.core.backup.layout import MANIFEST, SUMS, sums
from hiveden_backup.core.model import ArtifactFile, Manifest
from hiveden_backup.host.disk.durable import digest, translated, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.failpoints import failpoint


def artifact_file(path: Path, uncompressed_bytes: int) -> ArtifactFile:
    """What the manifest says of a finished file in the backup's directory."""
    size, sha256 = digest(path)
    return ArtifactFile(path.name, size, uncompressed_bytes, sha256)


def publish(directory: BackupDirectory, incoming: Path, manifest: Manifest) -> None:
    """Write the manifest and the sums into `incoming` and make it the backup. What it names is fsynced already.

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
        write_durably(incoming / SUMS, sums(digests))
        for name in archives:
            directory.adopt_archive(manifest.job, incoming, name)
        directory.publish(manifest.job, manifest.id)
