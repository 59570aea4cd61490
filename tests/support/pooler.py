"""A pooler in front of a server, as people have it: Debian's own pgbouncer, ended by its own pid."""

import contextlib
import os
import pwd
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.job import until
from tests.support.postgres import ACCOUNT, SUPERUSER, Server

_CONFIGURATION = """
[databases]
* = host={sockets} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
default_pool_size = 1
{more}
"""


@contextlib.contextmanager
def pooled(server: Server, mode: str, more: str = "") -> Iterator[str]:
    """The connection string of a pooler that has one session of the server for all who ask."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="hb-pooler-") as name:
        top = Path(name)
        users, configuration = top / "users", top / "pgbouncer.ini"
        users.write_text(f'"{SUPERUSER}" ""\n')
        text = _CONFIGURATION.format(
            sockets=server.sockets, server_port=server.port, port=port, users=users, mode=mode, more=more
        )
        configuration.write_text(text)
        for path in (top, users, configuration):
            os.chown(path, pwd.getpwnam(ACCOUNT).pw_uid, -1)
        process = subprocess.Popen(
            ["pgbouncer", configuration],
            user=ACCOUNT,
            group=pwd.getpwnam(ACCOUNT).pw_gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: _listens(port) or process.poll() is not None, "the pooler listens")
            if process.poll() is not None:
                pytest.fail("pgbouncer does not start")
            yield f"host=127.0.0.1 port={port} user={SUPERUSER}"
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
