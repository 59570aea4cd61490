"""Files and settings of the machine that are damaged: no command dies of them, and what they lack is said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.host.clock import local_zone
from tests.support.job import Site, site

COMMANDS = (["check"], ["run", "app"], ["list"], ["status"], ["prune", "--dry-run"])


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        (made.data / "file").write_text("content")
        made.configure({"app": {"paths": [str(made.data)], "schedule": "daily", "retention": {"keep_daily": 2}}})
        made.init().run("run", "app").succeeded()
        yield made


def told(bed: Site, prepare: str, arguments: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    """What the program says where /etc is another one, in which `prepare`, a line for the shell, changed something."""
    layers = bed.path / "layers"
    for name in ("upper", "work"):
        (layers / name).mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs none {layers} && mkdir {layers}/upper {layers}/work && "
    mount += f"mount -t overlay -o lowerdir=/etc,upperdir={layers}/upper,workdir={layers}/work none /etc"
    command = [sys.executable, "-m", "hiveden_backup", "--config", str(bed.config), *arguments]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && {prepare} && exec "$@"', "sh", *command],
        env=bed.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("prepare", "fault"),
    [
        ("rm /etc/localtime && : > /etc/localtime", "/etc/localtime cannot be used: it is damaged"),
        ("rm /etc/localtime && echo garbage > /etc/localtime", "/etc/localtime cannot be used: it is damaged"),
        ("rm /etc/localtime && mkdir /etc/localtime", "/etc/localtime cannot be used: It is a directory"),
        ("ln -sf /usr/share/zoneinfo/Nowhere /etc/localtime", "/etc/localtime cannot be used: it leads nowhere"),
        ("ln -sf localtime /etc/localtime", "/etc/localtime cannot be used: Too many levels of symbolic links"),
        (
            "rm /etc/localtime && head -c 900 /usr/share/zoneinfo/Europe/Berlin > /etc/localtime",
            "/etc/localtime cannot be used: it is damaged",
        ),
    ],
)
def test_no_time_zone(bed: Site, prepare: str, fault: str) -> None:
    for arguments in COMMANDS:
        done = told(bed, prepare, arguments)
        assert (done.returncode, "defect" in done.stderr, "Traceback" in done.stderr) == (0, False, False), (
            f"{done.stdout}{done.stderr}"
        )
    rows = json.loads(told(bed, prepare, ["check", "--json"]).stdout)
    assert [row["message"] for row in rows if row["status"] == "WARN"] == [f"{fault}; UTC is used instead"]
    assert f"{fault}. UTC is used instead" in told(bed, prepare, ["prune", "--dry-run"]).stderr


@pytest.mark.parametrize("zone", ["Nonsense/Zone", ":/etc/nothing", "Europe", "../x", "CET-1CEST", "/", "a\udcff"])
def test_no_time_zone_by_the_environment(bed: Site, zone: str) -> None:
    done = told(bed, "true", ["check", "--json"], TZ=zone)
    assert done.returncode == 0, done.stderr
    (message,) = [row["message"] for row in json.loads(done.stdout) if row["status"] == "WARN"]
    assert "which is no time zone that is known here; UTC is used instead" in message


@pytest.mark.parametrize("zone", ["Europe/Berlin", ":Europe/Berlin", ":/usr/share/zoneinfo/Europe/Berlin"])
def test_a_time_zone_by_the_environment(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    found = local_zone()
    assert (found.name, found.fault) == ("Europe/Berlin", "")
    assert found.zone.utcoffset(datetime(2026, 7, 1)) == timedelta(hours=2)  # noqa: DTZ001 - of that zone


@pytest.mark.parametrize(
    ("prepare", "environment"),
    [
        ("unset HOME", {}),
        ("true", {"HOME": "/nowhere"}),
        ("true", {"LC_ALL": "xx_XX.nonsense", "LANG": "\udcff"}),
        ("true", {"LC_ALL": "C", "PYTHONUTF8": "0"}),
        ("true", {"COLUMNS": "nonsense", "TERM": "nonsense"}),
        ("true", {"JOURNAL_STREAM": "nonsense", "INVOCATION_ID": "\udcff", "TRIGGER_UNIT": "\udcff"}),
        ("rm -rf /etc/machine-id /etc/os-release /etc/hostname /etc/hosts /etc/nsswitch.conf", {}),
        ("rm -f /etc/passwd /etc/group && echo '::\\377' > /etc/passwd && mkdir /etc/group", {}),
        ("rm -f /etc/machine-id && mkdir /etc/machine-id", {}),
        ("mkdir -p /etc/systemd/system/hiveden-backup@app.timer", {}),
        ("rm -rf /etc/systemd && : > /etc/systemd", {}),
        ("mkdir x\\377 && cd x\\377 && rmdir ../x\\377", {}),
        ("mount -t tmpfs none /proc/sys", {}),
    ],
)
def test_other_settings(bed: Site, prepare: str, environment: Mapping[str, str]) -> None:
    for arguments in COMMANDS:
        done = told(bed, prepare, arguments, **environment)
        assert ("defect" in done.stderr, "Traceback" in done.stderr) == (False, False), done.stderr
        assert done.returncode == 0, done.stderr


def test_a_host_name_of_odd_bytes(bed: Site) -> None:
    name = os.fsencode("ma\udcffchine")
    code = f"import socket, os, sys; socket.sethostname({name!r}); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-m", "hiveden_backup", "--config", str(bed.config)]
    for arguments in (*COMMANDS, ["show", "app/latest"]):
        done = subprocess.run(
            ["unshare", "--uts", sys.executable, "-c", code, *command, *arguments],
            env=bed.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_no_temporary_directory(bed: Site) -> None:
    for arguments in (["check"], ["restore", "app/latest", "--to", str(bed.path / "out")]):
        done = told(bed, "mount -t tmpfs -o ro none /tmp; mount -o remount,ro,bind /", arguments, TMPDIR="/nowhere")
        assert ("defect" in done.stderr, "Traceback" in done.stderr) == (False, False), done.stderr
