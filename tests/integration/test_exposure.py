"""How much of the machine each unit could get at, as systemd reckons it; with all that a job may add."""

import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Job, Offsite, PostgresSource
from hiveden_backup.core.schedule import offsite_units
from hiveden_backup.core.schedule.units import OFFSITE, RECOVER, SETTLE, TEMPLATE, UnitPlace, common_files, drop_in_text
from hiveden_backup.host.systemd.transient_units import confined
from tests.support.machine import CHECKOUT

PLACE = UnitPlace(("/srv/backups",))
CONTAINER = PostgresSource(container="db")
ACCOUNT = PostgresSource(dsn="host=/var/run/postgresql", os_user="postgres")


def job(*sources: PostgresSource) -> Job:
    return Job("app", paths=("/srv/app",), postgres=sources)


def exposure(unit: str, added: str, folder: Path) -> float:
    """What systemd-analyze says of a shipped unit with a drop-in behind it."""
    file = folder / unit.replace("@", "@app")
    file.write_text((CHECKOUT / "systemd" / unit).read_text() + added)
    return analysed(file)


def analysed(file: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return float(said.strip().splitlines()[-1].rpartition(": ")[2].split()[0])


@pytest.mark.parametrize(
    ("unit", "sources", "most"),
    [
        ("hiveden-backup-api.service", (), 1.5),
        (RECOVER, (), 2.2),
        (SETTLE, (), 3.0),
        (SETTLE, (CONTAINER,), 3.2),
        (SETTLE, (CONTAINER, ACCOUNT), 3.6),
        (TEMPLATE, (), 2.5),
        (TEMPLATE, (CONTAINER,), 2.6),
        (TEMPLATE, (CONTAINER, ACCOUNT), 3.0),
    ],
)
def test_exposure(tmp_path: Path, unit: str, sources: tuple[PostgresSource, ...], most: float) -> None:
    added = drop_in_text(job(*sources), PLACE) if unit == TEMPLATE else ""
    added += common_files(PLACE, [job(*sources)]).get(f"{unit}.d/50-hiveden-backup.conf", "")
    found = exposure(unit, added, tmp_path)
    assert found <= most


def test_what_sends_backups_has_no_privilege_but_the_network(tmp_path: Path) -> None:
    offsite = Offsite("b2", "b2:bucket", "/etc/hiveden-backup/rclone.conf", keep_local="newest")
    assert exposure(OFFSITE, offsite_units.drop_in_text((offsite,), PLACE), tmp_path) <= 1.8


def test_a_restore_for_a_client_writes_to_its_target_alone(tmp_path: Path) -> None:
    file = tmp_path / "restore.service"
    settings = [*confined(["/srv/restored"]), "UMask=0077", "ExecStart=/bin/true"]
    file.write_text("[Service]\n" + "".join(f"{each}\n" for each in settings))
    assert analysed(file) <= 2.9


def test_what_no_database_needs_is_not_there() -> None:
    assert common_files(PLACE, [job()]) == {}
    assert "CAP_SYS_PTRACE" in common_files(PLACE, [job(), job(CONTAINER)])[f"{SETTLE}.d/50-hiveden-backup.conf"]
    both = common_files(UnitPlace((), "/etc/other.toml"), [job(ACCOUNT)])
    assert "@setuid" in both[f"{SETTLE}.d/50-hiveden-backup.conf"]
    assert "@setuid" not in both[f"{RECOVER}.d/50-hiveden-backup.conf"]
