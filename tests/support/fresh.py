"""Fresh Debian systems, made by debootstrap from where this machine's apt gets its packages, and booted."""

import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
        self._memory = ExitStack()

    def _furnish(self) -> None:
        mount_overlay(self.base, self._memory.enter_context(in_memory(self.top / "layers")), self.root)
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

    def close(self) -> None:
        """As any machine."""
        try:
            self.power_cut()
            if os.path.ismount(self.root):
                subprocess.run(["umount", self.root], check=True)
        finally:
            self._memory.close()
            super().close()

    def shell(self, script: str) -> str:
        """What bash prints when these lines are pasted into it; however long that takes."""
        return self.ok("bash", "-euc", script, seconds=INSTALL_SECONDS)


@contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """A file system at `folder` for the block: what is thrown away soon need not go to a disk."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def mount_overlay(lower: Path, layers: Path, root: Path) -> None:
    """Mount `lower` at `root`; what is written there is in `layers`/upper. It need not survive a power cut."""
    for folder in ("upper", "work"):
        (layers / folder).mkdir()
    options = f"volatile,lowerdir={lower},upperdir={layers / 'upper'},workdir={layers / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True)


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


def make_base(top: Path, release: str) -> None:
    """Make a minimal system with systemd in the directory."""
    options = ["--variant=minbase", "--include=systemd,systemd-sysv,dbus"]
    argv = ["debootstrap", *options, RELEASES[release], str(top), mirror()]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    (top / "etc/apt/apt.conf.d/90test").write_text(f'{apt_settings()}Acquire::Languages "none";\n')
    subprocess.run(["chroot", top, "apt-get", "-qq", "update"], check=True)


@pytest.fixture(scope="session")
def fresh_bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """The layer for machines of a release, made when it is first asked for."""
    made: dict[str, Path] = {}
    with in_memory(tmp_path_factory.mktemp("fresh") / "bases") as top:

        def base(release: str) -> Path:
            if release not in made:
                make_base(top / release, release)
                made[release] = top / release
            return made[release]

        yield base
