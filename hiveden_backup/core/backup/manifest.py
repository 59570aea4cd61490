"""manifest.json: a Manifest to and from JSON-ready tables.

On disk, `taken_ns` is in a table `index`, and the facts of a database are beside the other keys of its artifact.
"""

import json
from typing import Any

from hiveden_backup.core.backup.layout import is_archive_path, is_artifact_file
from hiveden_backup.core.codec import Codec, RecordError, parsed
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import FORMAT, ArtifactType, Manifest, SourceKind
from hiveden_backup.core.names import is_docker_name
from hiveden_backup.core.paths import is_plain

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
    """RecordError when a name is none that a run writes: it could lead somewhere else, or mean something else."""
    roots = [root.path for root in manifest.roots]
    sources = [source for artifact in manifest.artifacts for source in artifact.sources]
    volumes = [source.name for source in sources if source.kind is SourceKind.VOLUME]
    servers = [source.name for source in sources if source.kind is SourceKind.CONTAINER]
    paths = [source.path for source in sources if source.kind in (SourceKind.PATH, SourceKind.VOLUME)]
    files = [file.file for artifact in manifest.artifacts for file in artifact.files]
    for names, fits, what in (
        ((archive.path for archive in manifest.archives), is_archive_path, "no archive"),
        ((*roots, *paths), is_plain, "no path of a directory or file"),
        ((*volumes, *(volume.name for volume in manifest.volumes)), is_docker_name, "no name of a volume"),
        (servers, is_docker_name, "no name of a container"),
        (files, is_artifact_file, "no file of a backup"),
    ):
        if odd := [name for name in names if not fits(name)]:
            raise RecordError(f"{odd[0]!r} is {what}")
    for artifact in manifest.artifacts:
        if not artifact.files:
            raise RecordError(f"the artifact {artifact.target!r} has no files")
    only = [(each.server, each.target) for each in manifest.artifacts if each.type is ArtifactType.DATABASE]
    if any(len(set(each)) < len(each) for each in (roots, volumes, only)) or len(manifest.artifacts) - len(only) > 1:
        raise RecordError("it has something twice")
