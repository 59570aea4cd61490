"""Clients that keep the API waiting, many of them: nobody else has to wait for it."""

import asyncio
import contextlib
import functools
import resource
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hiveden_backup.api import connections, serve
from hiveden_backup.api.app import application
from hiveden_backup.api.connections import Connections
from hiveden_backup.api.guard import Guard
from hiveden_backup.api.launcher import Launcher
from hiveden_backup.jobs.installation import Installation
from tests.support.http import Client, free_port, serving
from tests.support.job import Site, until

HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_A_BODY = b"POST /backups HTTP/1.1\r\nHost: localhost\r\nX-Hiveden-Backup: 1\r\nContent-Length: 9\r\n\r\n{"
WHOLE_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def crowd(client: Client, number: int, says: bytes, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Many who begin, and never end; who is hung up on in the middle of it stays with its end."""
    made = []
    for _ in range(number):
        connection = stack.enter_context(contextlib.closing(client.connected()))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(says)
        made.append(connection)
    return made


@pytest.mark.parametrize("says", [HALF_A_HEAD, HALF_A_BODY])
def test_the_machines_own_door_stays_open(place: Site, says: bytes) -> None:
    """However many come on TCP, and with however few descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))  # as systemd has it, for the service, too
        service = stack.enter_context(serving(place, ["127.0.0.1"]))
        service.local.get("/healthz").ok()
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(2):
            crowd(service.tcp[0], 530, says, stack)
            began = time.monotonic()
            service.local.get("/healthz").ok()
            assert time.monotonic() - began < 5
        service.tcp[0].get("/healthz").problem(401)  # and who asks gets in there, too


class Running:
    """The server in a thread, with times that a test can wait for."""

    def __init__(self, place: Site, idle: float) -> None:
        self.path = place.path / f"{time.monotonic_ns()}.sock"
        local, tcp = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)
        local.bind(str(self.path))
        tcp.bind(("127.0.0.1", free_port("127.0.0.1")))
        listeners = frozenset({tcp.getsockname()})
        known = Installation(place.config, place.state, functools.partial(datetime.now, UTC))
        launcher = Launcher(known, None, (), {})
        guard = Guard(application(launcher), launcher, listeners)
        for each in (local, tcp):
            each.listen()
        self.local, self.tcp = Client(str(self.path)), Client(tcp.getsockname())
        served = serve._serve(guard, Connections(listeners), [local, tcp], idle)
        self.thread = threading.Thread(target=asyncio.run, args=(served,), daemon=True)
        self.thread.start()

    def ends(self) -> bool:
        """Whether it has ended."""
        return not self.thread.is_alive()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connections, "STUCK_SECONDS", 1.0)


@contextlib.contextmanager
def running(place: Site, idle: float = 3.0) -> Iterator[Running]:
    made = Running(place, idle)
    yield made
    until(made.ends, "the server has ended", 30)


def closed_after(connection: socket.socket, drip: bytes = b"") -> float:
    """How long it takes until the other end hangs up."""
    began = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - began < 20:
        try:
            connection.sendall(drip)
            if connection.recv(65536) == b"":
                break
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            break
    return time.monotonic() - began


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("says", "drip"), [(b"", b""), (HALF_A_HEAD, b""), (HALF_A_HEAD, b"x"), (WHOLE_HEAD + HALF_A_HEAD, b"x")]
)
def test_a_head_comes_within_its_time(place: Site, says: bytes, drip: bytes) -> None:
    """Also one that comes byte by byte, and the second one of a connection."""
    with running(place, 8.0) as server, contextlib.ExitStack() as stack:
        (local,) = crowd(server.local, 1, says, stack)
        (tcp,) = crowd(server.tcp, 1, says, stack)
        for each in (local, tcp):
            assert closed_after(each, drip) < 6


@pytest.mark.usefixtures("hasty")
def test_an_answer_that_nobody_takes(place: Site) -> None:
    """It holds neither a place nor the end up."""
    with running(place) as server, contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(server.local.connected()))
        connection.settimeout(2)
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        until(server.ends, "the server has ended", 30)


def test_half_a_head_does_not_keep_it_up(place: Site) -> None:
    with running(place, 1.0) as server, contextlib.ExitStack() as stack:
        crowd(server.local, 20, HALF_A_HEAD, stack)
        crowd(server.tcp, 20, HALF_A_HEAD, stack)
        began = time.monotonic()
        until(server.ends, "the server has ended", 30)
        assert time.monotonic() - began < 8
