"""A real systemd, booted: this machine's own file system in a container, with a Docker Engine of its own as a service.

What is written there goes to an overlay that is thrown away; this machine's units, databases, containers and backups
are not seen. `/srv` inside is `Machine.srv` outside; the checkout is `/checkout`, read-only. (Tests keep their files
out of /tmp and /var/tmp, which units may have for themselves.)
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import cgroups
from tests.support.dockerd import Docker

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = "/usr/local/bin/hiveden-backup"
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
BOOT_SECONDS = 120.0
PATIENCE = 120.0

_PROGRAM = f"""#!/bin/sh
export PYTHONPATH=/checkout PYTHONDONTWRITEBYTECODE=1
exec {sys.executable} -m hiveden_backup "$@"
"""
# Containers get control groups of their own beside the machine's; where these are mounted read-only, that is undone.
DOCKER_UNIT = """[Unit]
Description=Docker, as the tests run it

[Service]
Type=notify
ExecStartPre=-/bin/sh -c 'findmnt -rno TARGET -t cgroup,cgroup2 | xargs -n 1 mount -o remount,bind,rw'
ExecStartPre=/bin/sh -c 'echo {{}} >/run/no-settings.json'
ExecStart=/usr/sbin/dockerd --config-file=/run/no-settings.json --host=unix:///run/docker.sock \\
    --exec-root=/run/docker --cgroup-parent=/{name} \\
    --bridge=none --iptables=false --ip-forward=false --ip-masq=false --shutdown-timeout=2
Delegate=yes
KillMode=process
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
MASKED = ("docker.socket", "containerd.service", "systemd-firstboot.service", "systemd-timesyncd.service")
_EMPTIED = ("etc/systemd/system", "etc/docker", "etc/postgresql", "var/log/journal")
_OURS = tuple(
    f"{place}/*hiveden?backup*"
    for place in (
        *("etc", "opt", "usr/bin", "usr/local/bin", "usr/local/lib/systemd/*", "usr/lib/systemd/*", "usr/lib/*.d"),
        *("usr/lib/python3/dist-packages", "usr/share/*", "usr/share/*/*", "var/backups", "var/lib"),
        *("var/lib/dpkg/info", "var/lib/systemd/*"),
    )
)
"""Where the program, its package and its configuration may be installed on this machine."""


class Machine:
    """A booted systemd with the program in /usr/local/bin. `docker` is its Engine; None when made without."""

    shown: Sequence[str] = (f"{CHECKOUT}:/checkout",)
    """What of this machine is to be seen in it, and where."""

    def __init__(self, *, docker: bool = True, program: bool = True, lower: str = "/") -> None:
        self.name = f"hb-{secrets.token_hex(4)}"
        self.top = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.top.chmod(0o755)  # other accounts have to pass
        self.root = self.top / "root"
        self.srv = self.top / "srv"
        for folder in ("root", "upper", "work", "srv", "docker"):
            (self.top / folder).mkdir()
        self.docker = Docker("") if docker else None
        self._program = program
        self._lower = lower
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    # ---- its life

    def boot(self) -> None:
        """Switch it on, and wait until it is up."""
        if not os.path.ismount(self.root):
            self._furnish()
        binds = [f"{self.srv}:/srv", f"{self.top / 'docker'}:/var/lib/docker"]
        argv = [
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"),
            *(f"--directory={self.root}", f"--machine={self.name}"),
            # what an Engine needs, and what nspawn of Debian 12 keeps from everybody
            *("--capability=all", f"--system-call-filter=add_key keyctl bpf {LANDLOCK}"),
            *(f"--bind={bind}" for bind in binds),
            *(f"--bind-ro={bind}" for bind in self.shown),
        ]
        enter = "".join(f'echo $$ >"{group}/cgroup.procs"\n' for group in self._make_groups())
        with open(self.top / "console", "ab") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-euc", f'{enter}exec "$@"', "sh", *argv],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,  # a Ctrl-C is not for it
            )
        self._await_boot(self._nspawn)
        if self.docker is not None:
            self.docker.url = f"unix:///proc/{self._leader}/root/run/docker.sock"
            self.docker.connect()

    def _furnish(self) -> None:
        layers = f"lowerdir={self._lower},upperdir={self.top / 'upper'},workdir={self.top / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", self.root], check=True)
        self._forget()
        (self.root / "checkout").mkdir(exist_ok=True)
        (self.root / "etc/machine-id").unlink(missing_ok=True)
        (self.root / "etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
        units = self.root / "etc/systemd/system"
        for unit in MASKED:
            (units / unit).symlink_to("/dev/null")
        if self.docker is not None:
            (units / "docker.service").write_text(DOCKER_UNIT.format(name=self.name))
            (units / "multi-user.target.wants").mkdir()
            (units / "multi-user.target.wants/docker.service").symlink_to("../docker.service")
        else:
            (units / "docker.service").symlink_to("/dev/null")
        if self._program:
            installed = self.root / PROGRAM.lstrip("/")
            installed.write_text(_PROGRAM)
            installed.chmod(0o755)

    def _forget(self) -> None:
        """Take away what this machine has enabled and installed."""
        for path in (self.root / name for name in _EMPTIED):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        for path in (path for pattern in _OURS for path in self.root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in (self.root / "etc/group", self.root / "etc/gshadow"):
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if not line.startswith("hiveden-backup:")))

    def _make_groups(self) -> Iterator[Path]:
        """Control groups of its own, so that machines do not meet there."""
        for hierarchy in cgroups.hierarchies():
            if hierarchy.name not in ("cgroup", "unified", "systemd"):
                continue
            (hierarchy / self.name).mkdir(exist_ok=True)
            yield hierarchy / self.name

    def _await_boot(self, nspawn: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while nspawn.poll() is None and time.monotonic() < deadline:
            children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
            self._leader = int(children[0]) if children else 0
            if self._leader and self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        console = (self.top / "console").read_text(errors="replace")
        pytest.fail(f"systemd does not come up (status {nspawn.poll()}):\n{console[-4000:]}")

    def power_cut(self) -> None:
        """Switch it off at once: every process in it is gone, its containers too. `boot` starts it again."""
        if self.docker is not None:
            self.docker.disconnect()
        if self._nspawn is None:
            return
        if self._leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
        else:
            self._nspawn.kill()
        self._nspawn.wait(PATIENCE)
        self._nspawn, self._leader = None, 0

    def close(self) -> None:
        """Switch it off and remove all that is left of it."""
        try:
            self.power_cut()
        finally:
            cgroups.remove(self.name)
            if os.path.ismount(self.root):
                subprocess.run(["umount", self.root], check=True)
            shutil.rmtree(self.top)

    # ---- what goes on in it

    def run(
        self,
        *argv: str,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        seconds: float = PATIENCE,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program in it, as root, and wait for its end."""
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
        return subprocess.run(
            ["nsenter", f"--target={self._leader}", "--all", "--", *argv],
            env={**clean, **(environment or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def ok(self, *argv: str, stdin: str = "", seconds: float = PATIENCE) -> str:
        """What a program that succeeds prints."""
        done = self.run(*argv, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        lines = self.ok("systemctl", "show", f"--property={','.join(names)}", "--", unit).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Entries of the journal, oldest first."""
        self.run("journalctl", "--sync")
        return [json.loads(line) for line in self.ok("journalctl", "--output=json", *matches).splitlines()]

    def path(self, inside: str) -> Path:
        """Where a path of the machine is outside of it."""
        return Path(f"/proc/{self._leader}/root{inside}") if self._leader else self.root / inside.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Write a file in it, making its directory."""
        where = self.path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)

    def until(self, condition: Sequence[str], seconds: float = PATIENCE) -> None:
        """Wait until a program run in it succeeds."""
        deadline = time.monotonic() + seconds
        while (done := self.run(*condition)).returncode:
            assert time.monotonic() < deadline, f"Still not: {' '.join(condition)}\n{done.stdout}{done.stderr}"
            time.sleep(0.1)


@contextlib.contextmanager
def running_machine(*, docker: bool = True, program: bool = True, lower: str = "/") -> Iterator[Machine]:
    """A booted machine for the block. `lower` is what it is made of: directories, as overlayfs wants them."""
    machine = Machine(docker=docker, program=program, lower=lower)
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def booted() -> Iterator[Machine]:
    """The machine that tests share. What they make in it stays: most want `machine` instead."""
    with running_machine() as machine:
        yield machine


@pytest.fixture
def machine(booted: Machine) -> Machine:
    """The shared machine; our units, configuration and state, its /srv, containers and journal are cleared before."""
    clear(booted)
    return booted


def clear(machine: Machine) -> None:
    """Take away what an earlier test left in it."""
    if machine.docker is not None:
        machine.docker.remove_containers()
    units = "hiveden-backup*"
    machine.run("systemctl", "stop", f"{units}.timer", f"{units}.service", f"{units}.socket")
    machine.ok(
        "sh",
        "-euc",
        "find /etc/systemd/system /run/systemd/system -name 'hiveden-backup*' -prune -exec rm -rf {} +\n"
        "rm -rf /etc/hiveden-backup /var/lib/hiveden-backup /var/lib/systemd/timers/stamp-hiveden-backup*\n"
        "find /srv -mindepth 1 -delete\n"
        "journalctl --quiet --rotate --vacuum-size=1\n"
        "systemctl daemon-reload; systemctl reset-failed",
    )
