"""The texts of units: what a job adds to its unit and only then, and how odd words get there."""

import re

import pytest

from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.schedule import units
from hiveden_backup.host.systemd.unit_files import _SHIPPED

PLACE = units.UnitPlace(("/srv/backups",))
CONTAINER = PostgresSource(container="db")
ACCOUNT = PostgresSource(dsn="host=/run/postgresql user=postgres", os_user="postgres")
REMOTE = PostgresSource(dsn="host=192.0.2.7 user=backup", passfile="/etc/hiveden-backup/pgpass")


def settings(text: str, key: str) -> list[str]:
    """What a unit's text has for a key, line by line."""
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def shipped(name: str) -> str:
    """A unit as it is in the checkout, and in the wheel."""
    return (_SHIPPED / name).read_text("utf-8")


# ---- a job's own units ---------------------------------------------------------------------------------------------


def test_timer_has_every_calendar_and_what_the_job_wants() -> None:
    text = units.timer_text(Job("a", catch_up=False, jitter=600.0), ("Mon *-*-* 02:30:00", "daily"))
    assert settings(text, "OnCalendar") == ["Mon *-*-* 02:30:00", "daily"]
    assert settings(text, "Persistent") == ["no"]
    assert settings(text, "RandomizedDelaySec") == ["10min"]
    assert settings(text, "WantedBy") == ["timers.target"]


def test_a_job_without_a_schedule_has_no_timer() -> None:
    assert list(units.unit_files(Job("a"), (), PLACE)) == ["hiveden-backup@a.service.d/50-hiveden-backup.conf"]


def test_drop_in_has_limits_and_the_directory() -> None:
    text = units.drop_in_text(Job("a", timeout=7200.0, stop_timeout=30.0, start_timeout=300.0), PLACE)
    assert settings(text, "TimeoutStartSec") == ["2h"]
    assert settings(text, "TimeoutStopSec") == ["6min 30s"]
    assert settings(text, "ReadWritePaths") == ['"-/srv/backups"']
    assert settings(text, "RequiresMountsFor") == ['"/srv/backups"']
    assert not settings(text, "Environment")


@pytest.mark.parametrize(
    ("sources", "capabilities", "calls"),
    [
        ((), [], []),
        ((REMOTE,), [], []),
        ((CONTAINER,), ["CAP_SYS_PTRACE"], []),
        ((ACCOUNT,), ["CAP_SETUID CAP_SETGID CAP_KILL"], ["@setuid"]),
        ((CONTAINER, ACCOUNT), ["CAP_SYS_PTRACE", "CAP_SETUID CAP_SETGID CAP_KILL"], ["@setuid"]),
    ],
)
def test_privileges_are_for_those_who_need_them(
    sources: tuple[PostgresSource, ...], capabilities: list[str], calls: list[str]
) -> None:
    text = units.drop_in_text(Job("a", postgres=sources), PLACE)
    assert settings(text, "CapabilityBoundingSet") == capabilities
    assert settings(text, "SystemCallFilter") == calls


@pytest.mark.parametrize(
    ("job", "place", "shared"),
    [
        (Job("a", paths=("/srv",)), PLACE, False),
        (Job("a", paths=("/var/tmpfiles",)), PLACE, False),
        (Job("a", paths=("/var/tmp/x",)), PLACE, True),
        (Job("a", paths=("/var",)), PLACE, True),
        (Job("a", paths=("/",)), PLACE, True),
        (Job("a"), units.UnitPlace(("/tmp/backups",)), True),
        (Job("a"), units.UnitPlace(("/srv/link", "/var/tmp/backups")), True),
        (Job("a", postgres=(PostgresSource(dsn="host=/tmp user=a"),)), PLACE, True),
        (Job("a", postgres=(PostgresSource(dsn="host=h", passfile="/tmp/pass"),)), PLACE, True),
    ],
)
def test_temporary_directories_are_the_machines_own_for_jobs_that_name_them(
    job: Job, place: units.UnitPlace, *, shared: bool
) -> None:
    assert (settings(units.drop_in_text(job, place), "PrivateTmp") == ["no"]) is shared


def test_odd_words_are_literal() -> None:
    text = units.drop_in_text(Job("a"), units.UnitPlace(('/srv/100% "so" $HOME\\x',), "/etc/100%.toml"))
    assert settings(text, "ReadWritePaths") == [r'"-/srv/100%% \"so\" $HOME\\x"']
    assert settings(text, "Environment") == ['"HIVEDEN_BACKUP_CONFIG=/etc/100%%.toml"']


def test_paths_lead_back_to_their_jobs() -> None:
    for job in ("a", "timer", "a-b_c"):
        for path in (units.timer(job), units.drop_in(job), units.offsite_timer(job), units.offsite_drop_in(job)):
            assert units.job_of(path) == job
    assert [units.job_of(name) for name in (units.TEMPLATE, units.OFFSITE, "other.timer")] == ["", "", ""]


def test_changes_are_named() -> None:
    found = units.changes({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "old", "d": "4"})
    assert found == units.Changes(("a",), ("c",), ("d",))
    assert not units.changes({"a": "1"}, {"a": "1"})


# ---- what is shipped -----------------------------------------------------------------------------------------------


def test_a_program_elsewhere_is_started_by_its_path() -> None:
    text = units.installed_text(shipped(units.TEMPLATE), "/opt/my tools/hiveden-backup")
    assert settings(text, "ExecStart") == ['"/opt/my tools/hiveden-backup" run -- %i']
    assert settings(text, "ExecStopPost") == ['"/opt/my tools/hiveden-backup" --quiet recover --job %i']
    recover = units.installed_text(shipped(units.RECOVER), "/opt/100%/hiveden-backup")
    assert settings(recover, "ExecStart") == ["/opt/100%%/hiveden-backup --quiet recover"]
    assert text.startswith(units.HEADER)


@pytest.mark.parametrize("path", ["hiveden-backup", "/opt/$HOME/x", "/opt/it's", '/opt/"', "/opt/a\\b", "/opt/a\nb"])
def test_a_path_that_no_unit_can_start_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no unit can start"):
        units.installed_text(shipped(units.TEMPLATE), path)
