"""In-place restores and the units of jobs, which see the machine read-only: another unit does for them what writes."""

from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.host.failpoints import VARIABLE
from tests.support.machine import Machine
from tests.support.timed import CONTENT, Timed, wait

SETTLE = "hiveden-backup-settle.service"


@pytest.fixture
def timed(machine: Machine) -> Timed:
    return Timed(machine)


def holders(timed: Timed) -> list[Path]:
    return list(timed.machine.path("/srv").glob(".hiveden-backup-undo-*"))


def test_before_a_run_restores_are_finished_and_their_time_is_kept(timed: Timed) -> None:
    machine = timed.machine
    timed.configure({"app": {}}).init().apply()
    machine.ok("systemctl", "start", "hiveden-backup@app")
    assert machine.show(SETTLE, "ConditionResult")["ConditionResult"] == "no"
    machine.write("/srv/data/file", "now")
    restore = ("hiveden-backup", "restore", "app/latest", "--in-place", "--yes")
    killed = machine.run("env", f"{VARIABLE}=swap@1:kill", *restore)
    assert killed.returncode != 0
    assert machine.path("/srv/data/file").read_text() == "now"
    machine.ok("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["result"] == "success"
    assert machine.path("/srv/data/file").read_text() == CONTENT
    assert len(timed.events("recovered", f"_SYSTEMD_UNIT={SETTLE}")) == 1
    assert len(holders(timed)) == 1
    machine.ok("hiveden-backup", "undo", "app", "--yes")
    assert machine.path("/srv/data/file").read_text() == "now"
    timed.configure({"app": {"undo_keep": "1us"}})
    machine.ok("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["warnings"] == []
    assert holders(timed) == []


def test_a_run_does_not_touch_what_it_cannot_finish(timed: Timed) -> None:
    """Without that unit: the run fails, and says how to finish the restore."""
    machine = timed.machine
    timed.configure({"app": {}}).init().apply()
    machine.ok("systemctl", "start", "hiveden-backup@app")
    machine.write("/srv/data/file", "now")
    restore = ("hiveden-backup", "restore", "app/latest", "--in-place", "--yes")
    machine.run("env", f"{VARIABLE}=swap@1:kill", *restore)
    prevention = f"/run/systemd/system/{SETTLE}.d/90-test.conf"
    machine.write(prevention, "[Unit]\nConditionPathExists=/nowhere\n")
    machine.ok("systemctl", "daemon-reload")
    try:
        assert machine.run("systemctl", "start", "hiveden-backup@app").returncode != 0
    finally:
        machine.path(prevention).unlink()
        machine.ok("systemctl", "daemon-reload")
    assert "hiveden-backup recover --job app" in timed.record()["error"]
    assert machine.path("/srv/data/file").read_text() == "now"
    machine.ok("hiveden-backup", "recover")
    assert machine.path("/srv/data/file").read_text() == CONTENT


def test_a_boot_finishes_a_restore_and_starts_its_container(timed: Timed) -> None:
    machine = timed.machine
    timed.app()
    timed.configure({"app": {"containers": ["app"]}}).init().apply()
    machine.ok("systemctl", "start", "hiveden-backup@app")
    machine.write("/srv/data/file", "now")
    machine.run("env", f"{VARIABLE}=swap@2:kill", "hiveden-backup", "restore", "app/latest", "--in-place", "--yes")
    assert not timed.docker.is_running("app")
    machine.ok("sync")
    machine.power_cut()
    machine.boot()
    timed.is_up_again()
    assert machine.path("/srv/data/file").read_text() == CONTENT


def test_a_server_that_is_not_up_yet_is_waited_for(timed: Timed) -> None:
    """After a power cut a database takes its time; nothing else would start the container before the next run."""
    machine = timed.machine
    timed.app()
    database = timed.docker.postgres(name="db")
    source = {"container": "db"}
    timed.docker.run(name="other")
    jobs: dict[str, dict[str, Any]] = {
        "app": {"containers": ["app"], "postgres": [source]},
        "other": {"containers": ["other"]},
    }
    timed.configure(jobs).init().apply()
    machine.ok("systemctl", "start", "hiveden-backup@app")
    machine.write("/srv/data/file", "now")
    machine.run("env", f"{VARIABLE}=swap@2:kill", "hiveden-backup", "restore", "app/latest", "--in-place", "--yes")
    machine.run("env", f"{VARIABLE}=cold:kill", "hiveden-backup", "run", "other")
    assert not timed.docker.is_running("other")
    timed.docker.api.stop(database)
    machine.ok("systemctl", "start", "--no-block", SETTLE)
    wait(lambda: timed.docker.is_running("other"), "others are not kept waiting")
    timed.docker.api.start(database)
    assert timed.ended_in(SETTLE) == "success"
    assert machine.path("/srv/data/file").read_text() == CONTENT
    assert timed.docker.is_running("app")


def test_a_restore_and_its_undo_are_events_in_the_journal(timed: Timed) -> None:
    timed.configure({"app": {}}).init().apply()
    timed.machine.ok("systemctl", "start", "hiveden-backup@app")
    for command in (("restore", "app/latest", "--in-place", "--yes"), ("undo", "app", "--yes")):
        timed.machine.ok("systemd-run", "--wait", "hiveden-backup", *command)
    for kind in ("restored", "undone"):
        (entry,) = timed.events(kind)
        assert (entry["HIVEDEN_JOB"], entry["HIVEDEN_BACKUP"], entry["PRIORITY"]) == ("app", *timed.ids(), "6")


def test_the_unit_is_sound(timed: Timed) -> None:
    timed.configure({"app": {}}).init().apply()
    checked = timed.machine.run("systemd-analyze", "verify", "--man=no", SETTLE)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
