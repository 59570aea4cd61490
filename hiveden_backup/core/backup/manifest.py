"""manifest.json: a Manifest to and from JSON-ready tables."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar, cast

from hiveden_backup.core.backup.layout import is_archive_path
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import (
    FORMAT,
    Archive,
    Artifact,
    ArtifactFile,
    ArtifactType,
    DatabaseFacts,
    Extension,
    Grant,
    Manifest,
    Root,
    Setting,
    Source,
    SourceKind,
    StoppedContainer,
    Table,
)
from hiveden_backup.core.names import from_iso, iso

_T = TypeVar("_T")
_PLAIN: dict[object, type | tuple[type, ...]] = {str: str, int: int, float: (int, float), bool: bool}


def to_table(manifest: Manifest) -> dict[str, Any]:
    """The manifest as written: DESIGN §4's fields; `index.taken_ns` and some facts of databases beside them."""
    return {
        "format": manifest.format,
        "id": manifest.id,
        "job": manifest.job,
        "host": manifest.host,
        "version": manifest.version,
        "started": iso(manifest.started),
        "finished": iso(manifest.finished),
        "index": {"taken_ns": manifest.taken_ns},
        "archives": [asdict(archive) for archive in manifest.archives],
        "roots": [asdict(root) for root in manifest.roots],
        "containers": [asdict(container) for container in manifest.containers],
        "job_config": dict(manifest.job_config),
        "artifacts": [_artifact_table(artifact) for artifact in manifest.artifacts],
        "warnings": list(manifest.warnings),
    }


def _artifact_table(artifact: Artifact) -> dict[str, Any]:
    table = asdict(artifact)
    table["type"] = artifact.type.value
    table.update(table.pop("database") or {})
    return table


def from_table(table: object, where: str) -> Manifest:
    """The inverse of `to_table`. CorruptError naming `where` when a field is missing or of the wrong kind."""
    try:
        return _manifest(table)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptError(
            f"{where} is not a manifest", f"{type(error).__name__}: {error}", "Verify the other backups of the job"
        ) from error


def _manifest(table: Any) -> Manifest:
    if table["format"] != FORMAT:
        raise ValueError(f"format {table['format']!r} is not {FORMAT}: written by a newer version?")
    return Manifest(
        id=_text(table["id"]),
        job=_text(table["job"]),
        host=_text(table["host"]),
        version=_text(table["version"]),
        started=from_iso(table["started"]),
        finished=from_iso(table["finished"]),
        taken_ns=int(table["index"]["taken_ns"]),
        archives=tuple(_archive(archive) for archive in table["archives"]),
        roots=tuple(
            Root(root["path"], root["device"], root["filesystem"], tuple(root["mounts"])) for root in table["roots"]
        ),
        containers=_many(StoppedContainer, table["containers"]),
        job_config=dict(table["job_config"]),
        artifacts=tuple(_artifact(artifact) for artifact in table["artifacts"]),
        warnings=tuple(table["warnings"]),
    )


def _archive(table: Mapping[str, Any]) -> Archive:
    if not is_archive_path(_text(table["path"])):
        raise ValueError(f"{table['path']!r} is no archive")
    return _record(Archive, table)


def _artifact_file(table: Mapping[str, Any]) -> ArtifactFile:
    if "/" in _text(table["file"]) or table["file"] in {"", ".", ".."}:
        raise ValueError(f"{table['file']!r} is no file of a backup")
    return _record(ArtifactFile, table)


def _artifact(table: Mapping[str, Any]) -> Artifact:
    kind = ArtifactType(table["type"])
    if not table["files"]:
        raise ValueError(f"the artifact {table['target']!r} has no files")
    return Artifact(
        type=kind,
        target=_text(table["target"]),
        server=_text(table["server"]),
        files=tuple(_artifact_file(file) for file in table["files"]),
        entries=int(table["entries"]),
        sources=tuple(_source(row) for row in table["sources"]),
        database=_database(table) if kind is ArtifactType.DATABASE else None,
    )


def _source(row: Mapping[str, Any]) -> Source:
    return Source(SourceKind(row["kind"]), _text(row["name"]), _text(row["path"]))


def _database(table: Mapping[str, Any]) -> DatabaseFacts:
    names = ("server_version", "encoding", "locale", "ctype", "locale_provider", "icu_locale", "owner")
    plain: dict[str, Any] = {name: _text(table[name]) for name in names}
    return DatabaseFacts(
        **plain,
        extensions=_many(Extension, table["extensions"]),
        tables=_many(Table, table["tables"]),
        **_whole(table),
    )


def _whole(table: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to a database as a whole; version 0.1.0 did not record it."""
    if "settings" not in table:
        return {}
    limit = table["connection_limit"]
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"connection_limit is {limit!r}")
    return {
        **{name: _text(table[name]) for name in ("icu_rules", "tablespace", "comment")},
        "connection_limit": limit,
        "grants": None if table["grants"] is None else _many(Grant, table["grants"]),
        "settings": tuple(_setting(row) for row in table["settings"]),
        "roles": tuple(_text(role) for role in table["roles"]),
    }


def _setting(row: Mapping[str, Any]) -> Setting:
    value = row["value"]
    return Setting(_text(row["role"]), _text(row["name"]), None if value is None else _text(value))


def _many(kind: type[_T], rows: Sequence[Mapping[str, Any]]) -> tuple[_T, ...]:
    return tuple(_record(kind, row) for row in rows)


def _record(kind: type[_T], row: Mapping[str, Any]) -> _T:
    """A row as a value whose plain fields have the types that they are declared with."""
    for name, wanted in _declared(cast("type", kind)):
        value = row[name]
        if not isinstance(value, wanted) or isinstance(value, bool) is not (wanted is bool):
            raise TypeError(f"{name} is {value!r}")
    return kind(**row)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


@functools.cache
def _declared(kind: type) -> tuple[tuple[str, type | tuple[type, ...]], ...]:
    """The plain fields of a dataclass, and what their values must be."""
    return tuple((field.name, _PLAIN[field.type]) for field in fields(kind) if field.type in _PLAIN)
