"""Fresh Debian systems, made by debootstrap from where this machine's apt gets its packages, and booted.

Both releases are made at the same time, since most of it is waiting.
"""

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.dockerd import Docker
from tests.support.machine import DOCKER_UNIT, MASKED, Machine

CHECKOUT = Path(__file__).resolve().parents[2]
RELEASES = {"12": "bookworm", "13": "trixie"}
INSTALL_SECONDS = 900.0


class FreshMachine(Machine):
    """A booted system of its own, with nothing of this machine but its network, and its programs at /host/usr."""

    shown = ("/usr:/host/usr", f"{CHECKOUT}:/checkout")

    def __init__(self, base: Path) -> None:
        super().__init__(docker=False, program=False)
        self.base = base

    def _furnish(self) -> None:
        mount_overlay(self.base, self.top)
        (self.root / "etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
        units = self.root / "etc/systemd/system"
        for unit in MASKED:
            (units / unit).symlink_to("/dev/null")
        (units / "docker.service").write_text(DOCKER_UNIT.format(name=self.name))

    def install(self, *packages: str) -> None:
        """Install packages and docker.io, as apt does it for people who need no more than they ask for."""
        named = " ".join(packages)
        self.shell(f"apt-get -qq install -y --no-install-recommends docker.io {named} >/dev/null")
        self.docker = Docker(f"unix://{self.path('/run/docker.sock')}")
        self.docker.connect()

    def shell(self, script: str) -> str:
        """What bash prints when these lines are pasted into it; however long that takes."""
        return self.ok("bash", "-euc", script, seconds=INSTALL_SECONDS)


def mount_overlay(lower: Path, top: Path) -> None:
    """Mount `lower` at `top`/root, with what is written there in `top`/upper. It need not survive a power cut."""
    layers = f"volatile,lowerdir={lower},upperdir={top / 'upper'},workdir={top / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", top / "root"], check=True)


def mirror() -> str:
    """Where this machine gets Debian from."""
    asked = ["apt-get", "indextargets", "--format=$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert found, "apt has no source of Debian's own packages, or no lists yet: apt-get update"
    return found[0]


def apt_settings() -> str:
    """How this machine reaches it: proxies, certificates, retries."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    return "".join(line for line in dump.splitlines(keepends=True) if re.match(r'Acquire::[^"]+ "[^"]+";', line))


def make_base(top: Path, release: str) -> Path:
    """A minimal system with systemd; the directory is a layer for machines."""
    for folder in ("empty", "upper", "work", "root"):
        (top / folder).mkdir(parents=True)
    root = top / "root"
    mount_overlay(top / "empty", top)
    try:
        argv = [
            "debootstrap",
            "--variant=minbase",
            "--include=systemd,systemd-sysv,dbus",
            RELEASES[release],
            str(root),
            mirror(),
        ]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr
        (root / "etc/apt/apt.conf.d/90test").write_text(f'{apt_settings()}Acquire::Languages "none";\n')
        subprocess.run(["chroot", root, "apt-get", "-qq", "update"], check=True)
    finally:
        subprocess.run(["umount", root], check=True)
    return top / "upper"


@pytest.fixture(scope="session")
def fresh_bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The layers for machines, by release."""
    top = tmp_path_factory.mktemp("fresh")
    with ThreadPoolExecutor() as pool:
        made = {release: pool.submit(make_base, top / release, release) for release in RELEASES}
    yield {release: each.result() for release, each in made.items()}
    shutil.rmtree(top)
