"""The Debian package, built once, on a fresh, booted Debian 12 and a fresh, booted Debian 13."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.dockerd import IGNORE_TERM, Engine, running_engine, unique_name
from tests.support.fresh import CHECKOUT, RELEASES, FreshMachine

PACKAGE = "hiveden-backup"
PATIENCE = 180.0
INSTALL = "apt-get -qq install -y --no-install-recommends /srv/packages/*.deb postgresql-client >/dev/null"


@dataclass(frozen=True)
class System:
    """A booted release with the package installed."""

    release: str
    machine: FreshMachine
    engine: Engine

    def configure(self, text: str) -> None:
        """A configuration made as people make it: by `init`, and a job added."""
        self.machine.shell(f"{PACKAGE} init --directory /srv/backups")
        config = self.machine.path("/etc/hiveden-backup/config.toml")
        config.write_text(f"{config.read_text()}\n{text}")

    def listing(self) -> list[Mapping[str, object]]:
        rows: list[Mapping[str, object]] = json.loads(self.machine.ok(PACKAGE, "list", "--json"))
        return rows


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git has, and from nothing else."""
    top = tmp_path_factory.mktemp("package")
    clone(top / "checkout")
    done = subprocess.run(
        [top / "checkout/packaging/deb/build", "--directory", top / "built"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (top / "checkout/dist").exists()
    return Path(done.stdout.strip())


def clone(to: Path) -> None:
    """A clean checkout: what git has, and what it would take."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    names = subprocess.run(listing, cwd=CHECKOUT, capture_output=True, check=True).stdout
    to.mkdir(parents=True)
    present = b"".join(name + b"\0" for name in names.split(b"\0") if name and (CHECKOUT / name.decode()).exists())
    pack = subprocess.run(
        ["tar", "-c", "--null", "-T", "-"], cwd=CHECKOUT, input=present, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", to], input=pack.stdout, check=True)


@pytest.fixture(scope="module")
def systems(package: Path, fresh_bases: dict[str, Path]) -> Iterator[dict[str, System]]:
    """Both releases, with the package installed."""
    with running_engine() as engine:
        systems = {
            release: System(release, FreshMachine(base, engine), engine) for release, base in fresh_bases.items()
        }
        try:
            for system in systems.values():
                system.machine.boot()
                (system.machine.srv / "packages").mkdir()
                shutil.copy(package, system.machine.srv / "packages")
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda system: system.machine.shell(INSTALL), systems.values()))
            yield systems
        finally:
            for system in systems.values():
                system.machine.close()


@pytest.fixture(params=RELEASES)
def system(request: pytest.FixtureRequest, systems: dict[str, System]) -> System:
    release: str = request.param
    return systems[release]


def test_lintian_has_no_errors(package: Path) -> None:
    done = subprocess.run(["lintian", "--fail-on", "error", package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_puts_everything_in_its_place(system: System) -> None:
    said = system.machine.shell(
        """
        stat -c '%a %U:%G' /etc/hiveden-backup
        hiveden-backup --version
        systemctl is-enabled hiveden-backup-recover.service
        systemd-analyze verify --man=no /usr/lib/systemd/system/hiveden-backup*
        test -s /usr/share/bash-completion/completions/hiveden-backup
        test -s /usr/share/zsh/vendor-completions/_hiveden-backup
        test -s /usr/share/fish/vendor_completions.d/hiveden-backup.fish
        cp /usr/share/doc/hiveden-backup/examples/config.toml /tmp/config.toml
        hiveden-backup --config /tmp/config.toml config get directory
        """
    )
    version = re.search(r"_([^_]+)_all", next((system.machine.srv / "packages").iterdir()).name)
    assert version
    assert said.splitlines() == ["750 root:hiveden-backup", f"{PACKAGE} {version[1]}", "enabled", "/srv/backups"]
