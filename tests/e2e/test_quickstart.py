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
INSTALLED = "rm -rf /opt/hiveden-backup /usr/local/bin/hiveden-backup; dpkg --purge hiveden-backup"
CONFIGURED = "rm -rf /etc/hiveden-backup /var/lib/hiveden-backup /var/backups/hiveden-backup"
ELSEWHERE = "rm /etc/os-release; echo 'ID=elsewhere' >/etc/os-release"


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


def listing(system: System) -> list[tuple[str, str]]:
    rows = json.loads(system.do("hiveden-backup", "list", "--json").stdout)
    return [(row["type"], row["target"]) for row in rows]


def test_sets_up_backs_up_and_lists_and_does_so_again(system: System) -> None:
    """Files, the databases of a container, and the data of a container, which is stopped for it."""
    database = system.engine.postgres(name=unique_name("photos-db"))
    application = system.engine.run(name=unique_name("photos"), binds=["photos_data:/data"])
    scratch = system.engine.run(name=unique_name("scratch"), binds=["scratch:/data"], auto_remove=True)
    started = system.engine.state(application)["StartedAt"]

    first = system.do(QUICKSTART)
    assert f"PostgreSQL in containers: found {database}." in first.stdout
    assert f"Other running containers: found {application} with volume photos_data." in first.stdout
    assert f"leaving out {scratch}" in first.stdout
    next_steps = first.stdout.partition("==> Next")[2]
    assert [line.partition("hiveden-backup")[2].split()[0] for line in next_steps.split("\n")[1:3]] == [
        "restore",
        "verify",
    ]
    assert next_steps.count("\n") == 4
    assert system.engine.is_running(application)
    assert system.engine.state(application)["StartedAt"] != started

    config = system.written(CONFIG)
    assert 'volumes = ["photos_data"]' in config
    again = system.do(QUICKSTART)
    assert "Building" not in again.stdout
    assert system.written(CONFIG) == config
    assert listing(system) == [("application", "quickstart"), ("database", "postgres")] * 2

    system.do("hiveden-backup", "restore", "quickstart/latest", "--to", "/var/restored")
    assert system.written(f"var/restored/{CONFIG}") == config


def test_leaves_containers_alone_when_asked(system: System) -> None:
    application = system.engine.run(name=unique_name("photos"), binds=["photos_data:/data"])
    started = system.engine.state(application)["StartedAt"]
    done = system.do(QUICKSTART, "--leave-containers", "--directory", "/srv/my backups")
    assert 'volumes = ["photos_data"]' in done.stdout.partition("==> Next")[2]
    assert 'volumes = ["photos_data"]' not in system.written(CONFIG)
    assert system.engine.state(application)["StartedAt"] == started
    rows = json.loads(system.do("hiveden-backup", "list", "--json").stdout)
    assert [row["path"].startswith("/srv/my backups/quickstart/") for row in rows] == [True]


def test_leaves_containers_out_when_they_cannot_be_had(system: System) -> None:
    """There is no room for their data: the rest is backed up, and it says so."""
    application = system.engine.run(name=unique_name("photos"), binds=["photos_data:/data"])
    system.engine.execute(application, ["dd", "if=/dev/urandom", "of=/data/photo", "bs=1M", "count=120"])
    small = f"mount -t tmpfs -o size=100m tmpfs /mnt; {QUICKSTART} --directory /mnt/backups; hiveden-backup list --json"
    done = system.do("sh", "-euc", small)
    assert "So the data of containers is left out, for now." in done.stdout
    assert [row["target"] for row in json.loads(done.stdout[done.stdout.rindex("\n[") :])] == ["quickstart"]
    assert "photos_data" not in system.written(CONFIG)


def test_says_what_is_missing(system: System, tmp_path: Path) -> None:
    """A part of the checkout is not there: it is named, and nothing was configured."""
    (tmp_path / "half/packaging").mkdir(parents=True)
    shutil.copy(CHECKOUT / "packaging/quickstart", tmp_path / "half/packaging")
    failed = system.do(QUICKSTART, checkout=tmp_path / "half", status=1)
    assert "/checkout/pyproject.toml is missing" in failed.stderr
    assert not (system.top / "upper" / CONFIG).exists()


@pytest.mark.slow
def test_elsewhere_it_makes_an_environment(system: System) -> None:
    """And on Debian it takes the place of one; either goes by `uninstall`, and backups stay."""
    os_release = Path("/etc/os-release").read_text()
    system.do("sh", "-euc", f"{INSTALLED}; {ELSEWHERE}")
    system.do(QUICKSTART)
    assert system.do("sh", "-c", "command -v hiveden-backup").stdout == "/usr/local/bin/hiveden-backup\n"
    assert listing(system) == [("application", "quickstart")]
    system.do("/checkout/packaging/uninstall")
    system.do("sh", "-c", "! command -v hiveden-backup && test -e /etc/hiveden-backup/config.toml")

    system.do(QUICKSTART)
    (system.top / "upper/etc/os-release").write_text(os_release)
    assert "Removed the older installation" in system.do(QUICKSTART).stdout
    assert system.do("sh", "-c", "command -v hiveden-backup").stdout == "/usr/bin/hiveden-backup\n"
    assert listing(system) == [("application", "quickstart")] * 3
    for _ in range(2):
        system.do("/checkout/packaging/uninstall", "--purge")
    system.do("sh", "-c", "! command -v hiveden-backup && ! test -e /etc/hiveden-backup")
    system.do("sh", "-c", "test $(ls /var/backups/hiveden-backup/quickstart | wc -l) -eq 4")
