"""packaging/quickstart on this machine's system, in a copy that takes the writes, beside a Docker Engine of our own."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import Engine, running_engine, unique_name

CHECKOUT = Path(__file__).resolve().parents[2]
QUICKSTART = "/checkout/packaging/quickstart"
CONFIG = "etc/hiveden-backup/config.toml"

# Mounts of a namespace of their own, gone with it. Of the machine there are its files, network and processes to see,
# not its sockets, databases or backups.
ENTER = """
top="$1"; checkout="$2"; socket="$3"; shift 3
root="$top/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$root"
for path in run tmp; do mount -t tmpfs tmpfs "$root/$path"; done
for path in dev proc; do mount --rbind "/$path" "$root/$path"; done
mkdir -p "$root/etc/postgresql" "$root/checkout"
mount -t tmpfs tmpfs "$root/etc/postgresql"
mount --bind -o ro "$checkout" "$root/checkout"
touch "$root/run/docker.sock"
mount --bind "$socket" "$root/run/docker.sock"
cp --remove-destination "$(realpath /etc/resolv.conf)" "$root/etc/resolv.conf"
exec chroot "$root" "$@"
"""
INSTALLED = "rm -rf /opt/hiveden-backup /usr/local/bin/hiveden-backup"
CONFIGURED = "rm -rf /etc/hiveden-backup /var/lib/hiveden-backup /var/backups/hiveden-backup"


class System:
    """The copy. What one command in it writes, the next one sees."""

    def __init__(self, top: Path, engine: Engine) -> None:
        self.top = top
        self.engine = engine
        for folder in ("root", "upper", "work"):
            (top / folder).mkdir()
        self.do("sh", "-c", INSTALLED)

    def do(self, *argv: str, checkout: Path = CHECKOUT, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-euc", ENTER, "sh", self.top, checkout, self.engine.socket, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    def written(self, path: str) -> str:
        return (self.top / "upper" / path).read_text()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One for all tests, since installing takes its time; the first of them installs."""
    top = tmp_path_factory.mktemp("machine")
    with running_engine() as engine:
        yield System(top, engine)
    shutil.rmtree(top / "work")  # the kernel's own, mode 0: pytest would complain


@pytest.fixture
def system(machine: System) -> Iterator[System]:
    """Without a configuration and without containers."""
    machine.do("sh", "-c", CONFIGURED)
    yield machine
    machine.engine.remove_containers()


def test_sets_up_backs_up_and_lists_and_does_so_again(system: System) -> None:
    """Files, and the databases of a container; a container with data is named, and not touched unasked."""
    database = system.engine.postgres(name=unique_name("photos-db"))
    application = system.engine.run(name=unique_name("photos"), binds=["photos_data:/data"])
    started = system.engine.state(application)["StartedAt"]

    first = system.do(QUICKSTART)
    assert f"PostgreSQL in containers: found {database}." in first.stdout
    assert f"Other running containers: found {application} with volume photos_data." in first.stdout
    assert 'volumes = ["photos_data"]' in first.stdout.partition("==> Next")[2]

    config = system.written(CONFIG)
    system.do(QUICKSTART)
    assert system.written(CONFIG) == config
    listing = json.loads(system.do("hiveden-backup", "list", "--json").stdout)
    assert [(row["type"], row["target"]) for row in listing] == [
        ("application", "quickstart"),
        ("database", "postgres"),
    ] * 2
    assert system.engine.state(application)["StartedAt"] == started

    system.do("hiveden-backup", "restore", "quickstart/latest", "--to", "/var/restored")
    assert system.written(f"var/restored/{CONFIG}") == config


def test_takes_containers_along_when_asked(system: System) -> None:
    application = system.engine.run(name=unique_name("photos"), binds=["photos_data:/data"])
    started = system.engine.state(application)["StartedAt"]
    system.do(QUICKSTART, "--with-containers", "--directory", "/srv/my backups")
    assert 'volumes = ["photos_data"]' in system.written(CONFIG)
    assert system.engine.is_running(application)
    assert system.engine.state(application)["StartedAt"] != started
    listing = json.loads(system.do("hiveden-backup", "list", "--json").stdout)
    assert [row["path"].startswith("/srv/my backups/quickstart/") for row in listing] == [True]


def test_says_what_is_missing(system: System, tmp_path: Path) -> None:
    """A part of the checkout is not there: it is named, and nothing was configured."""
    (tmp_path / "half/packaging").mkdir(parents=True)
    shutil.copy(CHECKOUT / "packaging/quickstart", tmp_path / "half/packaging")
    failed = system.do(QUICKSTART, checkout=tmp_path / "half", status=1)
    assert "/checkout/pyproject.toml is missing" in failed.stderr
    assert not (system.top / "upper" / CONFIG).exists()
