"""A list of many backups reads none again that nobody has touched, and shows all that somebody has."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.names import backup_id, backup_time
from tests.support.history import dated
from tests.support.job import Site, site
from tests.support.watched import Watch

COUNT = 17
FIRST = "20260101T000000Z"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    """So many backups that it is worth to remember what they say, and remembered."""
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        dated(made, made.ids()[0], FIRST)
        for number in range(1, COUNT):
            dated(made, FIRST, backup_id(backup_time(FIRST) + timedelta(days=number)), copy=True)
        time.sleep(2.1)
        listed(made)
        yield made


def listed(made: Site) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = made.run("list", "--json").succeeded().json
    return rows


def first(made: Site) -> dict[str, Any]:
    return next(row for row in listed(made) if row["id"] == FIRST)


def put(path: Path, content: bytes) -> None:
    """Write into a file what has the size that it had, and give it back the time that can be given back."""
    times = path.stat()
    assert len(content) == times.st_size
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_nobody_has_touched_is_not_read_again(made: Site) -> None:
    before = listed(made)
    names = ("manifest.json", "SHA256SUMS", "SHA256SUMS.sig")
    watches = [Watch(made.job() / each / name) for each in made.ids() for name in names]
    assert listed(made) == before
    assert len(before) == COUNT
    assert {row["signature"]["state"] for row in before} == {"here"}
    assert sum(watch.events() for watch in watches) == 0
    shutil.rmtree(made.state / "listed")
    assert listed(made) == before
    assert all(watch.events() for watch in watches)


def test_a_changed_manifest_is_shown(made: Site) -> None:
    path = made.job() / FIRST / "manifest.json"
    content = path.read_bytes()
    put(path, content.replace(b'"target": "app"', b'"target": "xyz"'))
    assert first(made)["target"] == "xyz"
    put(path, content[:-2] + b"..")
    made.run("list").failed(65, str(path))


def test_a_backup_that_is_not_what_this_host_made_is_shown(made: Site) -> None:
    sums = made.job() / FIRST / "SHA256SUMS"
    put(sums, sums.read_bytes().replace(b"manifest", b"manifesT"))
    assert first(made)["signature"]["state"] == "forged"


def test_a_signature_that_does_not_fit_is_shown(made: Site) -> None:
    made.run("verify", FIRST).succeeded()
    signature = made.job() / FIRST / "SHA256SUMS.sig"
    assert first(made)["signature"]["state"] == "here"
    kept = signature.read_bytes()
    signature.unlink()
    assert first(made)["signature"]["state"] == "forged"
    signature.write_bytes(kept)
    assert first(made)["signature"]["state"] == "here"


def test_what_lies_elsewhere_is_no_backup(made: Site) -> None:
    (made.job() / FIRST).rename(made.path / "elsewhere")
    (made.job() / FIRST).symlink_to(made.path / "elsewhere")
    made.run("list").failed(65, "symbolic link")


def test_what_changed_a_moment_ago_is_read_again(made: Site) -> None:
    """It could change once more within the same tick of the clock."""
    shutil.rmtree(made.state / "listed")
    manifest = made.job() / FIRST / "manifest.json"
    manifest.write_bytes(manifest.read_bytes())
    listed(made)
    assert FIRST not in json.loads((made.state / "listed/app.json").read_text())["backups"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"directory": 1}', b'{"directory": "ID", "backups": {"B": 1}}']
)
def test_what_is_remembered_may_be_damaged(made: Site, content: bytes) -> None:
    before = listed(made)
    marker = json.loads((made.backups / ".hiveden-backup.json").read_text())["id"]
    content = content.replace(b"ID", marker.encode()).replace(b"B", FIRST.encode())
    (made.state / "listed/app.json").write_bytes(content)
    assert listed(made) == before


def test_what_is_gone_is_forgotten_with_the_next_that_are_new(made: Site) -> None:
    made.run("delete", f"app/{FIRST}", "--yes").succeeded()
    assert FIRST not in {row["id"] for row in listed(made)}


def test_nothing_is_remembered_where_times_are_not_to_be_trusted(made: Site) -> None:
    shutil.rmtree(made.state / "listed")
    elsewhere = made.path / "behind"
    made.backups.rename(elsewhere)
    made.backups.mkdir()
    with ExitStack() as stack:
        subprocess.run(["bindfs", str(elsewhere), str(made.backups)], check=True)
        stack.callback(subprocess.run, ["umount", str(made.backups)], check=True)
        assert len(listed(made)) == COUNT
    assert not (made.state / "listed").exists()
