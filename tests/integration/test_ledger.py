"""The ledger on a real disk."""

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from hiveden_backup.core.errors import BackupError, StorageError
from hiveden_backup.host.state.ledger import Debt, Ledger, boot_id
from tests.support.disks import fill, small_disk

DEBT = Debt(
    job="immich",
    id="a" * 64,
    name="immich_server",
    boot_id="f06255d7-625a-4dba-b023-6385dd9897ae",
    started_at="2026-11-23T23:01:52.550609979Z",
    owed_at=datetime(2026, 11, 24, 2, 30, tzinfo=UTC),
    stop_timeout=30.0,
)


def test_a_debt_comes_back_as_it_was_written(tmp_path: Path) -> None:
    Ledger(tmp_path / "state").owe(DEBT)
    assert Ledger(tmp_path / "state").debts() == (DEBT,)
    assert (tmp_path / "state/ledger/immich/immich_server.json").is_file()


def test_moments_are_kept_in_utc(tmp_path: Path) -> None:
    there = datetime(2026, 11, 24, 4, 30, tzinfo=timezone(timedelta(hours=2)))
    Ledger(tmp_path).owe(replace(DEBT, owed_at=there))
    assert Ledger(tmp_path).debts() == (DEBT,)


def test_nothing_is_owed_before_the_first_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state")
    assert ledger.debts() == ()
    assert ledger.debts("immich") == ()
    ledger.cross_off("immich", "immich_server")
    assert not (tmp_path / "state").exists()


def test_settling_twice_is_harmless_and_spares_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    other = replace(DEBT, name="immich.redis_1-x")
    elsewhere = replace(DEBT, job="nextcloud")
    for debt in (DEBT, other, elsewhere):
        ledger.owe(debt)
    ledger.cross_off(DEBT.job, DEBT.name)
    ledger.cross_off(DEBT.job, DEBT.name)
    assert ledger.debts() == (other, elsewhere)
    assert ledger.debts("nextcloud") == (elsewhere,)
    assert ledger.debts("paperless") == ()


def test_a_second_debt_for_a_container_replaces_the_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.owe(DEBT)
    ledger.owe(replace(DEBT, id="b" * 64))
    assert [debt.id for debt in ledger.debts()] == ["b" * 64]


def test_entries_are_private(tmp_path: Path) -> None:
    Ledger(tmp_path / "state").owe(DEBT)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in sorted((tmp_path / "state").rglob("*"))]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b"\xff\xfe",
        b'{"id": 1, "boot_id": "", "started_at": "", "owed_at": ""}',
        b'{"id": "a", "boot_id": "b", "started_at": "c", "owed_at": "yesterday"}',
        b'{"id": "a", "boot_id": "b", "started_at": "c", "owed_at": "0001-01-01T00:00:00+14:00"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_entry_hides_nothing_and_stands_by_its_name(tmp_path: Path, content: bytes) -> None:
    ledger = Ledger(tmp_path)
    ledger.owe(replace(DEBT, name="z"))
    broken = tmp_path / "ledger/immich/immich_db.json"
    broken.write_bytes(content)
    os.utime(broken, (1_000_000_000, 1_000_000_000))
    first, second = ledger.debts()
    assert (first.job, first.name, first.id) == ("immich", "immich_db", "")
    assert first.damage
    assert first.owed_at == datetime.fromtimestamp(1_000_000_000, UTC)
    assert second == replace(DEBT, name="z")
    ledger.cross_off("immich", "immich_db")
    assert ledger.debts() == (second,)


def test_an_entry_that_is_a_directory_is_a_debt_too(tmp_path: Path) -> None:
    (tmp_path / "ledger/immich/web.json").mkdir(parents=True)
    (debt,) = Ledger(tmp_path).debts()
    assert debt.name == "web"
    assert debt.damage


def test_what_is_no_entry_is_left_alone(tmp_path: Path) -> None:
    """A write that was killed leaves a file that begins with a dot: its container was not stopped yet."""
    Ledger(tmp_path).owe(DEBT)
    folder = tmp_path / "ledger/immich"
    for name in (".web.json.123.tmp", "README", "a b.json", "-x.json"):
        (folder / name).write_text("{}")
    (tmp_path / "ledger/no job").mkdir()
    (tmp_path / "ledger/file").write_text("")
    assert Ledger(tmp_path).debts() == (DEBT,)


@pytest.mark.parametrize(("job", "name"), [("immich", "../x"), ("immich", ""), ("../x", "web"), ("immich", ".x")])
def test_names_that_would_lead_elsewhere_are_refused(tmp_path: Path, job: str, name: str) -> None:
    ledger = Ledger(tmp_path / "state")
    with pytest.raises(ValueError, match="no ledger entry"):
        ledger.owe(replace(DEBT, job=job, name=name))
    with pytest.raises(ValueError, match="no ledger entry"):
        ledger.cross_off(job, name)
    assert ledger.debts("../x") == ()


def test_a_debt_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """So that nothing is stopped then; on the full disk what was owed before still stands, and can be settled."""
    with small_disk(tmp_path, "32k"):
        ledger = Ledger(tmp_path)
        ledger.owe(DEBT)
        fill(tmp_path)
        with pytest.raises(StorageError) as caught:
            ledger.owe(replace(DEBT, name="web"))
        assert caught.value.exit_code == 74
        with pytest.raises(StorageError):
            ledger.owe(replace(DEBT, id="b" * 64))
        assert ledger.debts() == (DEBT,)
        ledger.cross_off(DEBT.job, DEBT.name)
        assert ledger.debts() == ()


def test_a_ledger_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("not a directory")
    with pytest.raises(BackupError):
        Ledger(tmp_path).owe(DEBT)
    with pytest.raises(StorageError):
        Ledger(tmp_path).debts()


def test_everything_is_synced_before_owe_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry itself, and every directory that got a new name."""
    synced: list[str] = []
    really = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(f"{tmp_path}/"))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Ledger(tmp_path / "state").owe(DEBT)
    assert synced[-1] == "state/ledger/immich"
    assert synced[-2].startswith("state/ledger/immich/.")  # before it gets its name
    assert {str(tmp_path), "state", "state/ledger"} <= set(synced)
    synced.clear()
    Ledger(tmp_path / "state").cross_off(DEBT.job, DEBT.name)
    assert synced == ["state/ledger/immich"]


def test_boot_id_is_the_kernels() -> None:
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
