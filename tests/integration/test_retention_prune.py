"""What goes and what stays: prune, delete, and the archives that backups share."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.history import dated, seal
from tests.support.invariants import check_backups, check_invariants
from tests.support.job import Site, site


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job of two files, with one backup."""
    with site(tmp_path) as made:
        for name in ("a", "b"):
            (made.data / name).write_text(name)
        made.configure({"app": {"paths": [str(made.data)], "compact_ratio": 0.0}})
        made.init().run("run", "app").succeeded()
        yield made


def change(bed: Site, name: str, *, age: float = 0.0) -> str:
    """Change a file and run; the new backup's id. What is younger than two seconds will be archived again."""
    (bed.data / name).write_text(os.urandom(500).hex())
    time.sleep(age)
    return bed.run("run", "app").succeeded().out.strip()


def archives(bed: Site) -> set[str]:
    return {name.removesuffix(".hot-0001.tar.zst") for name in os.listdir(bed.job() / "archives")}


def test_a_run_prunes_by_the_calendar(bed: Site) -> None:
    """Of each of the last days that have a backup the newest stays, however long ago that was."""
    first = bed.ids()[0]
    old = [dated(bed, first, f"202401{day:02}T{hour:02}0000Z", copy=True) for day in (3, 9, 17) for hour in (1, 13)]
    bed.change(retention={"keep_daily": 3})
    bed.run("run", "app").succeeded()
    newest = bed.ids()[0]
    assert bed.ids() == [newest, "20240117T130000Z", "20240109T130000Z"]
    assert {"20240117T130000Z", "20240109T130000Z"} <= set(old)
    assert bed.record()["prune"] == "done"
    check_invariants(bed)


def test_without_a_rule_everything_stays(bed: Site) -> None:
    dated(bed, bed.ids()[0], "20010101T000000Z", copy=True)
    bed.run("run", "app").succeeded()
    assert len(bed.ids()) == 3
    assert bed.run("prune", "--json").succeeded().json[-1] == {
        "id": "20010101T000000Z",
        "keep": True,
        "reasons": ["no rule is set"],
    }


def test_a_jobs_own_policy_replaces_the_global_one(bed: Site) -> None:
    """As a whole: it does not add to it."""
    dated(bed, bed.ids()[0], "20240101T000000Z", copy=True)
    bed.configure({"app": {"paths": [str(bed.data)], "retention": {"keep_last": 1}}}, retention={"keep_yearly": 9})
    rows = bed.run("prune", "--dry-run", "--json").succeeded().json
    assert [row["keep"] for row in rows] == [True, False]


def test_dry_run_tells_and_changes_nothing(bed: Site) -> None:
    newest = bed.ids()[0]
    dated(bed, newest, "20240101T000000Z", copy=True)
    dated(bed, newest, "29990101T000000Z", copy=True)
    bed.change(retention={"keep_last": 1})
    before = sorted(bed.backups.rglob("*"))
    rows = bed.run("prune", "--dry-run", "--json").succeeded().json
    assert rows == [
        {"id": "29990101T000000Z", "keep": True, "reasons": ["dated in the future"]},
        {"id": newest, "keep": True, "reasons": ["newest", "last 1 of 1"]},
        {"id": "20240101T000000Z", "keep": False, "reasons": ["no rule keeps it"]},
    ]
    table = bed.run("prune", "--dry-run").succeeded().out
    assert table.splitlines()[0].split() == ["JOB", "BACKUP", "DECISION", "WHY"]
    assert "20240101T000000Z  remove    no rule keeps it" in table
    assert sorted(bed.backups.rglob("*")) == before
    assert bed.run("prune", "app", "--json").succeeded().json == rows
    assert bed.ids() == ["29990101T000000Z", newest]
    check_invariants(bed)


def test_nothing_is_pruned_after_a_failed_run(bed: Site) -> None:
    dated(bed, bed.ids()[0], "20240101T000000Z", copy=True)
    bed.change(retention={"keep_last": 1})
    kept = bed.ids()
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    assert bed.ids() == kept
    assert bed.record()["prune"] == "skipped"
    bed.run("run", "app").succeeded()
    assert len(bed.ids()) == 1


def test_archives_go_with_the_last_backup_that_names_them(bed: Site) -> None:
    change(bed, "b", age=2.1)
    first = change(bed, "a", age=2.1)
    second, third = change(bed, "b", age=2.1), change(bed, "a", age=2.1)
    bed.run("delete", bed.ids()[-1], "--yes").succeeded()
    assert archives(bed) >= {first, second, third}
    done = bed.run("delete", f"app/{first}", "--yes").succeeded()
    assert done.out.startswith(f"Removed app/{first}")
    assert first in archives(bed), "the second still needs what the first archived"
    check_invariants(bed, kept=[second, third])
    bed.change(retention={"keep_last": 1})
    bed.run("prune").succeeded()
    assert bed.ids() == [third]
    assert second in archives(bed), "it holds a file of the third"
    assert first not in archives(bed)
    check_invariants(bed, kept=[third])
    files = bed.restored("third") / str(bed.data).lstrip("/")
    assert {name: (files / name).read_text() for name in ("a", "b")} == {
        name: (bed.data / name).read_text() for name in ("a", "b")
    }


def test_delete_asks_first(bed: Site) -> None:
    (backup,) = bed.ids()
    done = bed.run("delete", "app/latest").failed(2, "Nothing was removed", "--yes")
    assert f"This would remove app/{backup}" in done.err
    assert bed.ids() == [backup]
    bed.run("delete", "app/20240101T000000Z", "--yes").failed(66, "There is no backup")
    bed.run("delete", "other/latest", "--yes").failed(66, "There is no backup")
    bed.run("delete", "../app/latest", "--yes").failed(66, "There is no backup")
    bed.run("delete", backup[:4], "--yes").succeeded()
    assert bed.ids() == []
    assert archives(bed) == set()
    bed.run("delete", "app/latest", "--yes").failed(66, "There is no backup")


def test_the_newest_good_backup_stays(bed: Site) -> None:
    """One that verify found damaged does not stand for the one before it."""
    (good,) = bed.ids()
    bad = change(bed, "a")
    archive = bed.job() / f"archives/{bad}.hot-0001.tar.zst"
    archive.write_bytes(archive.read_bytes()[:-1] + b"?")
    bed.change(retention={"keep_last": 1})
    bed.run("verify", bad).failed(65, archive.name)
    rows = bed.run("prune", "--json").succeeded().json
    assert rows == [
        {"id": bad, "keep": True, "reasons": ["newest", "last 1 of 1"]},
        {"id": good, "keep": True, "reasons": ["newest that no verify found damaged"]},
    ]
    new = bed.run("run", "app").succeeded().out.strip()
    assert bed.ids() == [new]
    check_invariants(bed)


@pytest.mark.parametrize("damage", ["files.archives", "manifest.json"])
def test_a_damaged_backup_stops_no_run(bed: Site, damage: str) -> None:
    """Which archives it needs is told by either of its two lists; once it is deleted, all is well."""
    (first,) = bed.ids()
    second = change(bed, "b")
    (bed.job() / second / damage).unlink()
    seal(bed.job() / second)
    bed.change(retention={"keep_last": 1} if damage == "manifest.json" else {})
    (bed.data / "a").write_text("anew")
    done = bed.run("run", "app")
    assert f"app/{second} is not built upon" in done.err or "is damaged" in done.err
    new = bed.ids()[0]
    done.succeeded()
    if damage == "files.archives":
        assert archives(bed) == {first, second, new}
        bed.run("delete", f"app/{second}", "--yes").succeeded()
    else:
        assert bed.ids() == [new]
    bed.run("run", "app").succeeded()
    check_backups(bed)
    check_invariants(bed)
