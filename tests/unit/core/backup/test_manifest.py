"""What a manifest tells of a database, and what one of an older version does not."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from hiveden_backup.core.backup.manifest import from_table, to_table
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import (
    Artifact,
    ArtifactFile,
    ArtifactType,
    DatabaseFacts,
    Extension,
    Grant,
    Manifest,
    Setting,
    Table,
)

WHOLE = ("icu_rules", "tablespace", "connection_limit", "comment", "grants", "settings", "roles")
OLD = DatabaseFacts("15.1", "UTF8", "C", "C", "libc", "", "me", (Extension("e", "1"),), (Table("public.t", 1),))
NEW = replace(
    OLD,
    tablespace="fast",
    connection_limit=7,
    comment="a comment",
    grants=(Grant("", "CONNECT", grantable=False), Grant("bob", "CREATE", grantable=True)),
    settings=(Setting("", "work_mem", "8MB"), Setting("bob", "app.jwt", None)),
    roles=("bob", "me"),
)


def written(facts: DatabaseFacts) -> Any:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    file = ArtifactFile("database.s.d.dump.zst", 1, 2, "00")
    artifact = Artifact(ArtifactType.DATABASE, "d", "s", (file,), 1, (), facts)
    manifest = Manifest("20260101T000000Z", "j", "h", "0", moment, moment, artifacts=(artifact,))
    return json.loads(json.dumps(to_table(manifest)))


def read(table: Any) -> DatabaseFacts | None:
    return from_table(table, "manifest.json").artifacts[0].database


@pytest.mark.parametrize("facts", [OLD, NEW, replace(NEW, grants=())])
def test_all_of_it_is_written_and_read(facts: DatabaseFacts) -> None:
    assert read(written(facts)) == facts


def test_manifest_of_an_older_version() -> None:
    table = written(NEW)
    for name in WHOLE:
        del table["artifacts"][0][name]
    assert read(table) == OLD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connection_limit", True),
        ("connection_limit", "7"),
        ("comment", 1),
        ("roles", [1]),
        ("grants", [{"grantee": "", "privilege": 1, "grantable": False}]),
        ("grants", [{"grantee": "", "privilege": "CONNECT", "grantable": "no"}]),
        ("settings", [{"role": "", "name": "x", "value": 1}]),
        ("settings", [{"role": "", "name": "x"}]),
    ],
)
def test_what_is_no_manifest(name: str, value: object) -> None:
    table = written(NEW)
    table["artifacts"][0][name] = value
    with pytest.raises(CorruptError):
        read(table)
