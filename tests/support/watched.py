"""Who touches what: a listener that counts connections, and a file whose opening is seen."""

import contextlib
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_OPEN, _ACCESS = 0x20, 0x1


@dataclass
class Listener:
    """A port of this machine. `heard` has what each connection began with."""

    port: int
    heard: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def listening() -> Iterator[Listener]:
    """A listener for the block, which hangs up on everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Listener(server.getsockname()[1])

        def listen() -> None:
            with contextlib.suppress(OSError):  # it is closed
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(5)
                        found.heard.append(connection.recv(1024))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


class Watch:
    """A file, and how often it was opened or read since the last look."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._descriptor, os.fsencode(path), _OPEN | _ACCESS) > 0

    def events(self) -> int:
        """How many there were."""
        return len(self._masks())

    def opens(self) -> int:
        """How often it was opened."""
        return sum(bool(mask & _OPEN) for mask in self._masks())

    def _masks(self) -> list[int]:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return []
        return [mask for _, mask, _, _ in struct.iter_unpack("iIII", data)]  # of a file: none has a name

    def close(self) -> None:
        os.close(self._descriptor)
