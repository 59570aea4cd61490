"""A real Docker Engine for tests, on a private socket, with images made on the spot; nothing of it stays behind.

The firewall and the machine's own Docker are left alone: containers reach each other and this machine over a bridge of
their own when they ask for `network_mode="bridge"`, and have no network otherwise, which starts faster.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from docker.api import APIClient

from tests.support import cgroups, images
from tests.support.holders import own_mount

START_SECONDS = 60.0
END_SECONDS = 60.0
LOG_LINES = 40

KEEP_RUNNING = ("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done")
"""A command that runs until it is asked to end."""
IGNORE_TERM = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
"""A command that only SIGKILL ends."""


class Docker:
    """A dockerd that runs: `url` is its address, `api` a client for what tests arrange and look at."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._api: APIClient | None = None

    def connect(self) -> None:
        """Open the client."""
        self._api = APIClient(base_url=self.url, version="auto", timeout=60)

    def disconnect(self) -> None:
        """Close the client, if it is open."""
        if self._api is not None:
            self._api.close()
            self._api = None

    @property
    def api(self) -> APIClient:
        if self._api is None:
            raise AssertionError("this dockerd does not run")
        return self._api

    # ---- containers --------------------------------------------------------------------------------------------------

    def create(
        self,
        argv: Sequence[str] = KEEP_RUNNING,
        *,
        name: str | None = None,
        image: str = images.BUSYBOX,
        config: Mapping[str, Any] | None = None,
        **host: Any,
    ) -> str:
        """Make a container and return its name.

        `config` are more arguments of create_container (labels, environment, healthcheck, stop_signal ...), `host` are
        those of create_host_config (binds, restart_policy, pid_mode ...).
        """
        images.ensure(self.api, image)
        name = name or unique_name()
        settings = {"network_mode": "none", **host}
        self.api.create_container(
            image, list(argv), name=name, host_config=self.api.create_host_config(**settings), **(config or {})
        )
        return name

    def run(self, argv: Sequence[str] = KEEP_RUNNING, **options: Any) -> str:
        """As `create`, and start it."""
        name = self.create(argv, **options)
        self.api.start(name)
        return name

    def postgres(
        self,
        *,
        user: str = images.USER,
        password: str = images.PASSWORD,
        database: str = "",
        major: str = "",
        settings: Mapping[str, str] | None = None,
        programs: str = "/usr",
        **options: Any,
    ) -> str:
        """Start a PostgreSQL server (the machine's own programs) as the official image does; wait until it accepts.

        The data directory is /var/lib/postgresql/data inside. Its sockets are in /var/run/postgresql, where /var/run is
        an absolute link to /run. `settings` are server settings, `programs` is where
        the dockerd sees this machine's /usr, `options` are those of `create`.
        """
        config = dict(options.pop("config", {}))
        config["environment"] = {
            "POSTGRES_USER": user,
            "POSTGRES_PASSWORD": password,
            "POSTGRES_DB": database or user,
            "PATH": f"{images.postgres_programs(major)}:/usr/sbin:/usr/bin",
            **config.get("environment", {}),
        }
        config.setdefault("stop_signal", "SIGINT")
        argv = ["/start.sh", *(f"--{key}={value}" for key, value in (settings or {}).items())]
        binds = [f"{programs}:/usr:ro", *options.pop("binds", ())]
        name = self.run(argv, image=images.POSTGRES, binds=binds, config=config, **options)
        self.wait_postgres(name)
        return name

    def wait_postgres(self, name: str) -> None:
        """Wait until the PostgreSQL server in the container accepts connections."""
        deadline = time.monotonic() + START_SECONDS
        ready = [f"{images.postgres_programs('')}/pg_isready", "--quiet", "--host=/run/postgresql"]
        while time.monotonic() < deadline and self.is_running(name):
            if self.execute(name, ready) == 0:
                return
            time.sleep(0.05)
        pytest.fail(f"PostgreSQL in {name} does not come up:\n{self.api.logs(name, tail=LOG_LINES).decode()}")

    def execute(self, name: str, argv: Sequence[str]) -> int:
        """Run a program in a running container; its exit status."""
        identifier = self.api.exec_create(name, list(argv))["Id"]
        self.api.exec_start(identifier)
        return int(self.api.exec_inspect(identifier)["ExitCode"])

    def state(self, name: str) -> Mapping[str, Any]:
        """`docker inspect`'s State."""
        state: Mapping[str, Any] = self.api.inspect_container(name)["State"]
        return state

    def is_running(self, name: str) -> bool:
        return bool(self.state(name)["Running"])

    def names(self) -> set[str]:
        """All containers, running or not."""
        return {summary["Names"][0].removeprefix("/") for summary in self.api.containers(all=True)}

    def remove_containers(self, *, but: frozenset[str] = frozenset()) -> None:
        """Remove all containers with their anonymous volumes, but those with the given ids."""
        for summary in self.api.containers(all=True):
            if summary["Id"] not in but:
                with contextlib.suppress(docker.errors.NotFound):  # --rm ones go by themselves
                    self.api.remove_container(summary["Id"], force=True, v=True)


class Engine(Docker):
    """A dockerd of our own, to be started and ended by tests."""

    def __init__(self, *, network: bool) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hb-"))
        self.socket = self.directory / "docker.sock"
        if len(os.fsencode(self.socket)) > 100:
            pytest.fail(f"TMPDIR is too long for unix sockets: {self.socket}")
        super().__init__(f"unix://{self.socket}")
        self._mount = contextlib.ExitStack()
        self._mount.enter_context(own_mount(self.directory))  # what restores of its volumes keep stays in here
        self.process: subprocess.Popen[bytes] | None = None
        self._bridge = _make_bridge(self.directory) if network else None

    # ---- its life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        program = shutil.which("dockerd") or pytest.fail("dockerd is not installed: apt-get install docker.io")
        (self.directory / "daemon.json").write_text("{}")
        options = {
            "config-file": self.directory / "daemon.json",
            "data-root": self.directory / "data",
            "exec-root": self.directory / "exec",
            "exec-opt": "native.cgroupdriver=cgroupfs",  # the machine's systemd is not asked
            "cgroup-parent": f"/{self.directory.name}",
            "pidfile": self.directory / "pid",
            "host": self.url,
            "bridge": self._bridge or "none",
            "iptables": "false",
            "ip-forward": "false",
            "ip-masq": "false",
            "shutdown-timeout": "2",
        }
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [program, *(f"--{name}={value}" for name, value in options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")},
                start_new_session=True,  # a Ctrl-C is not for it
            )
        self._wait_until_it_answers(self.process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._listens():
                self.connect()
                return
            time.sleep(0.05)
        pytest.fail(f"dockerd does not come up (status {process.poll()}). The end of its log:\n{self.log_tail()}")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def pid(self) -> int:
        if self.process is None:
            raise AssertionError("the Engine is not running")
        return self.process.pid

    def stop(self) -> None:
        """End it as systemd would: it takes its containers along."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would: containers run on until it is started again."""
        self._end(signal.SIGKILL)
        # Its containerd dies too, but looks alive to the next dockerd until init has reaped it.
        (self.directory / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def _end(self, how: signal.Signals) -> None:
        self.disconnect()
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"dockerd does not end. The end of its log:\n{self.log_tail()}")
        finally:
            self.process = None

    def close(self) -> None:
        """End it and remove all that it made, even after a crash."""
        try:
            if self._api is not None:
                self.remove_containers()
            self.stop()
        finally:
            _end_processes_of(self.directory)
            _unmount_below(self.directory)
            cgroups.remove(self.directory.name)
            self._mount.close()
            shutil.rmtree(self.directory)
            if self._bridge is not None:
                subprocess.run(["ip", "link", "delete", self._bridge], check=True)

    def log_tail(self) -> str:
        lines = (self.directory / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


def unique_name(prefix: str = "c") -> str:
    """A name that no other container or volume has."""
    return f"{prefix}-{secrets.token_hex(4)}"


# ---- what is left ----------------------------------------------------------------------------------------------------


def _make_bridge(directory: Path) -> str | None:
    """A network bridge of our own; None where the kernel or the tools do not give one (then there is no network).

    Its name is in the file `bridge`, for who has to clean up after us.
    """
    first, second = secrets.token_bytes(2)
    name, address = f"hbt{secrets.token_hex(4)}", f"10.{200 + first % 50}.{second}.1/24"
    try:
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    (directory / "bridge").write_text(name)
    subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    return name


def _end_processes_of(directory: Path) -> None:
    """End what dockerd left: its containerd and shims carry our directory in their arguments."""
    mark = os.fsencode(directory) + b"/"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if mark in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)


def _unmount_below(directory: Path) -> None:
    below = f"{directory}/"
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(below)]):
        subprocess.run(["umount", "--lazy", mount], check=True)


# ---- fixtures --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_engine(*, network: bool = False) -> Iterator[Engine]:
    """An Engine for the block."""
    engine = Engine(network=network)
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def dockerd() -> Iterator[Engine]:
    """The Engine that all tests share. What they make in it stays: most want `engine` instead."""
    with running_engine(network=True) as engine:
        yield engine


@pytest.fixture
def engine(dockerd: Engine) -> Iterator[Engine]:
    """The shared Engine; containers and volumes made by the test are removed after it."""
    containers = frozenset(summary["Id"] for summary in dockerd.api.containers(all=True))
    volumes = {volume["Name"] for volume in dockerd.api.volumes()["Volumes"] or ()}
    yield dockerd
    dockerd.remove_containers(but=containers)
    for volume in dockerd.api.volumes()["Volumes"] or ():
        if volume["Name"] not in volumes:
            dockerd.api.remove_volume(volume["Name"])


@pytest.fixture
def private_dockerd() -> Iterator[Engine]:
    """An Engine for one test alone, to be stopped, killed and started again in it."""
    with running_engine() as engine:
        yield engine
