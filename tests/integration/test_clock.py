"""A clock that was wrong once: what is dated in the future is never taken for the newest."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.names import backup_time, iso
from tests.support.history import dated
from tests.support.job import Site, site

FUTURE = "20990101T000000Z"


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job that ran once, when the clock was ahead by decades, and has another file since."""
    with site(tmp_path) as made:
        (made.data / "old").write_text("old")
        made.configure({"app": {"paths": [str(made.data)], "schedule": "daily", "retention": {"keep_last": 2}}})
        made.init().run("run", "app").succeeded()
        dated(made, made.ids()[0], FUTURE)
        (record,) = made.state.glob("runs/app/*.json")
        table = json.loads(record.read_text()) | {"started": iso(backup_time(FUTURE)), "backup": FUTURE}
        record.with_name(f"{FUTURE}.json").write_text(json.dumps(table))
        record.unlink()
        (made.data / "new").write_text("new")
        time.sleep(2.1)
        yield made


def test_runs_build_upon_each_other(bed: Site) -> None:
    """Else each of them would archive everything again that changed since the one that is dated in the future."""
    for _ in range(2):
        bed.run("run", "app").succeeded()
    _, last, first = bed.ids()
    archives = [each["path"] for each in bed.manifest(last)["archives"]]
    assert f"archives/{first}.hot-0001.tar.zst" in archives
    assert f"archives/{last}.hot-0001.tar.zst" not in archives
    assert bed.run("show", "app/latest", "--json").succeeded().json["manifest"]["id"] == last


def test_a_hot_pass_is_kept_all_the_same(bed: Site) -> None:
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    (kept,) = {path.name for path in (bed.job() / "archives").iterdir() if not path.name.startswith("2099")} - {
        Path(each["path"]).name for each in bed.manifest(FUTURE)["archives"]
    }
    bed.run("run", "app").succeeded()
    assert f"archives/{kept}" in [each["path"] for each in bed.manifest(bed.ids()[1])["archives"]]


def test_status_tells_of_the_last_run(bed: Site) -> None:
    bed.run("run", "app").succeeded()
    (row,) = bed.run("status", "--json").succeeded().json
    assert (row["state"], row["age_seconds"] >= 0) == ("ok", True)
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    (row,) = bed.run("status", "--json").json
    assert (row["state"], row["result"]) == ("failed", "failed")
