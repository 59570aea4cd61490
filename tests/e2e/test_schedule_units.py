"""`schedule` on a real, booted systemd: what it installs, what it finds changed, and what is left when it fails."""

import contextlib
import os
import re
from pathlib import Path

import pytest

from hiveden_backup.core.schedule.expression import to_calendars
from hiveden_backup.host.failpoints import VARIABLE
from tests.support.machine import Machine
from tests.support.timed import CONFIG, STATE, Timed, wait

UNITS = "/etc/systemd/system"
RECOVER = "hiveden-backup-recover.service"
SHARED = ["hiveden-backup-offsite@.service", RECOVER, "hiveden-backup-settle.service", "hiveden-backup@.service"]
FAILPOINTS = ["units-place", "units-reload", "units-start"]
NIGHT = "*-*-* 02:30"
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def timed(machine: Machine) -> Timed:
    return Timed(machine)


def files_of(job: str, *, timer: bool = True) -> list[str]:
    return [
        f"hiveden-backup@{job}.service.d/50-hiveden-backup.conf",
        *([f"hiveden-backup@{job}.timer"] if timer else []),
    ]


def texts(timed: Timed) -> dict[str, str]:
    """All that is ours among the units, hidden files too."""
    top = timed.machine.path(UNITS)
    found = [path for path in top.rglob("*hiveden-backup*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(top).as_posix(): path.read_text() for path in found}


def active(timed: Timed) -> list[str]:
    lines = timed.machine.ok("systemctl", "list-units", "--plain", "--no-legend", "hiveden-backup@*.timer").splitlines()
    return sorted(line.split()[0] for line in lines)


def drifts(timed: Timed) -> dict[str, str | None]:
    return {job: row["drift"] for job, row in timed.rows().items()}


def test_apply_installs_what_show_tells_and_twice_changes_nothing(timed: Timed) -> None:
    timed.configure({"a": {"schedule": ["30 2 1 * mon", NIGHT], "jitter": "5m"}, "b": {}})
    assert drifts(timed) == {"a": "missing", "b": "missing"}
    preview = timed.machine.ok("hiveden-backup", "schedule", "apply", "--dry-run")
    assert "+OnCalendar=Mon *-*-* 02:30:00\n" in preview
    assert texts(timed) == {}
    assert timed.apply() == {
        "added": sorted([*SHARED, *files_of("a"), *files_of("b", timer=False)]),
        "changed": [],
        "removed": [],
    }
    before = {path: timed.machine.path(f"{UNITS}/{path}").stat().st_mtime_ns for path in texts(timed)}
    assert timed.apply() == {"added": [], "changed": [], "removed": []}
    assert {path: timed.machine.path(f"{UNITS}/{path}").stat().st_mtime_ns for path in texts(timed)} == before
    row = timed.rows()["a"]
    assert row["schedule"] == ["30 2 1 * mon", NIGHT]
    assert row["calendars"] == [*to_calendars("30 2 1 * mon"), NIGHT]
    assert (len(row["next"]), row["drift"], row["last_trigger"]) == (3, None, None)
    assert row["timezone"].endswith("UTC")
    assert timed.machine.show("hiveden-backup@a.timer", "ActiveState", "UnitFileState", "RandomizedDelayUSec") == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "RandomizedDelayUSec": "5min",
    }
    assert timed.machine.ok("systemctl", "is-enabled", RECOVER).strip() == "enabled"


def test_what_the_readme_says_to_do(timed: Timed) -> None:
    timed.configure({"immich": {}}).init()
    chapter = README.partition("\n## Schedules\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for block in blocks:
        timed.machine.ok("bash", "-euc", block)
    assert len(timed.ids("immich")) == 1
    assert texts(timed) == {}


def test_changes_of_the_configuration_and_by_hand_are_found_and_put_right(timed: Timed) -> None:
    timed.configure({name: {"schedule": NIGHT} for name in ("keep", "edit", "lose", "stop", "move", "drop", "late")})
    timed.apply()
    jobs = {name: {"schedule": NIGHT} for name in ("keep", "edit", "lose", "stop", "moved")}
    timed.configure({**jobs, "late": {"schedule": "*-*-* 04:00"}})
    timer = timed.machine.path(f"{UNITS}/hiveden-backup@edit.timer")
    timer.write_text(timer.read_text().replace("02:30", "05:00"))
    timed.machine.path(f"{UNITS}/hiveden-backup@lose.timer").unlink()
    timed.machine.ok("systemctl", "stop", "hiveden-backup@stop.timer")
    found = {"keep": None, "edit": "edited", "lose": "missing", "stop": "stopped", "moved": "missing", "late": "stale"}
    assert drifts(timed) == {**found, "move": "stale", "drop": "stale"}
    told = [line for line in timed.machine.run("hiveden-backup", "check").stdout.splitlines() if ": timer: " in line]
    assert {line.split()[1].strip(":"): line.split()[0] for line in told} == {
        job: "WARN" if drift else "OK" for job, drift in found.items()
    }
    assert timed.apply() == {
        "added": sorted([*files_of("moved"), "hiveden-backup@lose.timer"]),
        "changed": ["hiveden-backup@edit.timer", "hiveden-backup@late.timer"],
        "removed": sorted([*files_of("move"), *files_of("drop")]),
    }
    assert set(drifts(timed).values()) == {None}
    assert active(timed) == [f"hiveden-backup@{job}.timer" for job in ("edit", "keep", "late", "lose", "moved", "stop")]
    assert timed.machine.run("systemctl", "--failed", "--quiet", "--no-legend").stdout == ""
    dangling = timed.machine.ok("find", UNITS, "-xtype", "l", "-name", "*hiveden*")
    assert dangling == ""


def test_set_and_unset_write_the_managed_file_and_apply(timed: Timed) -> None:
    timed.configure({"a": {"schedule": "daily"}}).apply()
    managed = timed.machine.path("/etc/hiveden-backup/config.d/90-managed.toml")
    timed.machine.ok("hiveden-backup", "schedule", "set", "a", "15 3 * * *")
    assert timed.rows()["a"]["calendars"] == ["*-*-* 03:15:00"]
    hidden = "jobs.a.schedule in config.toml has no effect: config.d/90-managed.toml overrides it"
    assert hidden in timed.machine.run("hiveden-backup", "schedule", "apply").stderr
    written = managed.read_text()
    for expression, reason in (
        ("*-02-30", "never elapses"),
        ("0 0 L * *", "L"),
        ("nonsense", "calendar"),
        ("a\nb", "control"),
    ):
        done = timed.machine.run("hiveden-backup", "schedule", "set", "a", expression)
        assert done.returncode == 78, expression
        assert reason in done.stderr
        assert managed.read_text() == written
    assert timed.machine.run("hiveden-backup", "schedule", "set", "none", "daily").returncode == 66
    assert timed.rows()["a"]["drift"] is None
    timed.machine.ok("hiveden-backup", "schedule", "unset", "a")
    assert (timed.rows()["a"]["schedule"], active(timed)) == ([], [])


def test_one_bad_line_among_good_ones_stops_the_apply(timed: Timed) -> None:
    timed.configure({"a": {"schedule": ["daily", "*-02-30"]}, "b": {"schedule": "Mon *-*-* 25:00"}})
    done = timed.machine.run("hiveden-backup", "schedule", "apply")
    assert done.returncode == 78
    assert "jobs.a.schedule" in done.stderr
    assert "jobs.b.schedule" in done.stderr
    assert texts(timed) == {}


def test_editing_a_schedule_does_not_start_the_job(timed: Timed) -> None:
    """The new time lies between the last trigger and now, where a reload alone would fire."""
    timed.configure({"a": {"schedule": "*-*-* 00:00:00"}}).init().apply()
    timed.machine.ok("touch", "-d", "10 days ago", "/var/lib/systemd/timers/stamp-hiveden-backup@a.timer")
    timed.machine.ok("systemctl", "daemon-reload")
    hour = timed.machine.ok("date", "-d", "1 hour ago", "+%H:%M").strip()
    timed.machine.ok("hiveden-backup", "schedule", "set", "a", f"*-*-* {hour}")
    timed.machine.ok("systemctl", "daemon-reload")
    assert timed.machine.show("hiveden-backup@a.service", "ActiveState", "ExecMainStartTimestamp") == {
        "ActiveState": "inactive",
        "ExecMainStartTimestamp": "",
    }
    assert timed.runs("a") == 0


@pytest.mark.parametrize("point", FAILPOINTS)
def test_an_apply_that_fails_leaves_the_old_units(timed: Timed, point: str) -> None:
    timed.configure({"old": {"schedule": NIGHT}, "both": {"schedule": NIGHT}}).apply()
    before = texts(timed)
    timed.configure({"new": {"schedule": NIGHT}, "both": {"schedule": "*-*-* 04:00"}})
    done = timed.machine.run("hiveden-backup", "schedule", "apply", environment={VARIABLE: f"{point}:error"})
    assert done.returncode == 1
    assert texts(timed) == before
    assert active(timed) == ["hiveden-backup@both.timer", "hiveden-backup@old.timer"]
    assert drifts(timed) == {"new": "missing", "both": "stale", "old": "stale"}
    timed.apply()
    assert active(timed) == ["hiveden-backup@both.timer", "hiveden-backup@new.timer"]


@pytest.mark.parametrize("point", FAILPOINTS)
def test_an_apply_that_dies_is_finished_by_the_next(timed: Timed, point: str) -> None:
    timed.configure({"old": {"schedule": NIGHT}, "both": {"schedule": NIGHT}}).apply()
    timed.configure({"new": {"schedule": NIGHT}, "both": {"schedule": "*-*-* 04:00"}})
    done = timed.machine.run("hiveden-backup", "schedule", "apply", environment={VARIABLE: f"{point}:kill"})
    assert done.returncode == -9
    timed.apply()
    assert sorted(texts(timed)) == sorted([*SHARED, *files_of("new"), *files_of("both")])
    assert set(drifts(timed).values()) == {None}
    assert active(timed) == ["hiveden-backup@both.timer", "hiveden-backup@new.timer"]
    assert "04:00" in timed.machine.show("hiveden-backup@both.timer", "TimersCalendar")["TimersCalendar"]
    assert timed.apply() == {"added": [], "changed": [], "removed": []}


def test_two_applies_at_once_both_succeed(timed: Timed) -> None:
    timed.configure({f"job{number}": {"schedule": NIGHT} for number in range(4)})
    begin = 'pids=; for n in 1 2 3; do hiveden-backup schedule apply & pids="$pids $!"; done'
    command = f"{begin}; for pid in $pids; do wait $pid; done"
    timed.machine.ok("sh", "-euc", command)
    assert set(drifts(timed).values()) == {None}
    assert len(active(timed)) == 4


def test_who_had_to_wait_applies_what_the_configuration_says_by_then(timed: Timed) -> None:
    """Else the later of two changes would take the earlier one's timer away again."""
    timed.configure({"a": {"schedule": NIGHT}})
    command = ("hiveden-backup", "schedule", "apply")
    timed.machine.ok("systemd-run", "--unit=first", f"--setenv={VARIABLE}=units-place@1:hold", *command)
    first = timed.held_in("first.service")
    timed.machine.ok("systemd-run", "--unit=second", *command)
    second = timed.machine.show("second.service", "MainPID")["MainPID"]

    def waits() -> bool:
        with contextlib.suppress(FileNotFoundError):  # closed while we look
            files = timed.machine.path(f"/proc/{second}/fd").iterdir()
            return any(os.readlink(file).endswith("/.units.lock") for file in files)
        return False

    wait(waits, "the second one waits for the first")
    timed.configure({"a": {"schedule": NIGHT}, "b": {"schedule": NIGHT}})
    timed.go_on(first)
    for unit in ("first.service", "second.service"):
        assert timed.ended_in(unit) == "success"
    assert drifts(timed) == {"a": None, "b": None}


def test_units_of_a_running_job_are_not_removed(timed: Timed) -> None:
    timed.configure({"a": {}, "b": {}}).init().apply()
    timed.fail_at("a", "hot:hold")
    timed.begin("a")
    process = timed.held("a")
    timed.configure({"b": {}})
    for words in (["apply"], ["remove"]):
        done = timed.machine.run("hiveden-backup", "schedule", *words)
        assert (done.returncode, "The job a is running" in done.stderr) == (75, True)
    assert set(files_of("a", timer=False)) <= texts(timed).keys()
    timed.go_on(process)
    assert timed.ended("a") == "success"
    assert timed.apply()["removed"] == files_of("a", timer=False)


def test_what_is_not_ours_is_left_alone(timed: Timed) -> None:
    foreign = f"{UNITS}/hiveden-backup@mine.timer"
    timed.machine.write(foreign, "[Timer]\nOnCalendar=daily\n")
    timed.machine.write(f"{UNITS}/hiveden-backup@a.service.d/70-mine.conf", "[Service]\nNice=3\n")
    timed.configure({"a": {"schedule": NIGHT}}).apply()
    timed.machine.ok("hiveden-backup", "schedule", "remove")
    assert sorted(texts(timed)) == ["hiveden-backup@mine.timer"]
    assert timed.machine.path(f"{UNITS}/hiveden-backup@a.service.d/70-mine.conf").exists()
    timed.configure({"mine": {"schedule": NIGHT}})
    done = timed.machine.run("hiveden-backup", "schedule", "apply")
    assert done.returncode == 1
    assert "is there already and not ours" in done.stderr


def test_what_is_added_to_a_timer_is_told_and_stays(timed: Timed) -> None:
    timed.configure({"a": {"schedule": NIGHT}, "b": {"schedule": NIGHT}}).apply()
    added = f"{UNITS}/hiveden-backup@a.timer.d/override.conf"
    timed.machine.write(added, "[Timer]\nOnCalendar=Mon 05:00\n")
    timed.machine.ok("systemctl", "daemon-reload")
    assert drifts(timed) == {"a": "edited", "b": None}
    assert f"settings in {added} are added to its timer" in timed.machine.run("hiveden-backup", "check").stdout
    assert timed.apply() == {"added": [], "changed": [], "removed": []}
    assert timed.machine.path(added).exists()


def test_units_of_a_package_are_used_where_they_are(timed: Timed) -> None:
    """A package may come after `apply` has written the units for all jobs itself: they go, and the timers stay."""
    timed.configure({"a": {"schedule": NIGHT}}).apply()
    packaged = "/usr/lib/systemd/system"
    try:
        timed.machine.ok("sh", "-euc", f"cp /checkout/systemd/*.service {packaged}; systemctl daemon-reload")
        assert timed.apply()["removed"] == SHARED
        assert drifts(timed) == {"a": None}
        assert (
            timed.machine.show("hiveden-backup@a.service", "FragmentPath")["FragmentPath"]
            .removeprefix("/usr")
            .startswith("/lib/")
        )
        assert timed.machine.ok("systemctl", "is-enabled", RECOVER).strip() == "enabled"
    finally:
        timed.machine.ok("sh", "-euc", f"rm -f {packaged}/hiveden-backup*; systemctl daemon-reload")


ODD = ["/srv/my Ünï backups", '/srv/it\'s 100%h "$HOME" back\\slash\\x', "/var/tmp/kept"]


@pytest.mark.parametrize("directory", ODD)
def test_directories_with_odd_names_are_written_to(machine: Machine, directory: str) -> None:
    """By jobs with the names of systemd's own things."""
    timed = Timed(machine, directory)
    timed.configure({"service": {"schedule": "daily"}}).init()
    changes = timed.apply()
    assert files_of("service")[1] in changes["added"]
    machine.ok("systemctl", "start", "hiveden-backup@service")
    assert len(timed.ids("service")) == 1
    machine.ok("rm", "-rf", "/var/tmp/kept")


def test_another_configuration_is_what_the_units_use(timed: Timed) -> None:
    timed.configure({"a": {}}).init()
    other = "/etc/hiveden-backup/my other.toml"
    timed.machine.ok("mv", CONFIG, other)
    timed.machine.ok("hiveden-backup", "--config", other, "schedule", "apply")
    timed.machine.ok("systemctl", "start", "hiveden-backup@a")
    assert timed.record("a")["result"] == "success"
    told = timed.machine.show(RECOVER, "Environment")["Environment"]
    assert "HIVEDEN_BACKUP_CONFIG=/etc/hiveden-backup/my other.toml" in told
    assert (timed.machine.path(STATE) / "units.json").exists()


def test_skipped_hours_are_reported(timed: Timed) -> None:
    timed.machine.ok("ln", "-sf", "/usr/share/zoneinfo/Europe/Berlin", "/etc/localtime")
    try:
        timed.configure({"a": {"schedule": NIGHT}, "b": {"schedule": "*-*-* 04:30"}}).init().apply()
        lines = timed.machine.run("hiveden-backup", "check").stdout.splitlines()
        (number,) = [number for number, line in enumerate(lines) if "is left out on" in line]
        assert lines[number].startswith('WARN  a: schedule: "*-*-* 02:30" is left out on 20')
        assert "when clocks go from 02:00 to 03:00" in lines[number]
        assert "Choose a time before 02:00 or from 03:00 on" in lines[number + 1]
        assert timed.rows()["a"]["timezone"] == "Europe/Berlin"
    finally:
        timed.machine.ok("ln", "-sf", "/usr/share/zoneinfo/Etc/UTC", "/etc/localtime")


def test_a_job_that_no_timer_starts_shows_in_status(timed: Timed) -> None:
    timed.configure({"a": {"schedule": NIGHT}}).init()
    done = timed.machine.run("hiveden-backup", "status")
    assert "No timer of systemd starts it" in done.stdout
    timed.apply()
    assert "No timer" not in timed.machine.run("hiveden-backup", "status").stdout
