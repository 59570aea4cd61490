"""Garbage: what some backup or the checkpoint names is never removed, and all else is."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiveden_backup.core.backup.layout import ARCHIVE_NAMES, CHECKPOINT
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.model import Archive, Manifest
from hiveden_backup.core.names import backup_id
from hiveden_backup.host.disk.repository import BackupDirectory, initialise
from hiveden_backup.jobs.run.publish import publish
from tests.support.signing import signing

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NAMES = tuple(f"archives/{backup_id(NOW + timedelta(days=day))}.hot.tar.zst" for day in range(8))

some = st.sets(st.sampled_from(NAMES))


def made(place: Path, there: set[str], backups: list[set[str]], checkpoint: set[str] | None) -> BackupDirectory:
    """A job with these archives, backups that name some of them, and perhaps a checkpoint."""
    directory = initialise(place / "backups", NOW)[0]
    for number, named in enumerate(backups):
        moment = NOW + timedelta(hours=number)
        incoming = directory.begin("app", backup_id(moment))
        (incoming / ARCHIVE_NAMES).write_text("".join(f"{name}\n" for name in sorted(named)))
        archives = tuple(Archive(name, 1, "", 1, 1, added=False) for name in sorted(named))
        manifest = Manifest(backup_id(moment), "app", "", "", moment, moment, archives=archives)
        publish(directory, incoming, manifest, signing(place / "state"))
    home = directory.job_path("app")
    (home / "archives").mkdir(parents=True, exist_ok=True)
    for name in there:
        (home / name).touch()
    if checkpoint is not None:
        (home / CHECKPOINT).mkdir()
        (home / CHECKPOINT / ARCHIVE_NAMES).write_text("".join(f"{name}\n" for name in checkpoint))
    return directory


@settings(max_examples=50)
@given(some, st.lists(some, max_size=4), st.none() | some, st.data())
def test_nothing_live_is_removed(
    there: set[str], backups: list[set[str]], checkpoint: set[str] | None, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = made(Path(place), there, backups, checkpoint)
        ids = sorted(directory.backups("app"))
        for gone in data.draw(st.sets(st.sampled_from(range(len(ids)))) if ids else st.just(set())):
            directory.delete("app", ids[gone])
            backups[gone] = set()
        live = set().union(*backups, checkpoint or set())
        assert set(directory.collect_garbage("app", {})) == there - live
        assert set(directory.archives("app")) == there & live


def test_nothing_is_removed_when_a_list_cannot_be_read(tmp_path: Path) -> None:
    directory = made(tmp_path, set(NAMES), [{NAMES[0]}, {NAMES[1]}], None)
    (directory.backup_path("app", backup_id(NOW)) / ARCHIVE_NAMES).write_text("../escape\n")
    with pytest.raises(CorruptError):
        directory.collect_garbage("app", {})
    assert set(directory.archives("app")) == set(NAMES)
