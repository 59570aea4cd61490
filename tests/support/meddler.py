"""A proxy that stands between the program and a server: it counts, refuses, cuts, delays, hangs, and goes away."""

import contextlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

PASS, HANG, DROP, OLD = "pass", "hang", "drop", "old"
FORBIDDEN, GATEWAY = "403 Forbidden", "503 Service Unavailable"
DENIED, BROKEN, SLOW_DOWN, FULL = "403 AccessDenied", "500 InternalError", "503 SlowDown", "507 InsufficientStorage"
CONNECTION = "CONNECTION"
"""The method of what is no HTTP: a rule is asked once for each connection."""

_CHUNK = 1 << 16
_PATIENCE = 30.0
_REMEMBERED = 1 << 20

Rule = Callable[[str, str], str]
Address = Path | tuple[str, int]


def cut(sent: int) -> str:
    """An answer: so many bytes of what is sent come through, then the line is dead."""
    return f"cut {sent}"


def truncate(received: int) -> str:
    """An answer: so many bytes of what comes back get through, headers and all, then the line is dead."""
    return f"truncate {received}"


def delay(seconds: float) -> str:
    """An answer: passed on after a while."""
    return f"delay {seconds}"


def shift(seconds: float) -> str:
    """An answer: passed on as what a machine would have sent whose clock is so much ahead."""
    return f"shift {seconds}"


@dataclass
class Meddler:
    """`rule` says what becomes of a request: pass, hang, drop, cut, truncate, delay, shift, old, or a status (403 ...).

    Old is what the same request was answered before. `requests` are all that came, as METHOD PATH. It listens at
    `place` and speaks to `server`; `http` says whether it understands what is said: else all that is said in one
    connection is one request. `error` makes the body of its own answers, of their status.
    """

    server: Address
    place: Address
    rule: Rule = lambda _method, _path: PASS
    requests: list[str] = field(default_factory=list)
    http: bool = True
    error: Callable[[str], bytes] = lambda status: status.encode()
    sent: int = 0
    _listener: socket.socket | None = None
    _closing: bool = False
    _answers: dict[str, bytes] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """How many requests came, by method."""
        return Counter(request.split(" ")[0] for request in self.requests)

    def forget(self) -> None:
        """Count from here."""
        self.requests.clear()
        self.sent = 0

    def up(self) -> None:
        """Listen (again)."""
        listener = socket.socket(_family(self.place))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(_address(self.place))
        listener.listen(64)
        if not isinstance(self.place, Path):
            self.place = listener.getsockname()[:2]
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Be away: nobody listens."""
        if self._listener is not None:
            if isinstance(self.place, Path):
                self.place.unlink()
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def away(self, seconds: float) -> None:
        """Go away, and come back after a while by itself."""
        self.down()
        threading.Timer(seconds, self.up).start()

    def close(self) -> None:
        self._closing = True
        self.down()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        """One request for each connection, then it is closed."""
        with client, contextlib.suppress(OSError):
            if not self.http:
                self.requests.append(f"{CONNECTION} ")
                self._obey(client, self.rule(CONNECTION, ""), CONNECTION, b"", b"")
                return
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
            kept = [line for line in lines if not line.lower().startswith(b"connection:")]
            passed = b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n\r\n"
            self._obey(client, self.rule(method, path), f"{method} {path}", passed, body)

    def _obey(self, client: socket.socket, answer: str, request: str, head: bytes, body: bytes) -> None:
        verb, _, value = answer.partition(" ")
        if answer == HANG:
            while not self._closing:
                time.sleep(0.05)
        elif answer == OLD and request in self._answers:
            client.sendall(self._answers[request])
        elif answer in (PASS, OLD):
            self._relay(client, request, head, body)
        elif verb == "delay":
            time.sleep(float(value))
            self._relay(client, request, head, body)
        elif verb == "shift":
            self._relay(client, request, _at(head, float(value)), body, ahead=float(value))
        elif verb == "cut":
            self._relay(client, request, head, body, up=int(value))
        elif verb == "truncate":
            self._relay(client, request, head, body, down=int(value))
        elif answer != DROP:
            self._refuse(client, answer, head, body)

    def _refuse(self, client: socket.socket, status: str, head: bytes, body: bytes) -> None:
        said = self.error(status)
        if b"expect: 100-continue" not in head.lower():  # else it waits for the answer before it sends the rest
            _drain(client, head, len(body))
        client.sendall(
            f"HTTP/1.1 {status}\r\nContent-Type: {'application/json' if said[:1] == b'{' else 'application/xml'}\r\n"
            f"Content-Length: {len(said)}\r\nConnection: close\r\n\r\n".encode()
            + said
        )

    def _relay(
        self,
        client: socket.socket,
        request: str,
        head: bytes,
        body: bytes,
        *,
        up: int = -1,
        down: int = -1,
        ahead: float = 0,
    ) -> None:
        with socket.socket(_family(self.server)) as server:
            server.connect(_address(self.server))
            server.sendall(head)
            heard: list[bytes] = []
            threading.Thread(target=self._send, args=(client, server, body, up), daemon=True).start()
            change = partial(_at, seconds=-ahead) if ahead else None
            if _pump(server, client, down, heard, change) <= _REMEMBERED and down < 0:
                self._answers[request] = b"".join(heard)
            client.shutdown(socket.SHUT_RDWR)

    def _send(self, client: socket.socket, server: socket.socket, first: bytes, most: int) -> None:
        with contextlib.suppress(OSError):
            counted = first if most < 0 else first[:most]
            server.sendall(counted)
            self.sent += len(counted)
            self.sent += _pump(client, server, most - len(counted) if most >= 0 else -1)
            server.shutdown(socket.SHUT_WR)  # else the server waits for the rest of what was given up
            if most >= 0:
                client.shutdown(socket.SHUT_RDWR)
                server.shutdown(socket.SHUT_RDWR)


def _at(head: bytes, seconds: float) -> bytes:
    """A request or an answer as if it were made so much later, as far as they say when that is.

    A request to S3 does so, and is signed with that; the server looks at the time before it looks at the signature.
    """
    told = datetime.now(UTC) + timedelta(seconds=seconds)
    asked = re.sub(rb"(?im)^(x-amz-date: )\w+", rb"\g<1>" + f"{told:%Y%m%dT%H%M%SZ}".encode(), head)
    return re.sub(rb"(?im)^(date: )[^\r\n]+", rb"\g<1>" + format_datetime(told, usegmt=True).encode(), asked, count=1)


def _pump(
    source: socket.socket,
    target: socket.socket,
    most: int = -1,
    heard: list[bytes] | None = None,
    change: Callable[[bytes], bytes] | None = None,
) -> int:
    """Pass on what comes, all or at most so many bytes, its beginning changed; how many there were."""
    passed = 0
    with contextlib.suppress(OSError):
        while most < 0 or passed < most:
            data = source.recv(_CHUNK if most < 0 else min(_CHUNK, most - passed))
            if not data:
                break
            if change is not None:
                data, change = change(data), None
            target.sendall(data)
            passed += len(data)
            if heard is not None and passed <= _REMEMBERED:
                heard.append(data)
    return passed


def _drain(client: socket.socket, head: bytes, have: int) -> None:
    """Take the rest of a request: who is answered before all was sent may see no answer."""
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    client.settimeout(_PATIENCE)
    while have < length and (data := client.recv(_CHUNK)):
        have += len(data)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET


def _address(address: Address) -> str | tuple[str, int]:
    return str(address) if isinstance(address, Path) else address


@contextlib.contextmanager
def between(made: Meddler) -> Iterator[Meddler]:
    """That proxy, up for the block."""
    made.up()
    try:
        yield made
    finally:
        made.close()


def times(count: int, answer: str, method: str = "", within: str = "") -> Rule:
    """A rule: `answer` to the first `count` requests of a method whose path has `within` in it; all else passes."""
    left = [count]

    def rule(asked: str, path: str) -> str:
        if left[0] > 0 and method in ("", asked) and within in path:
            left[0] -= 1
            return answer
        return PASS

    return rule
