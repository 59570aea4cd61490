"""Where a client may have backed up, or restored to."""

import pytest

from hiveden_backup.core.api_places import unadoptable, unnameable, unrestorable

OURS = {"backup directory": "/srv/backups", "state directory": "/state/hiveden-backup"}


@pytest.mark.parametrize("path", ["/srv/wiki", "/srv/backups2", "/etc", "/var/lib/immich", "/process", "/home"])
def test_adoptable(path: str) -> None:
    assert unadoptable(path, path, OURS) == ""


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/", "/"),
        ("/proc", "/proc"),
        ("/proc/1/root", "/proc/1/root"),
        ("/sys/fs", "/sys/fs"),
        ("/dev/shm/x", "/dev/shm/x"),
        ("/run/user", "/run/user"),
        ("/var/run", "/run"),
        ("/srv/link", "/srv/elsewhere"),
        ("/srv/backups", "/srv/backups"),
        ("/srv/backups/job", "/srv/backups/job"),
        ("/srv", "/srv"),
        ("/state", "/state"),
        ("/srv/a\u2028b", "/srv/a\u2028b"),
        ("/srv/a\u2029b", "/srv/a\u2029b"),
    ],
)
def test_not_adoptable(path: str, real: str) -> None:
    assert unadoptable(path, real, OURS)


@pytest.mark.parametrize("path", ["/srv/restored", "/var/restored", "/home/a/x", "/mnt/x", "/tmp/x", "/etcetera"])
def test_restorable(path: str) -> None:
    assert unrestorable(path, path, OURS) == ""


@pytest.mark.parametrize(
    ("path", "real"),
    [
        *((path, path) for path in ("/", "/root/x", "/etc/cron.d/x", "/usr/local/bin", "/lib64", "/var/lib/x")),
        *((path, path) for path in ("/proc/1/cwd/x", "/dev/x", "/sys", "/run/systemd/system", "/var/spool/cron/x")),
        *((path, path) for path in ("/srv/backups/x", "/srv", "/state/hiveden-backup/undo", "/state")),
        ("/srv/link/x", "/root/x"),
        ("/proc/1/cwd/x", "/srv/of/whoever/x"),
    ],
)
def test_not_restorable(path: str, real: str) -> None:
    assert unrestorable(path, real, OURS)


def test_names() -> None:
    assert unnameable("größe \u200d \u202e") == ""
    assert "line separator" in unnameable("a\u2028")
