"""A backup that lost or changed too much is said to be unusual, and nothing older goes before a person looked."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.config.values import Retention
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.jobs.backups import prune
from hiveden_backup.jobs.installation import Installation
from tests.support.invariants import check_invariants
from tests.support.job import Site, site
from tests.support.postgres import Server

FILES = 300


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job with one backup of many files, that keeps two."""
    with site(tmp_path) as made:
        for number in range(FILES):
            folder = made.data / f"album-{number % 3}"
            folder.mkdir(exist_ok=True)
            (folder / f"photo-{number}").write_bytes(os.urandom(1000))
        made.configure({"app": {"paths": [str(made.data)], "retention": {"keep_last": 2}}})
        made.init().run("run", "app").succeeded()
        assert made.manifest()["unusual"] == []
        yield made


def photos(bed: Site) -> list[Path]:
    return sorted(path for path in bed.data.rglob("*") if path.is_file())


def night(bed: Site) -> list[str]:
    """A run; what is unusual about its backup."""
    done = bed.run("run", "app").succeeded()
    unusual = list(bed.manifest()["unusual"])
    for sentence in unusual:
        assert sentence in done.err
    (row,) = bed.run("status", "--json").json
    assert (row["state"], bool(row["attention"])) == (("attention", True) if unusual else ("ok", False))
    assert all(sentence in row["attention"][0] for sentence in unusual)
    status = bed.run("status")
    assert status.code == (1 if unusual else 0)
    assert ("hiveden-backup accept app" in status.out) == bool(unusual)
    assert all(f"unusual     {sentence}" in bed.run("show", "app/latest").succeeded().out for sentence in unusual)
    return unusual


def shrink(bed: Site) -> None:
    """All but ten photos are gone."""
    for path in photos(bed)[10:]:
        path.unlink()


def test_a_loss_is_held_for_as_many_nights_as_it_takes(bed: Site) -> None:
    full = bed.ids()[0]
    shrink(bed)
    for _ in range(3):
        (sentence,) = night(bed)
        assert sentence == f"290 of the 304 paths in app/{full} are gone"
    assert full in bed.ids()
    assert len(bed.ids()) == 4, "the policy keeps two, but the next two nights were not accepted either"
    rows = {row["id"]: row for row in bed.run("prune", "--dry-run", "--json").succeeded().json}
    assert rows[full]["keep"]
    assert rows[full]["reasons"] == [f"older than {bed.ids()[0]}, which is unusual: hiveden-backup accept app"]
    bed.run("prune").succeeded()
    assert full in bed.ids()
    assert len(list(bed.restored("all", backup=f"app/{full}").rglob("photo-*"))) == FILES
    check_invariants(bed)


def test_a_second_disaster_while_the_first_waits(bed: Site) -> None:
    """A person moves the photos, adds some, and accepts nothing. Only unusual backups have what is overwritten then."""
    full = bed.ids()[0]
    bed.data.rename(bed.data.with_name("moved"))
    bed.data.mkdir()
    bed.data.with_name("moved").rename(bed.data / "moved")
    for number in range(FILES):
        (bed.data / f"fresh-{number}").write_text("not yet in any good backup")
    gone = f"303 of the 304 paths in app/{full} are gone"
    assert [night(bed), night(bed)] == [[gone], [gone]]
    moved = bed.ids()[0]
    rewrite(bed)
    harm = f"600 of the 600 files in app/{moved} have other content"
    assert night(bed) == [gone, harm]
    harmed = bed.ids()[0]
    for _ in range(2):
        assert night(bed) == [gone], "only what is new is said of it"
    assert len(bed.ids()) == 6
    assert (bed.restored("all", backup=f"app/{moved}") / str(bed.data).lstrip("/") / "fresh-7").read_text() == (
        "not yet in any good backup"
    )
    (row,) = bed.run("status", "--json").json
    assert row["attention"][1:] == [f"So was the backup {harmed}, against the one before it. {harm}"]
    accepted = bed.run("accept", "app").succeeded().out
    assert accepted == f"Accepted: {gone}.\nAccepted: {harm}.\n"
    check_invariants(bed)
    assert night(bed) == []
    assert len(bed.ids()) == 2


def test_a_prune_to_look_at_beside_a_run(bed: Site) -> None:
    """It has no lock: backups may be published at any moment of it."""
    shrink(bed)

    class Beside(BackupDirectory):
        def backups(self, job: str) -> tuple[str, ...]:
            found = super().backups(job)
            bed.run("run", "app").succeeded()
            return found

    looking = Installation(bed.config, bed.state, lambda: datetime.now(UTC))
    (decision,) = prune.plan(looking, Beside(bed.backups, ""), "app", Retention(keep_last=2)).decisions
    assert decision.keep


def test_what_is_like_neither_is_usual_by_the_good_one(bed: Site) -> None:
    """What the one directly before lacks makes nothing unusual that has what the good one had."""
    for path in photos(bed):
        os.rename(path, bed.path / path.name)
    added(bed)
    assert night(bed) != []
    bed.run("restore", "app/" + bed.ids()[-1], "--in-place", "--yes").succeeded()
    assert night(bed) == [], "though the 900 that were added are gone"


def test_a_disaster_with_no_good_one_left(bed: Site) -> None:
    full = bed.ids()[0]
    for path in photos(bed):
        path.rename(path.with_name(f"new-{path.name}"))
    night(bed)
    before = bed.ids()[0]
    bed.run("delete", f"app/{full}", "--yes").succeeded()
    rewrite(bed)
    assert night(bed) == [f"300 of the 300 files in app/{before} have other content"]


def test_a_person_accepts_it(bed: Site) -> None:
    full = bed.ids()[0]
    shrink(bed)
    night(bed)
    done = bed.run("accept", "app").succeeded()
    assert f"290 of the 304 paths in app/{full} are gone" in done.out
    bed.run("status").succeeded()
    assert "nothing to accept" in bed.run("accept", "app").succeeded().out
    assert night(bed) == []
    assert full not in bed.ids()
    check_invariants(bed)


def test_a_usual_one_releases_it(bed: Site) -> None:
    """Usual is what has what the last good one had, not what is like the bad one."""
    full = bed.ids()[0]
    shrink(bed)
    night(bed)
    bed.run("restore", f"app/{full}", "--in-place", "--yes").succeeded()
    assert night(bed) == []
    assert full not in bed.ids()


def test_delete_is_a_persons_own(bed: Site) -> None:
    full = bed.ids()[0]
    shrink(bed)
    night(bed)
    bed.run("delete", f"app/{full}", "--yes").succeeded()
    assert full not in bed.ids()
    assert night(bed) == [], "there is nothing left to compare with"


def test_little_by_little(bed: Site) -> None:
    """No night loses half of what the one before had."""
    full = bed.ids()[0]
    for said in [], [f"There were 304 paths in app/{full}, and 137 are left"]:
        for path in photos(bed)[::3]:
            path.unlink()
        assert night(bed) == said


def rewrite(bed: Site) -> None:
    """As ransomware does it."""
    for path in photos(bed):
        path.write_bytes(os.urandom(1024))


def rename(bed: Site) -> None:
    for path in photos(bed):
        path.rename(path.with_name(f"{path.name}.locked"))


def truncate(bed: Site) -> None:
    for path in photos(bed)[: FILES * 2 // 3]:
        path.write_bytes(b"")


def anew(bed: Site) -> None:
    """A volume that was made anew."""
    shutil.rmtree(bed.data)
    bed.data.mkdir()


@pytest.mark.parametrize(
    ("harm", "word"),
    [(rewrite, "have other content"), (rename, "paths in"), (truncate, "are gone"), (anew, "paths in")],
)
def test_other_harm(bed: Site, harm: Callable[[Site], None], word: str) -> None:
    harm(bed)
    assert any(word in sentence for sentence in night(bed))


def owners(bed: Site) -> None:
    subprocess.run(["chown", "-R", "1000:1000", str(bed.data)], check=True)


def moved(bed: Site) -> None:
    """To another disk, with times."""
    copy = bed.path / "copy"
    subprocess.run(["cp", "-a", str(bed.data), str(copy)], check=True)
    shutil.rmtree(bed.data)
    copy.rename(bed.data)


def restored(bed: Site) -> None:
    bed.run("restore", "app/latest", "--in-place", "--yes").succeeded()


def added(bed: Site) -> None:
    for number in range(3 * FILES):
        (bed.data / f"new-{number}").write_text("new")


def some(bed: Site) -> None:
    """A large part, but not most."""
    for path in photos(bed)[:140]:
        path.unlink()


def most_of_a_few(bed: Site) -> None:
    bed.change(paths=[str(bed.data / "album-0")])
    bed.run("run", "app").succeeded()
    for path in sorted((bed.data / "album-0").iterdir())[:99]:
        path.unlink()


def nothing(bed: Site) -> None:
    del bed


@pytest.mark.parametrize("what", [owners, moved, restored, added, some, most_of_a_few, nothing])
def test_what_is_usual(bed: Site, what: Callable[[Site], None]) -> None:
    """Above all, what gives every file a new ctime and inode, and loses nothing."""
    what(bed)
    assert night(bed) == []


@pytest.mark.parametrize("settings", [{"paths": ["album-0"]}, {"exclude": ["album-1", "album-2"]}], ids=str)
def test_what_a_person_takes_out_of_the_job_is_not_lost(bed: Site, settings: dict[str, Any]) -> None:
    if "paths" in settings:
        settings = {"paths": [str(bed.data / name) for name in settings["paths"]]}
    bed.change(**settings)
    assert night(bed) == []
    assert night(bed) == []


def test_a_full_run_is_usual_or_not_like_any_other(bed: Site) -> None:
    bed.run("run", "app", "--full").succeeded()
    assert bed.manifest()["unusual"] == []
    shrink(bed)
    bed.run("run", "app", "--full").succeeded()
    assert "paths in" in bed.manifest()["unusual"][0]


def test_a_run_that_goes_on_from_a_checkpoint_is_compared_with_a_backup(bed: Site) -> None:
    shrink(bed)
    bed.run("run", "app", failpoint="manifest:error").failed(1)
    assert "paths in" in night(bed)[0]


def test_no_guard(bed: Site) -> None:
    bed.change(unusual=False)
    shrink(bed)
    assert night(bed) == []


@pytest.mark.parametrize("missing", [False, True])
def test_a_damaged_reference_is_passed_over(bed: Site, *, missing: bool) -> None:
    """The one before it will do."""
    older = bed.ids()[0]
    bed.run("run", "app").succeeded()
    index = bed.job() / bed.ids()[0] / "files.index.zst"
    index.unlink() if missing else index.write_bytes(b"damaged")
    shrink(bed)
    bed.run("run", "app").succeeded()
    assert bed.manifest()["unusual"] == [f"290 of the 304 paths in app/{older} are gone"]


# ---- databases -------------------------------------------------------------------------------------------------------


def test_databases(tmp_path: Path, postgres: Server) -> None:
    """One that is gone though the job is to have all; one that was made anew, whose tables have no rows any more."""
    filled = [f"CREATE TABLE t{n} AS SELECT * FROM generate_series(1, 100) AS number" for n in range(4)]
    with site(tmp_path) as bed, postgres.database("one", *filled), postgres.database("two", *filled):
        bed.configure({"app": {"postgres": [{"dsn": postgres.dsn()}]}})
        bed.init().run("run", "app").succeeded()
        postgres.sql("DELETE FROM t0", "DELETE FROM t1", dbname="one")
        assert night(bed) == [], "half of them, which may be logs"
        postgres.sql("INSERT INTO t0 VALUES (1)", "INSERT INTO t1 VALUES (1)", dbname="one")
        assert night(bed) == []
        full = f"app/{bed.ids()[0]}"
        postgres.sql(*(f"DELETE FROM t{n}" for n in range(4)), dbname="one")
        postgres.drop("two")
        where = f"on {postgres.sockets}"
        for _ in range(2):
            assert night(bed) == [
                f"4 of the 4 tables with rows that {full} has of the database one {where} are empty or gone",
                f"The database two {where} is gone: {full} has it",
            ]
        bed.change(postgres=[{"dsn": postgres.dsn(), "databases": ["one"]}])
        bed.run("accept", "app").succeeded()
        assert night(bed) == []
