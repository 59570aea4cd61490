"""The server on the sockets that systemd handed over. It ends by itself when nothing has been asked for a while."""

import asyncio
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from hiveden_backup.api.app import application
from hiveden_backup.api.connections import BACKLOG, KEPT_ALIVE_SECONDS, Address, Connections
from hiveden_backup.api.guard import Guard
from hiveden_backup.api.launcher import Launcher
from hiveden_backup.core.config.values import Api
from hiveden_backup.core.errors import BackupError, UsageError
from hiveden_backup.core.model import Trigger
from hiveden_backup.jobs.installation import Installation

_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)
_HANDED_ON = ("HIVEDEN_BACKUP_CONFIG", "DOCKER_HOST", "PYTHONPATH", "TZ")
_TICK_SECONDS = 0.5
_LAST_CALL_SECONDS = 3.0  # more than that


def serve(config: Path, state: Path, program: str) -> int:
    """Serve until idle, or until a signal; the exit status. `program` is the command line's path, "" for a module."""
    environment = {name: os.environ[name] for name in _HANDED_ON if os.environ.get(name)}
    environment["STATE_DIRECTORY"] = str(state)
    command = (program,) if program else (sys.executable, "-P", "-m", "hiveden_backup")
    runtime = Path(os.environ["RUNTIME_DIRECTORY"]) if os.environ.get("RUNTIME_DIRECTORY") else None
    installation = Installation(config, state, lambda: datetime.now(UTC), trigger=Trigger.API)
    launcher = Launcher(installation, runtime, command, environment)
    try:
        sockets = handed_over()
    except BackupError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a command's end
        return error.exit_code
    listeners = _tcp_addresses(sockets)
    guard = Guard(application(launcher), launcher, listeners)
    asyncio.run(_serve(guard, Connections(listeners), sockets, _idle_seconds(launcher)))
    return 0


def handed_over() -> list[socket.socket]:
    """The listening sockets that systemd left us. UsageError when there are none."""
    count = os.environ.pop("LISTEN_FDS", "")
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        raise UsageError(
            "No socket was handed over",
            "The API is started by systemd, when somebody connects",
            "Say: systemctl enable --now hiveden-backup-api.socket",
        )
    os.environ.pop("LISTEN_FDNAMES", None)
    sockets = [socket.socket(fileno=_FIRST_DESCRIPTOR + number) for number in range(int(count))]
    for each in sockets:
        each.set_inheritable(False)
        each.setblocking(False)
    return sockets


def _tcp_addresses(sockets: list[socket.socket]) -> frozenset[Address]:
    tcp = [each.getsockname() for each in sockets if each.family in {socket.AF_INET, socket.AF_INET6}]
    return frozenset((str(address[0]), int(address[1])) for address in tcp)


def _idle_seconds(launcher: Launcher) -> float:
    """A broken configuration is told to whoever asks; it does not keep the service from answering."""
    try:
        return launcher.installation.config.api.idle
    except BackupError:
        return Api().idle


async def _serve(guard: Guard, connections: Connections, sockets: list[socket.socket], idle: float) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            interface="asgi3",
            loop="asyncio",
            http=connections.protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEPT_ALIVE_SECONDS,
        )
    )
    watches = [
        asyncio.create_task(_end_when_idle(server, guard, connections, idle)),
        asyncio.create_task(_sweep(connections)),
    ]
    try:
        await server.serve(sockets=sockets)
    finally:
        for watch in watches:
            watch.cancel()


async def _sweep(connections: Connections) -> None:
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        connections.sweep()


async def _end_when_idle(server: uvicorn.Server, guard: Guard, connections: Connections, idle: float) -> None:
    """End the server once nothing was asked for `idle` seconds. Nobody who comes meanwhile is turned away.

    Listening stops first: from then on a newcomer waits in systemd's socket, and starts the service anew. Who was let
    in just before is served. Who says nothing does not count.
    """
    while guard.quiet_seconds < idle or connections.unsent or not server.started:  # noqa: ASYNC110 - what is waited for is that nothing happens
        await asyncio.sleep(min(_TICK_SECONDS, idle))
    for listener in server.servers:
        listener.close()
    await asyncio.sleep(_TICK_SECONDS)
    last_call = time.monotonic() + _LAST_CALL_SECONDS
    while guard.serving or (server.server_state.connections and time.monotonic() < last_call):  # noqa: ASYNC110 - as above
        await asyncio.sleep(_TICK_SECONDS)
    connections.close()
    server.should_exit = True
