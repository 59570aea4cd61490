"""The units that send backups away: what their pushes see of the machine, and only then."""

import re

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.schedule import units
from hiveden_backup.core.schedule.offsite_units import drop_in_text, offsite_files, timer_text
from hiveden_backup.host.state.due import FOLDER
from hiveden_backup.host.systemd.unit_files import _SHIPPED

PLACE = units.UnitPlace(("/srv/backups",))
CLOUD = Offsite("b2", "b2:bucket/x", "/etc/hiveden-backup/100%.conf")
SECOND = Offsite("friend", "friend:backups", "/etc/hiveden-backup/100%.conf", keep_local="newest")
DISK = Offsite("usb", "/mnt/my disk/backups")


def settings(text: str, key: str) -> list[str]:
    """What a unit's text has for a key, line by line."""
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_a_job_that_goes_nowhere_has_no_units() -> None:
    assert offsite_files(Job("a"), (), PLACE) == {}
    assert "OnSuccess" not in units.drop_in_text(Job("a"), PLACE)


def test_a_run_that_succeeded_is_followed_by_a_push() -> None:
    assert settings(units.drop_in_text(Job("a"), PLACE, sent=True), "OnSuccess") == ["hiveden-backup-offsite@a.service"]
    assert list(offsite_files(Job("a"), (DISK,), PLACE)) == [
        "hiveden-backup-offsite@a.service.d/50-hiveden-backup.conf",
        "hiveden-backup-offsite@a.timer",
    ]


def test_the_backup_directory_is_seen_and_written_where_archives_leave_it_alone() -> None:
    assert settings(drop_in_text((CLOUD,), PLACE), "BindReadOnlyPaths") == ['"-/srv/backups"']
    assert settings(drop_in_text((CLOUD,), PLACE), "BindPaths") == []
    assert settings(drop_in_text((CLOUD, SECOND), PLACE), "BindReadOnlyPaths") == []
    assert settings(drop_in_text((CLOUD, SECOND), PLACE), "BindPaths") == ['"-/srv/backups"']
    assert settings(drop_in_text((CLOUD,), PLACE), "RequiresMountsFor") == ['"/srv/backups"']


def test_credentials_are_handed_over_and_not_seen_where_they_lie() -> None:
    text = drop_in_text((CLOUD, SECOND), PLACE)
    assert settings(text, "LoadCredential") == [
        "rclone-b2.conf:/etc/hiveden-backup/100%%.conf",
        "rclone-friend.conf:/etc/hiveden-backup/100%%.conf",
    ]
    assert settings(text, "InaccessiblePaths") == ['"-/etc/hiveden-backup/100%%.conf"']
    assert not settings(text, "PrivateNetwork")


def test_what_opens_other_places_is_not_seen_and_what_lies_beside_it_is() -> None:
    """There are the keys and known hosts that rclone's configuration names."""
    place = units.UnitPlace((), "/etc/hiveden-backup/second.toml", ("/etc/hiveden-backup/other.conf",))
    text = drop_in_text((DISK,), place)
    assert settings(text, "InaccessiblePaths") == ['"-/etc/hiveden-backup/other.conf"']
    assert not settings(text, "TemporaryFileSystem")


def test_a_disk_needs_no_network_and_may_be_away() -> None:
    text = drop_in_text((DISK,), PLACE)
    assert settings(text, "BindPaths") == ['"-/mnt/my disk/backups"']
    assert settings(text, "PrivateNetwork") == ["yes"]
    assert settings(text, "LoadCredential") == []
    assert not settings(drop_in_text((DISK, CLOUD), PLACE), "PrivateNetwork")


def test_another_configuration_is_seen() -> None:
    text = drop_in_text((DISK,), units.UnitPlace((), "/root/hb.toml"))
    assert settings(text, "Environment") == ['"HIVEDEN_BACKUP_CONFIG=/root/hb.toml"']
    assert settings(text, "BindReadOnlyPaths") == ['"-/root/hb.toml"', '"-/root/config.d"']


def test_the_timer_asks_often_and_hosts_do_so_at_different_times() -> None:
    text = timer_text(Job("a"))
    assert settings(text, "OnCalendar") == ["*:0/15"]
    assert settings(text, "RandomizedDelaySec") == ["15min"]
    assert settings(text, "WantedBy") == ["timers.target"]


def test_the_template_has_no_capability_and_asks_for_the_time_before_it_starts_python() -> None:
    text = (_SHIPPED / units.OFFSITE).read_text("utf-8")
    assert settings(text, "CapabilityBoundingSet") == [""]
    assert settings(text, "StateDirectory") == ["hiveden-backup"]  # of several, STATE_DIRECTORY is no path
    (condition,) = settings(text, "ExecCondition")
    assert condition.startswith("find ")
    assert f"-path %S/hiveden-backup/{FOLDER}/%i -newermt now" in text
    started = units.installed_text(text, "/opt/hiveden-backup/bin/hiveden-backup")
    assert settings(started, "ExecStart")[0].startswith("/opt/hiveden-backup/bin/hiveden-backup offsite push ")
