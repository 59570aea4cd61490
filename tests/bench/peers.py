"""restic and borg, which take part where they are found.

To get the newest ones, on Debian, as root:

python -m tests.bench.peers [DIRECTORY]     restic of Debian's unstable, borg of PyPI; it needs what borg compiles with:
                                            libacl1-dev liblz4-dev libssl-dev libxxhash-dev libzstd-dev pkg-config gcc
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bed import Spent, spend

HOME = Path("/var/cache/hiveden-backup-bench")
NAMES = ("restic", "borg")
_SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program, and what it does with one tree: each is a command line."""

    name: str
    version: str
    environment: Mapping[str, str]
    repository: Path
    cache: Path
    init: Sequence[str]
    backup: Callable[[], Sequence[str]]
    restore: Sequence[str]
    restore_one: Callable[[Path], Sequence[str]]
    verify: Sequence[str]

    def fresh(self) -> None:
        shutil.rmtree(self.repository, ignore_errors=True)
        shutil.rmtree(self.cache, ignore_errors=True)
        self.spend(self.init)

    def spend(self, command: Sequence[str], directory: Path | None = None) -> Spent:
        return spend(command if directory is None else ["env", "-C", str(directory), *command], self.environment)


def find(directory: Path, place: Path, data: Path) -> list[Peer]:
    """Those that are in the directory, else on PATH."""
    path = f"{directory}/bin{os.pathsep}{os.environ['PATH']}"
    makers = {"restic": _restic, "borg": _borg}
    found = {name: shutil.which(name, path=path) for name in NAMES}
    return [makers[name](program, place, data) for name, program in found.items() if program]


def _restic(program: str, place: Path, data: Path) -> Peer:
    repository, cache = place / "restic", place / "restic-cache"
    environment = {**os.environ, "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(cache)}
    command = [program, "-q", "-r", str(repository)]
    return Peer(
        "restic",
        _said(program, "version").split()[1],
        environment,
        repository,
        cache,
        [*command, "init"],
        lambda: [*command, "backup", str(data)],
        [*command, "restore", "latest", "--target", "."],
        lambda path: [*command, "restore", "latest", "--target", ".", "--include", str(path)],
        [*command, "check", "--read-data"],
    )


def _borg(program: str, place: Path, data: Path) -> Peer:
    repository, base = place / "borg", place / "borg-base"
    environment = {
        **os.environ,
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_BASE_DIR": str(base),
        "BORG_REPO": str(repository),
    }
    extract = f'exec {program} extract "::$({program} list --short --last 1)"'
    return Peer(
        "borg",
        _said(program, "--version").split()[1],
        environment,
        repository,
        base,
        [program, "init", "-e", "none"],
        lambda: [program, "create", f"::{time.time_ns()}", str(data)],
        ["sh", "-c", extract],
        lambda path: ["sh", "-c", f"{extract} {str(path).lstrip('/')}"],
        [program, "check", "--verify-data"],
    )


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def fetch(directory: Path) -> None:
    """Put the newest restic and borg into `directory`/bin."""
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "lists/partial").mkdir(parents=True)
        (place / "cache/archives/partial").mkdir(parents=True)
        (place / "sources.list").write_text(_SOURCE)
        options = {
            "Dir::Etc::sourcelist": place / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": place / "lists",
            "Dir::State::status": "/dev/null",
            "Dir::Cache": place / "cache",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]
        subprocess.run([*apt, "update"], check=True)
        subprocess.run([*apt, "download", "restic"], cwd=place, check=True)
        (package,) = place.glob("restic_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(place / "restic")], check=True)
        shutil.copy2(place / "restic/usr/bin/restic", programs / "restic")
    subprocess.run(["python3", "-m", "venv", "--clear", str(directory / "borg")], check=True)
    subprocess.run([str(directory / "borg/bin/pip"), "install", "-q", "borgbackup"], check=True)
    (programs / "borg").unlink(missing_ok=True)
    (programs / "borg").symlink_to(directory / "borg/bin/borg")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]) if len(sys.argv) > 1 else HOME)
