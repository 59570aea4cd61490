"""Runs by timers and units of a real, booted systemd, and what ends them."""

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.host.failpoints import VARIABLE
from tests.support.machine import LANDLOCK, Machine
from tests.support.timed import BACKUPS, SOON, STATE, Timed, wait

Jobs = dict[str, dict[str, Any]]
OURS = "SYSLOG_IDENTIFIER=hiveden-backup"
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def timed(machine: Machine) -> Timed:
    return Timed(machine)


def test_timers_run_jobs_and_the_journal_tells(timed: Timed) -> None:
    """One with a container and a database in another, one with files only."""
    timed.app("immich_server")
    timed.docker.postgres(name="immich_postgres")
    timed.machine.write("/srv/more/file", "more")
    source = {"container": "immich_postgres"}
    jobs: Jobs = {
        "immich": {"schedule": SOON, "containers": ["immich_server"], "postgres": [source]},
        "files": {"schedule": [SOON, "30 3 1 * mon"], "paths": ["/srv/more"]},
        "broken": {"paths": ["/srv/none"]},
    }
    timed.configure(jobs).init().apply()
    for job in ("immich", "files"):
        wait(functools.partial(timed.events, "finished", f"HIVEDEN_JOB={job}"), f"{job} ran by its timer")
    assert timed.rows()["immich"]["last_trigger"] is not None
    timed.machine.ok("systemctl", "stop", "hiveden-backup@*.timer")
    assert [timed.ended("immich"), timed.ended("files")] == ["success", "success"]

    finished = timed.events("finished", "HIVEDEN_JOB=immich")[-1]
    record = timed.record("immich")
    assert (record["result"], record["trigger"], record["exit_code"]) == ("success", "timer", 0)
    assert finished["HIVEDEN_BACKUP"] == record["backup"] == timed.ids("immich")[-1]
    assert (finished["HIVEDEN_RESULT"], finished["HIVEDEN_EXIT_CODE"], finished["PRIORITY"]) == ("success", "0", "6")
    assert int(finished["HIVEDEN_BYTES"]) == record["bytes"] > 0
    assert int(finished["HIVEDEN_DURATION_USEC"]) > 0
    stopped, started = timed.events("container-stopped")[0], timed.events("container-started")[0]
    assert stopped["HIVEDEN_CONTAINER"] == started["HIVEDEN_CONTAINER"] == "immich_server"
    assert stopped["HIVEDEN_PHASE"] == "stop"
    assert int(started["HIVEDEN_DURATION_USEC"]) > 0
    assert timed.machine.journal("HIVEDEN_ARTIFACT=postgres", "HIVEDEN_PHASE=dump")
    assert {entry["HIVEDEN_JOB"] for entry in timed.events("started")} == {"immich", "files"}
    assert not timed.machine.journal("-u", "hiveden-backup@*", "-p", "warning")
    listed = {(row["job"], row["type"]) for row in timed.listing()}
    assert listed == {("immich", "application"), ("immich", "database"), ("files", "application")}
    assert timed.docker.is_running("immich_server")

    assert timed.machine.run("systemctl", "start", "hiveden-backup@broken").returncode == 1
    (failure,) = timed.machine.journal("-u", "hiveden-backup@broken", "-p", "err", OURS)
    assert "/srv/none does not exist" in failure["MESSAGE"]
    assert "\n" in failure["MESSAGE"]
    assert (failure["HIVEDEN_RESULT"], failure["HIVEDEN_EXIT_CODE"], failure["PRIORITY"]) == ("failed", "66", "3")
    assert timed.record("broken")["trigger"] == "manual"
    assert timed.machine.journal("-u", "hiveden-backup@*", "_TRANSPORT=stdout") == []  # never both
    status = timed.machine.run("hiveden-backup", "status")
    assert status.returncode == 1
    check_filters_of_the_readme(timed)


def check_filters_of_the_readme(timed: Timed) -> None:
    """Each `journalctl` line of the page finds something."""
    machine = timed.machine
    machine.ok("cp", "/checkout/systemd/hiveden-backup.catalog", "/usr/lib/systemd/catalog/")
    machine.ok("journalctl", "--update-catalog")
    lines = re.findall(r"^journalctl .*$", README, re.MULTILINE)
    assert len(lines) > 4
    for line in lines:
        entries = machine.ok("sh", "-c", f"{line} --no-pager").splitlines()
        assert [entry for entry in entries if not entry.startswith("-- ")], line
    assert "Backup job immich has started" in machine.ok("journalctl", "-x", "HIVEDEN_JOB=immich")


def test_a_killed_run_has_its_container_back(timed: Timed) -> None:
    """SIGKILL of the main process between the stop and the start."""
    timed.app()
    timed.configure({"app": {"containers": ["app"]}}).init().apply()
    timed.fail_at("app", "stop:hold")
    timed.begin()
    process = timed.held()
    assert not timed.docker.is_running("app")
    timed.machine.ok("kill", "-KILL", str(process))
    timed.is_up_again()
    assert timed.ended() == "signal"
    (recovered,) = timed.events("recovered", "HIVEDEN_JOB=app", "_SYSTEMD_UNIT=hiveden-backup@app.service")[-1:]
    assert (recovered["HIVEDEN_CONTAINER"], recovered["HIVEDEN_RESULT"]) == ("app", "started")
    assert timed.machine.run("hiveden-backup", "status").returncode == 1
    assert timed.ids() == []


@pytest.mark.parametrize("how", ["stop", "timeout"])
def test_a_run_that_is_told_to_end_starts_its_container_first(timed: Timed, how: str) -> None:
    """By `systemctl stop`, or by the job's `timeout`. A run that is held wakes up for that."""
    timed.app()
    limit = {"timeout": "8s"} if how == "timeout" else {}
    timed.configure({"app": {"containers": ["app"], **limit}}).init().apply()
    timed.fail_at("app", "stop:hold")
    timed.begin()
    timed.held()
    if how == "stop":
        timed.machine.ok("systemctl", "stop", "hiveden-backup@app")
    assert timed.ended() == ("exit-code" if how == "stop" else "timeout")
    timed.is_up_again()
    assert (timed.record()["result"], timed.record()["exit_code"]) == ("interrupted", 143)
    assert timed.ids() == []


def test_docker_may_be_restarted_in_the_middle(timed: Timed) -> None:
    timed.app()
    timed.configure({"app": {"containers": ["app"]}}).init().apply()
    timed.fail_at("app", "stop:hold")
    timed.begin()
    process = timed.held()
    timed.docker.disconnect()
    timed.machine.ok("systemctl", "restart", "docker")
    timed.docker.connect()
    assert not timed.docker.is_running("app")
    timed.go_on(process)
    timed.ended()
    timed.is_up_again()


def test_a_units_own_mounts_are_no_disks(timed: Timed) -> None:
    """Runs by units and by hand see the same disks, though a unit has mounts of its own on every path of this job."""
    places = ("/home/anna", "/root/notes", "/var/lib/thing", "/usr/local/share/thing", "/opt/thing")
    for place in places:
        timed.machine.write(f"{place}/file", "content")
    timed.machine.ok("mkdir", "-p", "/home/anna/disk")
    timed.configure({"app": {"paths": [*places]}})
    timed.init().apply()

    def run(*, by_unit: bool) -> int:
        command = ("systemctl", "start", "hiveden-backup@app") if by_unit else ("hiveden-backup", "run", "app")
        return timed.machine.run(*command).returncode

    def disks() -> set[str]:
        newest = json.loads(timed.machine.path(f"{BACKUPS}/app/{timed.ids()[-1]}/manifest.json").read_text())
        return {point for root in newest["roots"] for point in (*root["mounts"], root["mount"])}

    for by_unit in (True, False, True):
        assert run(by_unit=by_unit) == 0
        assert disks() == {"/"}
    timed.machine.ok("mount", "-t", "tmpfs", "none", "/home/anna/disk")
    timed.machine.write("/home/anna/disk/photo", "precious")
    for by_unit in (True, False):
        assert run(by_unit=by_unit) == 0
        assert disks() == {"/", "/home/anna/disk"}
    timed.machine.ok("umount", "/home/anna/disk")
    assert run(by_unit=True) == 1
    assert timed.record()["exit_code"] == 66
    assert run(by_unit=False) == 66
    timed.machine.ok("hiveden-backup", "accept", "app")
    assert run(by_unit=True) == 0
    assert disks() == {"/"}


def test_a_backup_directory_that_goes_away_is_not_written_below(timed: Timed) -> None:
    """Its disk is unmounted between the stop and the cold pass: the run fails, and its container is started."""
    machine = timed.machine
    timed.app()
    machine.ok("mount", "-t", "tmpfs", "tmpfs", BACKUPS)
    timed.configure({"app": {"containers": ["app"]}}).init().apply()
    timed.fail_at("app", "stop:hold")
    timed.begin()
    process = timed.held()
    machine.ok("umount", "--lazy", BACKUPS)
    timed.go_on(process)
    assert timed.ended() == "exit-code"
    timed.is_up_again()
    assert timed.record()["result"] == "failed"
    assert list(machine.path(BACKUPS).iterdir()) == []
    timed.fail_at("app", "")
    machine.run("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["exit_code"] == 73
    assert list(machine.path(BACKUPS).iterdir()) == []


def test_a_killed_run_whose_disk_is_gone_has_its_container_back(timed: Timed) -> None:
    """Not even the directory is there any more, so the unit cannot make it writable for what comes after the run."""
    machine = timed.machine
    timed.app()
    machine.ok("mount", "-t", "tmpfs", "tmpfs", BACKUPS)
    timed.configure({"app": {"containers": ["app"]}}).init().apply()
    timed.fail_at("app", "stop:hold")
    timed.begin()
    process = timed.held()
    machine.ok("umount", "--lazy", BACKUPS)
    machine.ok("rmdir", BACKUPS)
    machine.ok("kill", "-KILL", str(process))
    assert timed.ended() == "signal"
    timed.is_up_again()


def test_a_container_that_somebody_stopped_stays_stopped(timed: Timed) -> None:
    for name in ("app", "other"):
        timed.app(name)
    timed.docker.api.stop("other", timeout=0)
    timed.configure({"app": {"containers": ["app", "other"]}}).init().apply()
    timed.machine.ok("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["result"] == "success"
    assert [timed.docker.is_running(name) for name in ("app", "other")] == [True, False]


def test_after_a_power_cut_containers_start_and_missed_runs_are_caught_up(timed: Timed) -> None:
    """In the stop window the whole machine goes, Docker too. A job with catch_up makes up for what it missed."""
    timed.app()
    timed.app("other")
    timed.docker.api.stop("other", timeout=0)
    jobs: Jobs = {
        "app": {"containers": ["app", "other"]},
        "late": {"schedule": "*-*-* 02:30"},
        "never": {"schedule": "*-*-* 02:30", "catch_up": False},
    }
    timed.configure(jobs).init().apply()
    machine = timed.machine
    stamps = "/var/lib/systemd/timers/stamp-hiveden-backup@"
    assert machine.path(f"{stamps}late.timer").exists()
    machine.ok("touch", "-d", "3 days ago", f"{stamps}late.timer", f"{stamps}never.timer")
    timed.fail_at("app", "stop:hold")
    timed.begin()
    timed.held()
    machine.ok("sync")
    machine.power_cut()

    machine.boot()
    timed.is_up_again()
    assert not timed.docker.is_running("other")
    recovered = timed.events("recovered", "_SYSTEMD_UNIT=hiveden-backup-recover.service", "-b")
    assert [entry["HIVEDEN_CONTAINER"] for entry in recovered] == ["app"]
    wait(lambda: timed.ids("late"), "the missed run is made up for")
    assert timed.record("late")["trigger"] == "timer"
    assert timed.runs("never") == 0
    machine.ok("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["result"] == "success"


def test_a_server_of_this_machine_is_dumped_as_its_account(timed: Timed) -> None:
    """Peer authentication, for which the unit may become that account."""
    machine = timed.machine
    programs = machine.ok("sh", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n 1").strip()
    server = f"""
        mkdir -p /srv/pg /run/pg && chown postgres: /srv/pg /run/pg && cd /
        as() {{ runuser -u postgres -- "$@"; }}
        as {programs}/initdb -D /srv/pg/data --no-sync --auth=peer >/dev/null
        as {programs}/pg_ctl -D /srv/pg/data -l /srv/pg/log -w start \\
            -o "-c listen_addresses= -c unix_socket_directories=/run/pg" >/dev/null
        as psql -h /run/pg -d postgres -c "CREATE TABLE t AS SELECT generate_series(1, 7) AS n"
        as psql -h /run/pg -d postgres -c "CREATE DATABASE own"
        as psql -h /run/pg -d own -c "CREATE TABLE own AS SELECT generate_series(1, 3) AS n"
    """
    machine.ok("sh", "-euc", server)
    try:
        source = {"dsn": "host=/run/pg user=postgres", "os_user": "postgres"}
        timed.configure({"shop": {"postgres": [source]}}).init().apply()
        done = machine.run("systemctl", "start", "hiveden-backup@shop")
        assert timed.record("shop")["result"] == "success", timed.record("shop")["error"]
        assert done.returncode == 0
        (manifest,) = machine.path(f"{BACKUPS}/shop").glob("*/manifest.json")
        assert '"rows": 7' in manifest.read_text()
        # and what a restore left is brought to its end as that account
        sql = ("runuser", "-u", "postgres", "--", "psql", "-h", "/run/pg", "-XAtc")
        machine.ok(*sql, "DELETE FROM own", "-d", "own")
        restore = ("hiveden-backup", "restore", "shop/latest", "--database", "own", "--yes")
        killed = machine.run("env", f"{VARIABLE}=swap-database:kill", *restore)
        assert killed.returncode != 0
        machine.ok("systemctl", "start", "hiveden-backup-settle.service")
        assert machine.show("hiveden-backup-settle.service", "Result")["Result"] == "success"
        assert machine.ok(*sql, "SELECT count(*) FROM own", "-d", "own").strip() == "3"
        databases = machine.ok(*sql, "SELECT datname FROM pg_database ORDER BY 1", "-d", "postgres").split()
        assert len(databases) == 5, databases  # with the templates, and the one that was there
    finally:
        machine.run(
            "runuser", "-u", "postgres", "--", f"{programs}/pg_ctl", "-D", "/srv/pg/data", "-m", "immediate", "stop"
        )


def test_a_job_that_its_timer_never_started_is_overdue(timed: Timed) -> None:
    machine = timed.machine
    timed.configure({"app": {"schedule": "daily", "catch_up": False}}).init().apply()
    assert machine.ok("hiveden-backup", "status", "--json").count('"state": "never"') == 1
    machine.ok("touch", "-d", "3 days ago", "/etc/systemd/system/hiveden-backup@app.timer")
    done = machine.run("hiveden-backup", "status", "--json")
    assert (done.returncode, done.stdout.count('"state": "overdue"')) == (1, 1)


def test_units_are_sound_and_closed(timed: Timed) -> None:
    source = {"dsn": "host=/run/pg user=postgres", "os_user": "postgres"}
    both = [{"container": "db"}, source]
    timed.configure({"plain": {"schedule": "daily"}, "all": {"postgres": both}}).init().apply()
    units = ["hiveden-backup@plain.service", "hiveden-backup@plain.timer", "hiveden-backup@all.service"]
    checked = timed.machine.run("systemd-analyze", "verify", "--man=no", *units, "hiveden-backup-recover.service")
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    for unit, most in ((units[0], 2.5), (units[2], 3.0), ("hiveden-backup-recover.service", 2.5)):
        last = timed.machine.ok("systemd-analyze", "security", unit).strip().splitlines()[-1]
        assert float(last.split(": ")[1].split()[0]) <= most, last


def test_a_unit_sees_what_a_person_sees(timed: Timed) -> None:
    """Nothing of the machine's files is hidden from it: a hidden directory would be an empty one in each backup."""
    places = ("/usr/lib/modules", "/home/anna", "/root", "/tmp", "/var/tmp", "/boot")
    for place in places:
        timed.machine.write(f"{place}/of-a-test/file", place)
    timed.configure({"app": {"paths": [f"{place}/of-a-test" for place in places]}}).init().apply()
    timed.machine.ok("systemctl", "start", "hiveden-backup@app")
    timed.machine.ok("hiveden-backup", "restore", f"app/{timed.ids()[0]}", "--to", "/srv/restored")
    for place in places:
        assert timed.machine.path(f"/srv/restored{place}/of-a-test/file").read_text() == place
    timed.machine.ok("hiveden-backup", "run", "app")


def test_what_the_program_cannot_even_begin_is_an_error_in_the_journal(timed: Timed) -> None:
    timed.configure({"app": {}}).init().apply()
    timed.machine.write("/etc/hiveden-backup/config.toml", "nonsense")
    timed.machine.run("systemctl", "start", "hiveden-backup@app")
    (failure,) = timed.machine.journal("-u", "hiveden-backup@app", "-p", "err", OURS, "-n", "1")
    assert "not valid TOML" in failure["MESSAGE"]
    assert failure["HIVEDEN_EXIT_CODE"] == "78"


def test_large_messages_and_newlines_survive(timed: Timed) -> None:
    program = (
        "import sys\nfrom hiveden_backup.host.systemd import journal\n"
        "text = 'first\\nsecond\\n' + 'x' * 1_000_000 + '\\nlast'\n"
        "sys.exit(not journal.send({'MESSAGE': text, 'SYSLOG_IDENTIFIER': 'large'}))\n"
    )
    timed.machine.write("/srv/large.py", program)
    python = timed.machine.ok("sed", "-n", "s/^exec \\([^ ]*\\) .*/\\1/p", "/usr/local/bin/hiveden-backup").strip()
    timed.machine.ok("env", "PYTHONPATH=/checkout", python, "/srv/large.py")
    (entry,) = timed.machine.journal("--all", "SYSLOG_IDENTIFIER=large")
    assert entry["MESSAGE"] == "first\nsecond\n" + "x" * 1_000_000 + "\nlast"


def test_a_machine_without_systemd_and_a_person_who_is_not_root_are_told(timed: Timed) -> None:
    timed.configure({"app": {"schedule": "daily"}}).init()

    def refused(*argv: str) -> "subprocess.CompletedProcess[str]":
        return timed.machine.run(
            "unshare", "--mount", "sh", "-euc", 'mount -t tmpfs t /run/systemd; exec "$@"', "sh", *argv
        )

    for words in (["show"], ["apply"], ["apply", "--dry-run"], ["set", "app", "daily"], ["unset", "app"], ["remove"]):
        done = refused("hiveden-backup", "schedule", *words)
        assert done.returncode == 69, words
        assert "systemd does not run on this machine" in done.stderr
    nobody = ["setpriv", "--reuid=nobody", "--clear-groups", "env", f"STATE_DIRECTORY={STATE}", "hiveden-backup"]
    for words in (["apply"], ["set", "app", "daily"], ["remove"]):
        done = timed.machine.run(*nobody, "schedule", *words)
        assert done.returncode == 77, (words, done.stderr)


def test_the_unit_lets_tar_be_confined_and_a_filter_that_does_not_is_one_warning(timed: Timed) -> None:
    machine = timed.machine
    timed.configure({"app": {}}).init().apply()
    machine.ok("systemctl", "start", "hiveden-backup@app")
    assert timed.record()["warnings"] == []
    filtered = "/run/systemd/system/hiveden-backup@app.service.d/90-test.conf"
    machine.write("/srv/data/file", "more")
    machine.write(filtered, f"[Service]\nSystemCallFilter=~{LANDLOCK}\n")
    machine.ok("systemctl", "daemon-reload")
    try:
        machine.ok("systemctl", "start", "hiveden-backup@app")
    finally:
        machine.ok("rm", filtered)
        machine.ok("systemctl", "daemon-reload")
    (warning,) = timed.record()["warnings"]
    assert "Landlock: Operation not permitted" in warning
