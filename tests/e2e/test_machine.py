"""The booted test machine is a machine of its own: nothing of ours that this machine has is seen in it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import in_memory
from tests.support.machine import PROGRAM, Machine, running_machine
from tests.support.timed import CONFIG, STATE, Timed

UNIT = "[Service]\nType=oneshot\nExecStart=/bin/true\n"
TIMER = "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n"
LEFT = {
    "etc/hiveden-backup/config.toml": 'directory = "/srv/theirs"\n[jobs.quickstart]\npaths = ["/etc"]\n',
    "etc/systemd/system/hiveden-backup@quickstart.timer": TIMER,
    "etc/systemd/system/hiveden-backup@quickstart.service.d/50-hiveden-backup.conf": "[Service]\n",
    "usr/lib/systemd/system/hiveden-backup@.service": UNIT,
    "usr/lib/systemd/system/hiveden-backup-recover.service": f"{UNIT}[Install]\nWantedBy=multi-user.target\n",
    "usr/local/lib/systemd/system/hiveden-backup-api.service": UNIT,
    "usr/lib/systemd/catalog/hiveden-backup.catalog": "-- 00000000000000000000000000000001\nSubject: theirs\n",
    "usr/lib/sysusers.d/hiveden-backup.conf": "g hiveden-backup -\n",
    "usr/lib/python3/dist-packages/hiveden_backup/__init__.py": "",
    "usr/share/bash-completion/completions/hiveden-backup": "",
    "usr/share/doc/hiveden-backup/copyright": "",
    "usr/share/man/man8/hiveden-backup.8": "",
    "usr/bin/hiveden-backup": "#!/bin/sh\n",
    "usr/local/bin/hiveden-backup": "#!/bin/sh\n",
    "opt/hiveden-backup/bin/hiveden-backup": "#!/bin/sh\n",
    "var/backups/hiveden-backup/.hiveden-backup.json": "{}",
    "var/lib/hiveden-backup/host.json": "{}",
    "var/lib/systemd/timers/stamp-hiveden-backup@quickstart.timer": "",
    "var/lib/systemd/deb-systemd-helper-enabled/hiveden-backup-recover.service.dsh-also": "",
    "etc/group": f"{Path('/etc/group').read_text()}hiveden-backup:x:4321:\n",
    "etc/docker/daemon.json": '{"bridge": "docker0", "iptables": true, "hosts": ["tcp://127.0.0.1:1"]}',
}
"""What packaging/quickstart leaves on a machine, in its two ways, and what its owner said to Docker."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine made of one where all that is installed."""
    with in_memory(tmp_path_factory.mktemp("host") / "layer") as host:  # layers must not lie in each other
        for name, text in LEFT.items():
            path = host / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with running_machine(lower=f"{host}:/") as machine:
            yield machine


def test_has_nothing_of_ours_from_this_machine(crowded: Machine) -> None:
    assert crowded.run("systemctl", "list-unit-files", "--no-legend", "hiveden-backup*").stdout == ""
    places = ["/etc", "/opt", "/usr", "/var/backups", "/var/lib"]
    assert crowded.ok("find", *places, "-name", "*hiveden?backup*").split() == [PROGRAM]
    assert "hiveden-backup" not in crowded.ok("cat", "/etc/group")


def test_a_schedule_is_installed_as_on_any_machine(crowded: Machine) -> None:
    timed = Timed(crowded)
    timed.configure({"app": {"schedule": "daily"}})
    assert timed.rows()["app"]["drift"] == "missing"
    assert "hiveden-backup@.service" in timed.apply()["added"]
    assert timed.apply() == {"added": [], "changed": [], "removed": []}
    crowded.ok("rm", "-r", CONFIG, STATE)


def test_docker_there_is_as_the_tests_want_it(crowded: Machine) -> None:
    """Its unit and its Engines have a configuration of their own: what the machine's says collides with their flags."""
    crowded.write("/etc/docker/daemon.json", LEFT["etc/docker/daemon.json"])
    crowded.ok("systemctl", "restart", "docker.service")
    engine = "from tests.support.dockerd import running_engine\nwith running_engine() as engine: print(engine.names())"
    crowded.ok("sh", "-euc", 'cd /checkout; exec "$@"', "sh", sys.executable, "-c", engine)
