"""The Debian package, built once, on a fresh, booted Debian 12 and a fresh, booted Debian 13."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import clone
from tests.support.dockerd import Docker
from tests.support.fresh import FreshMachine
from tests.support.readme import section

PACKAGE = "hiveden-backup"
INSTALL = "apt-get -qq install -y --no-install-recommends"
CONFIG = "/etc/hiveden-backup/config.toml"
UNIT = f"{PACKAGE}@immich"
PATIENCE = 180.0
NEWER = "99.0"
DIGESTS = "cd /srv/backups/immich; find 2* archives -type f -exec sha256sum {} + | sort"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'asset'::regclass"


@dataclass(frozen=True)
class System:
    """A booted release with the package installed."""

    machine: FreshMachine

    @property
    def docker(self) -> Docker:
        assert self.machine.docker
        return self.machine.docker

    def make_application(self) -> None:
        """The containers of the README's first steps, with a file and a table."""
        library = self.machine.srv / "immich/library"
        library.mkdir(parents=True)
        (library / "IMG_7.jpg").write_bytes(b"photo")
        self.docker.run(name="immich_server", binds=["/srv/immich/library:/data"])
        self.docker.postgres(name="immich_postgres", database="immich", programs="/host/usr")
        self.sql("CREATE TABLE asset AS SELECT generate_series(1, 100) AS id")

    def set_up(self, **settings: str) -> None:
        """The README's first steps up to the configuration, with these settings instead of, or beside, its own."""
        self.make_application()
        self.machine.shell(section("First steps")[0])
        job = section("First steps", "toml")[0]
        for key, value in settings.items():
            job = re.sub(rf"^{key} = .*\n", "", job, flags=re.MULTILINE)
            job = job.replace("[jobs.immich]\n", f'[jobs.immich]\n{key} = "{value}"\n')
        config = self.machine.path(CONFIG)
        config.write_text(f"{config.read_text()}\n{job}")

    def psql(self, database: str) -> list[str]:
        return [
            "docker",
            f"--host={self.docker.url}",
            "exec",
            "-i",
            "immich_postgres",
            "psql",
            "-U",
            "postgres",
            "-XAtd",
            database,
        ]

    def sql(self, statement: str, database: str = "immich") -> str:
        done = subprocess.run(self.psql(database), input=statement, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @contextmanager
    def held_run(self) -> Iterator[None]:
        """A run of the job by its unit that has stopped the container, and goes on only after the block."""
        with subprocess.Popen(self.psql("immich"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
            assert session.stdin
            assert session.stdout
            session.stdin.write("BEGIN; LOCK TABLE asset; SELECT 'locked';\n")
            session.stdin.flush()
            while session.stdout.readline() != "locked\n":
                assert session.poll() is None
            self.machine.ok("systemctl", "start", "--no-block", f"{UNIT}.service")
            self.until("the container is stopped", lambda: not self.server_runs())
            self.until("the run waits for the lock", lambda: self.sql(WAITING) == "1")
            yield
            session.stdin.close()

    def server_runs(self) -> bool:
        return self.docker.is_running("immich_server")

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"Still not: {what}\n{self.machine.ok('journalctl', '-n', '50')}"
            time.sleep(0.1)

    def listing(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.machine.ok(PACKAGE, "list", "--json"))
        return rows

    def clear(self, package: Path) -> None:
        """As it is when the package was just installed."""
        self.docker.remove_containers()
        self.machine.shell(
            f"""
            if command -v {PACKAGE} && [ -e {CONFIG} ]; then {PACKAGE} schedule remove; fi
            systemctl stop '{PACKAGE}@*'
            rm -rf {CONFIG} /etc/hiveden-backup/config.d /var/lib/hiveden-backup /srv/backups /srv/immich /var/tmp/*
            {INSTALL} --allow-downgrades /srv/packages/{package.name} >/dev/null
            """
        )


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


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in a version whose modules refuse to be imported by a process of an older one."""
    top = tmp_path_factory.mktemp("newer")
    subprocess.run(["dpkg-deb", "--raw-extract", package, top / "files"], check=True)
    home = top / "files/usr/lib/python3/dist-packages/hiveden_backup"
    initial = home / "__init__.py"
    initial.write_text(re.sub('__version__ = ".*"', f'__version__ = "{NEWER}"', initial.read_text()))
    for module in home.rglob("*.py"):
        refusal = f'\n\nimport hiveden_backup\nassert hiveden_backup.__version__ == "{NEWER}"\n'
        module.write_text(module.read_text() + refusal)
    control = top / "files/DEBIAN/control"
    control.write_text(re.sub("^Version: .*$", f"Version: {NEWER}", control.read_text(), flags=re.MULTILINE))
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", top / "files", top], capture_output=True, check=True)
    return next(top.glob("*.deb"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("13", marks=pytest.mark.xdist_group("package on 13")),
        pytest.param("12", marks=[pytest.mark.xdist_group("package on 12"), pytest.mark.slow]),
    ],
)
def installed(request: pytest.FixtureRequest, package: Path, fresh_bases: Callable[[str], Path]) -> Iterator[System]:
    """A release with the package installed."""
    system = System(FreshMachine(fresh_bases(request.param)))
    try:
        system.machine.boot()
        (system.machine.srv / "packages").mkdir()
        shutil.copy(package, system.machine.srv / "packages")
        system.machine.install(f"/srv/packages/{package.name}", "postgresql-client")
        yield system
    finally:
        system.machine.close()


@pytest.fixture
def system(installed: System, package: Path) -> System:
    installed.clear(package)
    return installed


def test_lintian_has_nothing_to_say(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on", "error,warning", package], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_puts_everything_in_its_place(system: System, package: Path) -> None:
    said = system.machine.shell(
        """
        stat -c '%a %U:%G' /etc/hiveden-backup
        hiveden-backup --version
        systemctl is-enabled hiveden-backup-recover.service
        systemd-analyze verify --man=no /usr/lib/systemd/system/hiveden-backup*
        test -s /usr/share/bash-completion/completions/hiveden-backup
        test -s /usr/share/zsh/vendor-completions/_hiveden-backup
        test -s /usr/share/fish/vendor_completions.d/hiveden-backup.fish
        test -s /usr/share/man/man8/hiveden-backup-config-set.8.gz
        hiveden-backup guide leaving | grep -q pg_restore
        journalctl --list-catalog | grep -q hiveden-backup
        cp /usr/share/doc/hiveden-backup/examples/config.toml /tmp/config.toml
        hiveden-backup --config /tmp/config.toml config get directory
        """
    )
    version = package.name.split("_")[1]
    assert said.splitlines() == ["750 root:hiveden-backup", f"{PACKAGE} {version}", "enabled", "/srv/backups"]


def test_first_steps(system: System) -> None:
    """Installed, configured, checked, scheduled; the timer fires; all comes back."""
    machine = system.machine
    system.set_up(schedule="*-*-* *:*:0/5")
    started = system.docker.state("immich_server")["StartedAt"]
    _, check_and_apply, start_and_list = section("First steps")
    assert "FAIL" not in machine.shell(check_and_apply)

    system.until("the timer fired", lambda: len(system.listing()) >= 2)
    machine.ok("systemctl", "stop", f"{UNIT}.timer")
    assert machine.show(f"{UNIT}.timer", "LastTriggerUSec") != {"LastTriggerUSec": ""}
    system.until("the run ended", lambda: machine.show(f"{UNIT}.service", "ActiveState")["ActiveState"] != "activating")
    assert system.docker.state("immich_server")["StartedAt"] != started
    assert system.server_runs()
    listing = system.listing()
    assert {(row["type"], row["target"]) for row in listing} == {("application", "immich"), ("database", "immich")}
    assert all(row["downtime_seconds"] > 0 for row in listing)

    assert "immich" in machine.shell(start_and_list)
    machine.shell(f"""
        {PACKAGE} verify immich/latest
        {PACKAGE} restore immich/latest --to /var/tmp/restored
        diff -r /srv/immich /var/tmp/restored/srv/immich
        {PACKAGE} restore immich/latest --database immich --as immich_restored
    """)
    assert system.sql("SELECT count(*) FROM asset", "immich_restored") == "100"


def test_upgrade_leaves_a_run_alone(system: System, newer: Path) -> None:
    """It goes on with the code that it began with, though none of that is there any more."""
    system.set_up(dump_lock_timeout="10min")
    system.machine.ok(PACKAGE, "schedule", "apply")
    shutil.copy(newer, system.machine.srv / "packages")
    with system.held_run():
        before = system.machine.show(f"{UNIT}.service", "InvocationID", "MainPID")
        system.machine.shell(f"{INSTALL} /srv/packages/{newer.name} >/dev/null")
        assert NEWER in system.machine.ok(PACKAGE, "--version")
        assert system.machine.show(f"{UNIT}.service", "InvocationID", "MainPID") == before
        assert not system.server_runs()
    system.until(
        "the run ended",
        lambda: system.machine.show(f"{UNIT}.service", "ActiveState")["ActiveState"] in ("inactive", "failed"),
    )
    assert system.machine.show(f"{UNIT}.service", "Result", "InvocationID") == {
        "Result": "success",
        "InvocationID": before["InvocationID"],
    }
    assert len(system.listing()) == 2
    assert system.server_runs()


def test_remove_keeps_backups_and_configuration(system: System) -> None:
    """A run in progress is ended, and its container started. A purge takes the configuration, and never a backup."""
    system.set_up(dump_lock_timeout="10min")
    machine = system.machine
    machine.shell(f"{PACKAGE} schedule apply; {PACKAGE} run immich")
    backups = machine.shell(DIGESTS)
    with system.held_run():
        machine.shell("apt-get -qq remove -y hiveden-backup >/dev/null")
        assert system.server_runs()
    assert machine.run("sh", "-c", f"command -v {PACKAGE}").returncode
    assert machine.ok("find", "/etc/systemd/system", "-name", f"{PACKAGE}@*") == ""
    assert machine.shell(DIGESTS) == backups
    machine.ok("test", "-e", CONFIG)

    machine.shell("apt-get -qq purge -y hiveden-backup >/dev/null")
    assert machine.shell(DIGESTS) == backups
    assert machine.run("ls", "/etc/hiveden-backup", "/var/lib/hiveden-backup").stdout == ""


def test_purge_leaves_backups_anywhere(system: System) -> None:
    """Not even those that somebody put beside the program's own state."""
    machine = system.machine
    machine.shell(f"""
        {PACKAGE} init --directory /var/lib/hiveden-backup/backups
        mkdir -p /var/lib/hiveden-backup/backups/immich
        echo precious >/var/lib/hiveden-backup/backups/immich/data
        apt-get -qq purge -y hiveden-backup >/dev/null
    """)
    assert machine.ok("cat", "/var/lib/hiveden-backup/backups/immich/data") == "precious\n"
