"""What is remembered of archives that were read, and when it holds."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hiveden_backup.core.backup.seen import Seen, SeenArchives
from hiveden_backup.core.model import Archive

NOW = datetime(2026, 11, 27, 2, 30, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(b"12345")
    return path


def archive(size: int = 5, sha256: str = "a") -> Archive:
    return Archive(path="archives/x", bytes=size, sha256=sha256, live_bytes=1, content_bytes=1, added=True)


def test_it_holds_while_the_file_is_left_alone(file: Path) -> None:
    seen = Seen.of(archive(), file.stat(), NOW)
    file.read_bytes()
    assert seen.untouched(file.stat())
    times = file.stat()
    file.write_bytes(b"12346")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert not seen.untouched(file.stat()), "the time of change cannot be set"


def test_another_size_is_another_file(file: Path) -> None:
    assert not Seen.of(archive(6), file.stat(), NOW).untouched(file.stat())


def test_it_is_of_what_was_read(file: Path) -> None:
    seen = Seen.of(archive(), file.stat(), NOW)
    assert seen.is_of(replace(archive(), live_bytes=0, added=False))
    assert not seen.is_of(archive(6))
    assert not seen.is_of(archive(sha256="b"))


def test_what_is_found_anew_replaces_what_was_known(file: Path) -> None:
    old, new = Seen.of(archive(), file.stat(), NOW), Seen.of(archive(sha256="b"), file.stat(), NOW)
    known = SeenArchives({"x": old, "y": old})
    assert known.renewed({"x": new, "z": new}, ["y", "other"]) == SeenArchives({"x": new, "z": new})
    assert known.only({"y", "z"}) == SeenArchives({"y": old})
