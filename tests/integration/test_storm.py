"""Backups of a tree in a storm: each one that is kept restores to what the tree was at its moment, to the letter.

`HIVEDEN_STORM_SEEDS=200 pytest tests/integration/test_storm.py` tries more seeds than CI does.
Most are slow tests.
"""

import mmap
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
import tomli_w

from hiveden_backup.core.backup.proving import LEAST
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.host.disk.repository import BackupDirectory, initialise
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.prune import prune_job
from hiveden_backup.jobs.backups.verify import Verifier
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.files import restore_files
from hiveden_backup.jobs.run import passes
from hiveden_backup.jobs.run.dumps import Dumps
from hiveden_backup.jobs.run.execution import Cold, Execution, Published
from hiveden_backup.jobs.run.plan import Plan, PlannedStop
from hiveden_backup.jobs.run.validate import drafted
from tests.support.disks import own_disk
from tests.support.storm import TELLTALE, Blowing, blowing, describe, hide_a_secret

SEEDS = int(os.environ.get("HIVEDEN_STORM_SEEDS", "20"))
FEW = 5
RUNS = 5
KEPT = 3
NOBODY = cast("Docker", None)
"""It is never asked: the storm is held instead."""

STAND_IN = Container("0" * 64, "storm", "none", "none", "running", running=True)


class Held(Execution):
    """A run whose container is the storm: held still for the cold pass, when the tree is described as well."""

    storm: Blowing
    moment: dict[str, tuple[object, ...]]

    def _cold(self, state: passes.State, dumps: Dumps) -> Cold:  # noqa: ARG002 - there are none
        synced = self._sync_before_stop()
        self.storm.hold()
        try:
            taken = self._cold_pass(state, synced)
            self.moment = describe(Path(self._job.paths[0]))
        finally:
            self.storm.go_on()
        return Cold(taken)


class Chain:
    """Runs of one job over one tree, one after the other."""

    def __init__(self, place: Path, **settings: object) -> None:
        self.tree = place / "tree"
        self.tree.mkdir()
        hide_a_secret(self.tree)
        self.directory: BackupDirectory = initialise(place / "backups", datetime.now(UTC))[0]
        job = {"paths": [str(self.tree)], "retention": {"keep_last": KEPT}, **settings}
        config = place / "config.toml"
        config.write_text(tomli_w.dumps({"directory": str(self.directory.path), "jobs": {"storm": job}}))
        self.installation = Installation(config, place / "state", lambda: datetime.now(UTC))
        self.job = self.installation.config.jobs["storm"]
        self.place = place
        self.worth_proving = LEAST

    def run(self, storm: Blowing | None) -> Execution:
        """One run; with a `storm` it has a cold pass, in which that is held."""
        spool = self.place / f"spool-{time.time_ns()}"
        spool.mkdir()
        with ExitStack() as stack:
            locked = stack.enter_context(job_lock(self.installation.state, "storm"))
            plan: Plan = stack.enter_context(drafted(self.installation, self.job, spool)).passed()
            if storm is None:
                execution = Execution(
                    self.installation, locked, plan, datetime.now(UTC), worth_proving=self.worth_proving
                )
            else:
                plan = replace(plan, stop=PlannedStop(NOBODY, (STAND_IN,)))
                execution = Held(self.installation, locked, plan, datetime.now(UTC), worth_proving=self.worth_proving)
                execution.storm = storm
            self.finished: Published = execution.execute()
        return execution

    def prune(self) -> None:
        prune_job(self.installation, self.job)

    def restored(self, backup: str) -> dict[str, tuple[object, ...]]:
        target = self.place / f"restored-{backup}"
        restore_files(self.installation, Backup("storm", backup), target, ())
        return describe(target / str(self.tree).lstrip("/"))

    def tells_no_secret(self) -> bool:
        """Whether no archive has what nobody may read."""
        files = [self.directory.job_path("storm") / name for name in self.directory.archives("storm")]
        found = [subprocess.run(["zstd", "-dc", file], capture_output=True, check=True).stdout for file in files]
        return bool(found) and not any(TELLTALE in content for content in found)

    def verify(self) -> None:
        with Verifier(self.installation) as verifier:
            for found in verifier.verify([Backup("storm", each) for each in self.directory.backups("storm")]):
                assert not found.errors, str(found.errors[0])


def difference(found: dict[str, tuple[object, ...]], wanted: dict[str, tuple[object, ...]]) -> list[str]:
    """What differs, a line each."""
    lines = [f"missing {name!r}" for name in wanted if name not in found]
    lines += [f"extra {name!r}" for name in found if name not in wanted]
    lines += [
        f"{name!r}: {found[name]} instead of {wanted[name]}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return lines


def seeds(number: int, few: int) -> list[object]:
    return [seed if seed < few else pytest.param(seed, marks=pytest.mark.slow) for seed in range(number)]


@pytest.fixture
def small_archives(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Archives of a few paths, with most seeds: their boundaries fall anywhere, in groups of hard links as well."""
    if seed % 3:
        monkeypatch.setenv("HIVEDEN_BACKUP_ARCHIVE_BYTES", str((0, 2048, 100_000)[seed % 3]))


@pytest.mark.usefixtures("small_archives")
@pytest.mark.parametrize("seed", seeds(SEEDS, FEW))
def test_each_kept_backup_of_a_chain_restores_to_its_moment(tmp_path: Path, seed: int) -> None:
    chain = Chain(tmp_path, compact_ratio=1.0, unusual=False)  # a storm is, now and then
    chain.worth_proving = LEAST if seed % 2 else 0
    moments: dict[str, dict[str, tuple[object, ...]]] = {}
    with blowing(chain.tree, seed) as storm:
        for _ in range(RUNS):
            execution = chain.run(storm)
            assert isinstance(execution, Held)
            moments[chain.finished.manifest.id] = execution.moment
            chain.prune()
    kept = chain.directory.backups("storm")
    assert len(kept) == KEPT
    for backup in kept:
        assert difference(chain.restored(backup), moments[backup]) == []
        manifest = chain.directory.manifest("storm", backup)
        assert manifest.warnings == ()
    chain.verify()
    assert chain.tells_no_secret()
    named = {name for backup in kept for name in chain.directory.archive_names("storm", backup)}
    assert set(chain.directory.archives("storm")) == named


@pytest.mark.usefixtures("small_archives")
@pytest.mark.parametrize("seed", seeds(max(SEEDS // 5, 2), 2))
def test_without_a_cold_pass_a_storm_fails_no_run_and_what_is_there_verifies(tmp_path: Path, seed: int) -> None:
    chain = Chain(tmp_path, compact_ratio=1.0)
    with blowing(chain.tree, 1000 + seed):
        for _ in range(3):
            chain.run(None)
            chain.prune()
    chain.verify()
    assert chain.tells_no_secret()
    chain.run(None)  # the storm is over: this one is exact
    newest = chain.directory.backups("storm")[0]
    assert difference(chain.restored(newest), describe(chain.tree)) == []


class Mapped:
    """Stands in for the storm: writes through a map to a page that was dirty before the hot pass, and no more."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self.view = mmap.mmap(file.fileno(), 0)

    def hold(self) -> None:
        self.view[0] = ord("b")

    def go_on(self) -> None:
        pass

    def close(self) -> None:
        self.view.close()


def _mapped_write_survives(place: Path) -> bool:
    chain = Chain(place)
    path = chain.tree / "mapped"
    path.write_bytes(b"." * 4096)
    chain.run(None)
    mapped = Mapped(path)
    mapped.view[0] = ord("a")  # the page is dirty from here on
    old = time.time_ns() - 3600 * 10**9
    os.utime(path, ns=(old, old))
    time.sleep(2.5)  # older than the margin: only the sync can tell
    chain.run(mapped)  # type: ignore[arg-type] # it has what a storm needs
    mapped.close()
    restored = chain.place / f"restored-{chain.finished.manifest.id}"
    chain.restored(chain.finished.manifest.id)
    return (restored / str(path).lstrip("/")).read_bytes()[:1] == b"b"


@pytest.fixture
def quiet_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    with own_disk(disk):
        yield disk


def test_a_mapped_write_to_a_dirty_page_is_not_lost(quiet_disk: Path) -> None:
    assert _mapped_write_survives(quiet_disk)


def test_the_sync_is_what_saves_the_mapped_write(quiet_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proof that the test above can fail. The kernel's own flush may come to the rescue, but not each time."""
    monkeypatch.setattr(passes, "sync", lambda _trees: None)
    monkeypatch.setattr("hiveden_backup.jobs.run.execution.sync", lambda _trees: None)
    places = [quiet_disk / str(number) for number in range(5)]
    for place in places:
        place.mkdir()
    assert not all(_mapped_write_survives(place) for place in places)


def test_a_change_within_the_clocks_tick_is_taken_again(tmp_path: Path) -> None:
    """Same size, same mtime, other content: the ctime, or within one tick of the clock the margin before T, tells."""
    chain = Chain(tmp_path)
    path = chain.tree / "file"
    path.write_text("one")
    chain.run(None)
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    chain.run(None)
    chain.restored(chain.finished.manifest.id)
    restored = chain.place / f"restored-{chain.finished.manifest.id}"
    assert (restored / str(path).lstrip("/")).read_text() == "two"


def test_what_is_as_young_as_the_index_is_taken_again(tmp_path: Path) -> None:
    """The margin: a record that did not change proves nothing while its times are as young as the older index's T."""
    chain = Chain(tmp_path)
    (chain.tree / "file").write_text("one")
    chain.run(None)
    chain.run(None)
    assert [archive.added for archive in chain.finished.manifest.archives] == [True]
    time.sleep(2.5)
    chain.run(None)
    before = {archive.path for archive in chain.finished.manifest.archives}
    chain.run(None)
    assert {archive.path for archive in chain.finished.manifest.archives} == before  # now it is old enough
