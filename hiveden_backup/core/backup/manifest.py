"""manifest.json: a Manifest to and from JSON-ready tables.

On disk, `taken_ns` is in a table `index`, and the facts of a database are beside the other keys of its artifact.
"""

import json
from typing import Any

from hiveden_backup.core.backup.layout import is_archive_path
from hiveden_backup.core.codec import Codec, RecordError, parsed
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import FORMAT, ArtifactType, Manifest

_MANIFESTS = Codec(
    Manifest,  # version 0.1.0 did not record what belongs to a database as a whole
    lacking=("icu_rules", "tablespace", "connection_limit", "comment", "grants", "settings", "roles"),
    sparse=("volumes", "mount", "unusual", "owner"),
)
_HINT = "Verify the other backups of the job"
_HEAD = ("format", "id", "job", "host", "version", "started", "finished")


def to_table(manifest: Manifest) -> dict[str, Any]:
    """The manifest as written."""
    table = _MANIFESTS.table(manifest)
    head = {name: table.pop(name) for name in _HEAD}
    index = {"taken_ns": table.pop("taken_ns")}
    for artifact in table["artifacts"]:
        artifact.update(artifact.pop("database") or {})
    return {**head, "index": index, **table}


def dump(manifest: Manifest) -> bytes:
    """The content of manifest.json."""
    return json.dumps(to_table(manifest), indent=1).encode() + b"\n"


def load(content: bytes, where: str) -> Manifest:
    """The inverse of `dump`. CorruptError naming `where`."""
    try:
        table = parsed(content)
    except RecordError as error:
        raise CorruptError(f"{where} is damaged", str(error), _HINT) from error
    return from_table(table, where)


def from_table(table: Any, where: str) -> Manifest:
    """The inverse of `to_table`. CorruptError naming `where` when a field is missing or of the wrong kind."""
    try:
        return _manifest(table)
    except (RecordError, KeyError, TypeError) as error:
        raise CorruptError(f"{where} is not a manifest", f"{type(error).__name__}: {error}", _HINT) from error


def _manifest(table: Any) -> Manifest:
    if table["format"] != FORMAT:
        raise RecordError(f"format {table['format']!r} is not {FORMAT}: written by a newer version?")
    artifacts = [
        {**artifact, "database": artifact if artifact["type"] == ArtifactType.DATABASE else None}
        for artifact in table["artifacts"]
    ]
    manifest = _MANIFESTS.value({**table, "taken_ns": table["index"]["taken_ns"], "artifacts": artifacts})
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """RecordError when a name could lead out of the backup."""
    for archive in manifest.archives:
        if not is_archive_path(archive.path):
            raise RecordError(f"{archive.path!r} is no archive")
    for artifact in manifest.artifacts:
        if not artifact.files:
            raise RecordError(f"the artifact {artifact.target!r} has no files")
        for each in artifact.files:
            if "/" in each.file or each.file in {"", ".", ".."}:
                raise RecordError(f"{each.file!r} is no file of a backup")
