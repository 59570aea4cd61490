"""In-place restores beside the units: what was broken off is put right by the one unit that may write everywhere."""

import pytest

from tests.support.machine import Machine
from tests.support.timed import CONTENT, Timed, wait

KILLED = "swap@2:kill"
"""Behind the commit, with the container down and a name changed."""


@pytest.fixture
def timed(machine: Machine) -> Timed:
    made = Timed(machine)
    made.app()
    return made.configure({"app": {"containers": ["app"]}}).init()


def restore(timed: Timed, failpoint: str = "") -> int:
    """Restore the newest backup in place, as a person would."""
    environment = {"HIVEDEN_BACKUP_FAILPOINT": failpoint}
    argv = ("hiveden-backup", "restore", "app/latest", "--in-place", "--yes")
    return timed.machine.run(*argv, environment=environment).returncode


def kept(timed: Timed) -> list[str]:
    return [path.name for path in timed.machine.path("/srv").glob(".hiveden-backup-undo-*")]


def broken_off(timed: Timed) -> None:
    """A restore that was killed in the middle."""
    timed.machine.ok("systemctl", "start", "hiveden-backup@app")
    timed.machine.write("/srv/data/file", "spoilt")
    assert restore(timed, KILLED) in (-9, 137)
    assert not timed.docker.is_running("app")


def test_the_next_run_finds_it_finished(timed: Timed) -> None:
    """Although that run itself may write to the backup directory only; and so it goes with what was kept for undo."""
    timed.apply()
    broken_off(timed)
    timed.machine.ok("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["result"] == "success"
    assert timed.machine.path("/srv/data/file").read_text() == CONTENT
    recovered = timed.events("recovered", "HIVEDEN_JOB=app", "_SYSTEMD_UNIT=hiveden-backup-recover.service")
    assert recovered[0]["MESSAGE"].startswith("app: The in-place restore of ")
    assert recovered[0]["MESSAGE"].endswith(" that was broken off was finished")
    timed.is_up_again()
    assert len(kept(timed)) == 1

    warnings = ("-u", "hiveden-backup*", "-p", "warning")
    before = timed.machine.journal(*warnings)
    timed.configure({"app": {"containers": ["app"], "undo_keep": "1us"}})
    timed.machine.ok("systemctl", "start", "hiveden-backup@app")
    assert kept(timed) == []
    assert timed.machine.journal(*warnings) == before


def test_a_boot_finishes_it(timed: Timed) -> None:
    timed.apply()
    broken_off(timed)
    timed.machine.ok("sync")
    timed.machine.power_cut()
    timed.machine.boot()
    wait(lambda: timed.machine.path("/srv/data/file").read_text() == CONTENT, "the restore is finished")
    timed.is_up_again()
