"""Copies elsewhere by units of a booted systemd: a run is followed by a push, and what failed is tried again."""

import functools
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from hiveden_backup.host.state.due import FOLDER
from tests.support.machine import Machine
from tests.support.timed import CONFIG, Timed, wait

UNIT = "hiveden-backup-offsite@app"
THERE = "/srv/elsewhere"
SECRET = "s3cretOfTheOffsite"
MIB = 1 << 20
SOON = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/1\nRandomizedDelaySec=0\nAccuracySec=100ms\n"


@pytest.fixture
def timed(machine: Machine) -> Timed:
    """With an offsite that is a directory, and one behind a network that answers nobody."""
    timed = Timed(machine)
    machine.path(THERE).mkdir()
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    key = next(line.split()[-1] for line in made.splitlines() if "public key" in line)
    config = "/etc/hiveden-backup/rclone.conf"
    hidden = subprocess.run(["rclone", "obscure", SECRET], capture_output=True, text=True, check=True).stdout
    machine.write(config, f"[dav]\ntype = webdav\nurl = http://127.0.0.1:9\nuser = {SECRET}\npass = {hidden}\n")
    machine.path(config).chmod(0o600)
    away = {"remote": "dav:backups", "rclone_config": config, "recipients": [key]}
    offsite = {"disk": {"remote": THERE, "recipients": [key]}, "dav": away}
    timed.configure({"app": {"offsite": ["disk"]}, "far": {"offsite": ["dav"]}}, offsite=offsite).init().apply()
    return timed


def complete(timed: Timed) -> set[str]:
    """The backups of the job that are complete there."""
    return {path.parent.name for path in timed.machine.path(THERE).glob("*/app/*/SHA256SUMS")}


def due(timed: Timed, job: str = "app") -> float | None:
    """In how many seconds the next push is due; None for at once."""
    path = timed.state / FOLDER / job
    return path.stat().st_mtime - time.time() if path.exists() else None


def arrived(timed: Timed) -> bool:
    return bool(timed.ids()) and complete(timed) == set(timed.ids())


def test_a_run_is_followed_by_a_push_and_a_failed_one_is_tried_again(timed: Timed) -> None:
    machine = timed.machine
    machine.ok("systemctl", "start", "hiveden-backup@app")
    wait(functools.partial(arrived, timed), "the backup is elsewhere")
    assert timed.ended_in(UNIT) == "success"
    assert 23 * 3600 < (due(timed) or 0) < 25 * 3600
    assert not list(machine.path(THERE).rglob("*.tar.zst"))  # in slices, encrypted

    machine.ok("systemctl", "start", UNIT)  # it is not due
    assert machine.show(UNIT, "ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"] == "0"

    machine.ok("hiveden-backup", "run", "app")  # by hand
    wait(functools.partial(arrived, timed), "the second backup is elsewhere")
    timed.ended_in(UNIT)

    machine.path(THERE).rename(machine.path("/srv/unplugged"))
    machine.ok("systemctl", "start", "hiveden-backup@app")
    wait(lambda: timed.ended_in(UNIT) == "exit-code", "the push failed")
    wait(lambda: (due(timed) or 0) > 0, "it is to be tried again")
    assert 13 * 60 < (due(timed) or 0) < 16 * 60
    (row,) = (
        row for row in json.loads(machine.run("hiveden-backup", "status", "--json").stdout) if row["job"] == "app"
    )
    assert (row["state"], row["offsite"][0]["state"]) == ("attention", "failed")
    machine.path("/srv/unplugged").rename(machine.path(THERE))

    machine.write(f"/run/systemd/system/{UNIT}.timer.d/90-test.conf", SOON)
    machine.ok("systemctl", "daemon-reload")
    machine.ok("systemctl", "restart", f"{UNIT}.timer")
    time.sleep(1.5)
    assert not arrived(timed)  # a quarter of an hour is not over
    os.utime(timed.state / FOLDER / "app", (time.time() - 1, time.time() - 1))
    wait(functools.partial(arrived, timed), "the timer has sent it")


def test_a_backup_of_a_run_with_a_flaw_is_sent_by_the_timer(timed: Timed) -> None:
    """For systemd, that run failed, though there is a backup."""
    machine = timed.machine
    machine.write(f"/run/systemd/system/{UNIT}.timer.d/90-test.conf", SOON)
    timed.fail_at("app", "prune:error")
    (timed.state / FOLDER).mkdir(parents=True)
    os.close(os.open(timed.state / FOLDER / "app", os.O_CREAT | os.O_WRONLY))
    os.utime(timed.state / FOLDER / "app", (time.time() + 3600, time.time() + 3600))
    machine.ok("systemctl", "restart", f"{UNIT}.timer")
    assert machine.run("systemctl", "start", "hiveden-backup@app").returncode
    wait(functools.partial(arrived, timed), "the backup is elsewhere")


def test_the_unit_writes_to_the_backup_directory_where_archives_leave_it(timed: Timed) -> None:
    machine = timed.machine
    text = machine.path(CONFIG).read_text()
    machine.write(CONFIG, text.replace(f'remote = "{THERE}"', f'remote = "{THERE}"\nkeep_local = "newest"'))
    timed.apply()
    machine.ok("systemctl", "start", "hiveden-backup@app")
    archives = machine.path(f"{timed.directory}/app/archives")
    wait(lambda: list(archives.glob("*.tar.zst.offsite")), "the archive is there alone")
    assert not list(archives.glob("*.tar.zst"))
    assert timed.ended_in(UNIT) == "success"


def test_archives_leave_while_a_first_run_goes_on(timed: Timed) -> None:
    """72 MiB, on a disk of 40: the run asks its unit for room, and waits for that."""
    machine = timed.machine
    for number in range(72):
        machine.path(f"/srv/data/file-{number:03}").write_bytes(os.urandom(MIB))
    machine.ok("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", timed.directory)
    try:
        text = machine.path(CONFIG).read_text()
        machine.write(CONFIG, text.replace(f'remote = "{THERE}"', f'remote = "{THERE}"\nkeep_local = "newest"'))
        timed.init().apply()
        timed.fail_at("app", "", f"Environment=HIVEDEN_BACKUP_ARCHIVE_BYTES={4 * MIB}")
        machine.ok("systemctl", "start", "hiveden-backup@app")
        archives = machine.path(f"{timed.directory}/app/archives")
        assert len(list(archives.glob("*.offsite"))) >= 9
        wait(functools.partial(arrived, timed), "the backup is elsewhere")
        wait(lambda: not list(archives.glob("*.tar.zst")), "all archives are there alone")
    finally:
        machine.ok("umount", timed.directory)


def test_no_secret_of_an_offsite_is_in_the_journal(timed: Timed) -> None:
    machine = timed.machine
    machine.ok("systemctl", "start", "hiveden-backup@far")
    wait(lambda: (due(timed, "far") or 0) > 0, "the push failed")
    assert timed.ended_in("hiveden-backup-offsite@far") == "exit-code"
    failures = machine.journal("-u", "hiveden-backup-offsite@far", "SYSLOG_IDENTIFIER=hiveden-backup")
    assert any("refused" in str(entry["MESSAGE"]) for entry in failures)  # so it has seen rclone's configuration
    everything = [*timed.state.rglob("*"), *machine.path("/etc/systemd/system").rglob("*hiveden*")]
    texts = [path.read_bytes() for path in everything if path.is_file() and not path.is_symlink()]
    hidden = machine.path("/etc/hiveden-backup/rclone.conf").read_text().split("pass = ")[1].strip()
    for secret in (SECRET, hidden):
        assert secret not in json.dumps(machine.journal())
        assert not any(secret.encode() in text for text in texts)


def test_units_are_sound_and_go_with_the_others(timed: Timed) -> None:
    machine = timed.machine
    names = [f"{UNIT}.service", f"{UNIT}.timer", "hiveden-backup-offsite@far.service"]
    checked = machine.run("systemd-analyze", "verify", "--man=no", *names)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    for unit in (names[0], names[2]):
        last = machine.ok("systemd-analyze", "security", unit).strip().splitlines()[-1]
        assert float(last.split(": ")[1].split()[0]) <= 1.8, last
    assert machine.show(names[1], "ActiveState", "UnitFileState") == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }
    machine.ok("hiveden-backup", "schedule", "remove")
    assert not [path for path in machine.path("/etc/systemd/system").rglob("*hiveden*") if isinstance(path, Path)]
