"""The end of a run: manifest and SHA256SUMS, everything durable, one rename."""

import hashlib
import json
import os
from pathlib import Path

from hiveden_backup.core import manifest as manifests
from hiveden_backup.core.model import ArtifactFile, Manifest
from hiveden_backup.host.directory import MANIFEST, SUMS, BackupDirectory
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.files import fsync_directory, translated, write_durably

_CHUNK = 1 << 20


def digest(path: Path) -> tuple[int, str]:
    """A file's size and SHA-256."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256")
        return os.fstat(file.fileno()).st_size, found.hexdigest()


def artifact_file(path: Path, uncompressed_bytes: int) -> ArtifactFile:
    """What the manifest says of a finished file in the backup's directory."""
    size, sha256 = digest(path)
    return ArtifactFile(path.name, size, uncompressed_bytes, sha256)


def publish(directory: BackupDirectory, incoming: Path, manifest: Manifest) -> None:
    """Write the manifest and the sums into `incoming` and make it the backup. What it names is fsynced already."""
    with translated(f"finishing the backup {manifest.job}/{manifest.id}"):
        failpoint("manifest")
        text = json.dumps(manifests.to_table(manifest), indent=1) + "\n"
        write_durably(incoming / MANIFEST, text.encode())
        failpoint("digest")
        files = sorted(incoming.iterdir())
        sums = "".join(f"{digest(path)[1]}  {path.name}\n" for path in files)
        write_durably(incoming / SUMS, sums.encode())
        fsync_directory(incoming)
        directory.publish(manifest.job, manifest.id)
