"""What others put into the backup directory steers no decision: not what goes, what is usual, or how a job is doing."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.names import backup_id, backup_time, iso
from tests.support.history import dated, seal
from tests.support.job import Site, site, stands_still


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job with two backups; what is not named by both is archived again."""
    with site(tmp_path) as made:
        (made.data / "page").write_text("what was written here")
        made.configure({"app": {"paths": [str(made.data)], "retention": {"keep_last": 2}}})
        made.init().run("run", "app").succeeded()
        dated(made, made.ids()[0], backup_id(datetime.now(UTC) - timedelta(days=2)))
        made.run("run", "app").succeeded()
        yield made


def put_there(bed: Site, hours: int, **fields: object) -> str:
    """A copy of the newest real backup, forged to be so much older: each of its digests is right."""
    newest = next(name for name in bed.ids() if (bed.job() / name / "SHA256SUMS.sig").exists())
    backup = backup_id(backup_time(newest) - timedelta(hours=hours))
    shutil.copytree(bed.job() / newest, bed.job() / backup)
    path = bed.job() / backup / "manifest.json"
    moment = iso(backup_time(backup))
    table = {**json.loads(path.read_text()), "id": backup, "started": moment, "finished": moment, **fields}
    path.write_text(json.dumps(table))
    (bed.job() / backup / "SHA256SUMS.sig").unlink()
    seal(bed.job() / backup, genuine=False)
    return backup


def decided(bed: Site) -> dict[str, tuple[bool, str]]:
    rows = bed.run("prune", "--dry-run", "--json").succeeded().json
    return {row["id"]: (row["keep"], row["reasons"][0]) for row in rows}


def test_forged_backups_push_out_no_real_one(bed: Site) -> None:
    real = bed.ids()
    forged = [put_there(bed, hours) for hours in range(1, 31)]
    assert {decided(bed)[backup] for backup in forged} == {(True, "not made here")}
    bed.run("prune").succeeded()
    assert set(bed.ids()) == {*real, *forged}
    bed.run("run", "app").succeeded()
    newest = next(name for name in bed.ids() if name not in forged and name not in real)
    assert set(bed.ids()) == {newest, real[0], *forged}
    bed.run("accept", "app").succeeded()  # a person has let them in: they go, and none of ours goes for them
    bed.run("prune").succeeded()
    assert {newest, real[0]} <= set(bed.ids())
    assert len(bed.ids()) <= 4


def test_a_forged_newest_backup_is_not_the_last_success(bed: Site) -> None:
    """Nor is a real one that says of itself what it did not say."""
    (row,) = bed.run("status", "--json").json
    put_there(bed, -1, finished="2099-01-01T00:00:00Z")
    (now,) = bed.run("status", "--json").json
    assert (now["last_success"], now["state"]) == (row["last_success"], "attention")
    forged = put_there(bed, 1)
    done = bed.run("restore", f"app/{forged}", "--in-place", "--yes").failed(77)
    assert f"app/{next(name for name in bed.ids() if (bed.job() / name / 'SHA256SUMS.sig').exists())}" in done.err


def test_a_forged_good_backup_makes_no_disaster_usual(bed: Site) -> None:
    for number in range(300):
        (bed.data / f"photo-{number}").write_text(str(number))
    time.sleep(1)
    bed.run("run", "app").succeeded()
    for number in range(300):
        (bed.data / f"photo-{number}").unlink()
    time.sleep(1)
    bed.run("run", "app").succeeded()
    (row,) = bed.run("status", "--json").json
    assert any("is unusual" in each for each in row["attention"])
    put_there(bed, -1, unusual=[])
    (row,) = bed.run("status", "--json").json
    assert any("is unusual" in each for each in row["attention"])
    assert all(keep for keep, _ in decided(bed).values())


def test_a_mount_that_only_a_forged_backup_names_stops_no_run(bed: Site) -> None:
    roots = bed.manifest()["roots"]
    put_there(bed, 1, roots=[{**roots[0], "mounts": [f"{bed.data}/disk"]}])
    bed.run("run", "app").succeeded()


@pytest.mark.parametrize("how", ["doctored", "digests, too", "another marker", "away"])
def test_no_archive_goes_that_a_real_backup_needs(bed: Site, how: str) -> None:
    """Both its lists are forged, its digests with them; or it is away for a while."""
    newest = bed.ids()[0]
    home = bed.job() / newest
    there = sorted(os.listdir(bed.job() / "archives"))
    if how == "away":
        home.rename(bed.path / "away")
    else:
        table = json.loads((home / "manifest.json").read_text())
        (home / "manifest.json").write_text(json.dumps({**table, "archives": []}))
        (home / "files.archives").write_text("")
    if how in ("digests, too", "another marker"):
        seal(home, genuine=False)
    if how == "another marker":
        marker = bed.backups / ".hiveden-backup.json"
        marker.write_text(json.dumps({**json.loads(marker.read_text()), "id": "another"}))
    done = bed.run("prune")
    assert "Traceback" not in done.err
    assert sorted(os.listdir(bed.job() / "archives")) == there
    bed.run("recover", "--job", "app")
    assert sorted(os.listdir(bed.job() / "archives")) == there


@pytest.mark.parametrize("what", ["job", "archives", "leftover"])
def test_removal_never_leaves_the_directory(bed: Site, what: str) -> None:
    """Whatever is exchanged between the look and the act."""
    outside = bed.path / "outside"
    (bed.job() / "archives/20200101T000000Z.hot.tar.zst").touch()  # nothing names it
    names = os.listdir(bed.job() / "archives")
    backup = bed.ids()[-1]
    for folder in (outside, outside / backup, outside / "archives"):
        folder.mkdir()
    for name in (*(f"archives/{name}" for name in names), "canary", f"{backup}/canary"):
        (outside / name).write_text("canary")
    before = sorted(str(path) for path in outside.rglob("*"))
    number = 2 if what == "archives" else 1
    process = bed.start("delete", f"app/{backup}", "--yes", failpoint=f"removing@{number}:hold")
    stands_still(process)
    match what:
        case "job":
            bed.job().rename(bed.path / "was")
            bed.job().symlink_to(outside)
        case "archives":
            (bed.job() / "archives").rename(bed.path / "was")
            (bed.job() / "archives").symlink_to(outside / "archives")
        case _:
            (gone,) = bed.job().glob(".deleting-*")
            gone.rename(bed.path / "was")
            gone.symlink_to(outside)
    bed.finish(process, signal.SIGCONT)
    assert sorted(str(path) for path in outside.rglob("*")) == before
