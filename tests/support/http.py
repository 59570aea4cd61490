"""A plain HTTP client for the API, on a unix socket or TCP, and the service behind a socket that was handed over."""

import contextlib
import functools
import http.client
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.job import Site, site, until

_ACCEPTS = 0x10000  # __SO_ACCEPTCON, among the flags of /proc/net/unix
SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def ok(self, status: int = 200) -> Any:
        """Its JSON, after a look at the status."""
        assert self.status == status, (self.status, self.body)
        assert self.headers["content-type"] == "application/json"
        return self.json

    def problem(self, *statuses: int) -> str:
        """The detail of the document that says what went wrong, after a look at whether it is a whole one."""
        assert self.status in statuses, (self.status, self.body)
        assert self.headers["content-type"] == "application/problem+json"
        document = self.json
        assert document["status"] == self.status
        assert isinstance(document["type"], str)
        assert isinstance(document["title"], str)
        detail = document["detail"]
        assert isinstance(detail, str)
        assert detail
        assert "Traceback" not in detail
        return detail


@dataclass(frozen=True)
class Client:
    """A client of the API at a socket's path, or at (host, port)."""

    address: str | tuple[str, int]

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request, with a JSON body unless it is bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("POST", path, body)

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is open."""
        connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
        connection.sock = self.connected()
        return connection

    def connected(self) -> socket.socket:
        """A connected socket."""
        if not isinstance(self.address, str):
            return socket.create_connection(self.address, SECONDS)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(SECONDS)
        try:
            made.connect(self.address)
        except BaseException:
            made.close()
            raise
        return made

    def raw(self, data: bytes, *, more: bool = False) -> bytes:
        """What comes back when just these bytes are sent; with `more`, the other end cannot know that this is all."""
        with self.connected() as connection:
            received = bytearray()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may hang up before it has heard all
                connection.sendall(data)
                if not more:
                    connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while chunk := connection.recv(65536):
                    received += chunk
        return bytes(received)


@dataclass(frozen=True)
class Service:
    """`hiveden-backup serve` as socket activation starts it: with the first connection."""

    process: "subprocess.Popen[str]"
    local: Client
    tcp: tuple[Client, ...]

    def end(self) -> tuple[int, str]:
        """Wait until it ends by itself; its status and what it said."""
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said


@contextlib.contextmanager
def serving(site: Site, tcp: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """The service on a unix socket, and on a free port of each of the addresses `tcp`."""
    path = site.path / f"{secrets.token_hex(4)}.sock"
    ports = [free_port(host) for host in tcp]
    listen = [f"--listen={path}", *(f"--listen={_joined(host, port)}" for host, port in zip(tcp, ports, strict=True))]
    inherited = {**site.environment, "HIVEDEN_BACKUP_CONFIG": str(site.config), **(environment or {})}
    names = ("PYTHONPATH", "STATE_DIRECTORY", "TMPDIR", "HIVEDEN_BACKUP_CONFIG")
    renamed = "ignore:'autocompletion' is renamed:DeprecationWarning"  # typer 0.7 wants the name that later ones refuse
    program = [sys.executable, "-W", "error", "-W", renamed, "-m", "hiveden_backup", "serve"]
    process = subprocess.Popen(
        ["systemd-socket-activate", *listen, *(f"--setenv={name}" for name in names), *program],
        env=inherited,
        cwd=site.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(functools.partial(_is_listened_to, path), f"{path} listens")
        hosts = [(_reached(host), port) for host, port in zip(tcp, ports, strict=True)]
        for address in hosts:
            until(functools.partial(_is_open, address), f"{address} listens")
        yield Service(process, Client(str(path)), tuple(Client(address) for address in hosts))
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation with two jobs of files, and a backup of one of them."""
    with site(tmp_path_factory.mktemp("api")) as made:
        (made.data / "tree").mkdir()
        (made.data / "tree/file").write_text("content")
        jobs: dict[str, dict[str, Any]] = {
            "files": {"paths": [str(made.data / "tree")], "schedule": "*-*-* 02:30", "max_age": "9000d"},
            "other": {"paths": [str(made.data)], "schedule": "Mon *-*-01..07 03:00"},
        }
        made.configure(jobs, retention={"keep_last": 7}, api={"idle": "600s"})
        made.init()
        made.run("run", "files").succeeded()
        yield made


@pytest.fixture(scope="module")
def api(place: Site) -> Iterator[Client]:
    """The service over them."""
    with serving(place) as service:
        yield service.local


def free_port(host: str) -> int:
    """A port that nobody has."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reached(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _is_listened_to(path: Path) -> bool:
    """As `_is_open`, of a unix socket: it has its name a moment before it listens."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    found = [line.split() for line in lines if line.endswith(f" {path}")]
    return any(int(fields[3], 16) & _ACCEPTS for fields in found)


def _is_open(address: tuple[str, int]) -> bool:
    """Whether somebody listens, by the kernel's table: a connection would start the service."""
    host, port = address
    with open("/proc/net/tcp6" if ":" in host else "/proc/net/tcp", encoding="ascii") as table:
        return any(
            line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table.readlines()[1:]
        )
