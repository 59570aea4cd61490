"""A proxy in front of a Docker Engine, as people put there: it counts, refuses, hangs and goes away."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PASS, HANG, DROP = "pass", "hang", "drop"
FORBIDDEN, GATEWAY = "403 Forbidden", "503 Service Unavailable"
_CHUNK = 1 << 16

Rule = Callable[[str, str], str]


def asked_to(verb: str, answer: str) -> Rule:
    """A rule: `answer` (hang, drop or a status) to every request to stop or to start a container; all else passes."""
    return lambda method, path: answer if method == "POST" and path.partition("?")[0].endswith(f"/{verb}") else PASS


@dataclass
class Proxy:
    """`url` is its address; `rule` says what becomes of a request: pass, hang, drop, or a status such as 403.

    `requests` are all that came, as METHOD PATH.
    """

    engine: Path
    place: Path
    rule: Rule = lambda _method, _path: PASS
    requests: list[str] = field(default_factory=list)
    _server: socket.socket | None = None
    _closing: bool = False

    @property
    def url(self) -> str:
        return f"unix://{self.place}"

    def up(self) -> None:
        """Listen (again)."""
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.place))
        server.listen(64)
        self._server = server
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()

    def down(self) -> None:
        """Be away: nobody listens."""
        if self._server is not None:
            self.place.unlink()
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None

    def away(self, seconds: float) -> None:
        """Go away, and come back after a while by itself."""
        self.down()
        threading.Timer(seconds, self.up).start()

    def close(self) -> None:
        self._closing = True
        self.down()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        """One request for each connection, then it is closed."""
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(_CHUNK)
                if not data:
                    return
                head += data
            head, _, body = head.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            method, path, _ = first.decode().split(" ")
            self.requests.append(f"{method} {path}")
            answer = self.rule(method, path)
            if answer == HANG:
                while not self._closing:
                    time.sleep(0.05)
            elif answer == PASS:
                kept = [line for line in lines if not line.lower().startswith(b"connection:")]
                self._relay(client, b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n\r\n" + body)
            elif answer != DROP:
                said = b'{"message":"the proxy says so"}'
                client.sendall(
                    f"HTTP/1.1 {answer}\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + said
                )

    def _relay(self, client: socket.socket, request: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(str(self.engine))
            engine.sendall(request)
            threading.Thread(target=_pump, args=(client, engine), daemon=True).start()
            _pump(engine, client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)


@contextlib.contextmanager
def proxy(engine: Path, place: Path) -> Iterator[Proxy]:
    """A proxy for the block, which listens at `place`."""
    made = Proxy(engine, place)
    made.up()
    try:
        yield made
    finally:
        made.close()
