"""A server that is none: it speaks PostgreSQL's protocol as far as it likes, and then freezes, lies, or never ends."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

_SSL, _GSS = 80877103, 80877104
_PIECE = 1 << 16

Answer: TypeAlias = Callable[[socket.socket], None]
"""What it does once it was asked something."""


def message(kind: bytes, content: bytes) -> bytes:
    """One message of the protocol."""
    return kind + struct.pack("!i", len(content) + 4) + content


READY = message(b"Z", b"I")
_COLUMN = b"n\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
_COLUMNS = message(b"1", b"") + message(b"2", b"") + message(b"T", struct.pack("!h", 1) + _COLUMN)
WELCOME = (
    message(b"R", struct.pack("!i", 0))
    + b"".join(
        message(b"S", name + b"\0" + value + b"\0")
        for name, value in ((b"server_version", b"16.4"), (b"client_encoding", b"UTF8"), (b"is_superuser", b"on"))
    )
    + message(b"K", struct.pack("!ii", 4711, 1))
    + READY
)


def row(value: bytes) -> bytes:
    """A row of one column."""
    return message(b"D", struct.pack("!hi", 1, len(value)) + value)


def silence(_client: socket.socket) -> None:
    """Say nothing at all."""


def without_end(piece: bytes, head: bytes = b"", pause: float = 0.0) -> Answer:
    """Say `head`, and then the same again and again; once in a while with a `pause`."""

    def answer(client: socket.socket) -> None:
        client.sendall(head)
        many = piece if pause else piece * max(1, _PIECE // len(piece))
        while True:
            client.sendall(many)
            time.sleep(pause)

    return answer


def once(content: bytes) -> Answer:
    """Say one thing to each question."""
    return lambda client: client.sendall(content)


ANSWERS = {
    "silence": silence,
    "rows": without_end(row(b"x"), _COLUMNS),
    "wide rows": without_end(row(b"x" * 200_000), _COLUMNS),
    "empty rows": without_end(message(b"D", struct.pack("!h", 0)), _COLUMNS),
    "one value": without_end(b"x" * 4096, _COLUMNS + b"D" + struct.pack("!ihi", 1 << 30, 1, (1 << 30) - 10)),
    "a length of 2 GiB": once(_COLUMNS + b"D" + struct.pack("!ihi", 2**31 - 1, 1, 2**31 - 11)),
    "a negative length": once(_COLUMNS + b"D" + struct.pack("!ihi", -5, 1, -7)),
    "notices": without_end(message(b"N", b"SNOTICE\0C00000\0M\x1b[2J" + b"x" * 500 + b"\0\0")),
    "settings": without_end(message(b"S", b"name\0" + b"x" * 500 + b"\0")),
    "results": without_end(message(b"C", b"SELECT 0\0"), message(b"1", b"") + message(b"2", b"")),
    "garbage": once(bytes(range(256)) * 20),
    "another answer": once(_COLUMNS + row(b"1") + row(b"\xff\xfe") + message(b"C", b"SELECT 2\0") + READY),
    "a long error": once(message(b"E", b"SERROR\0CXX000\0M\x1b[31m" + b"x" * 5_000_000 + b"\0\0") + READY),
}
"""What it answers to questions, by what that is."""


@contextlib.contextmanager
def false_server(
    folder: Path, answer: Answer, *, welcome: bytes = WELCOME, more: Answer = silence, tcp: bool = False
) -> Iterator[str]:
    """The connection string of one; it lets everybody in by `welcome` and `more`; `answer` is what they get then."""
    if tcp:
        listener = socket.create_server(("127.0.0.1", 0))
        dsn = f"host=127.0.0.1 port={listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / ".s.PGSQL.5432"))
        listener.listen()
        dsn = f"host='{folder}' port=5432"
    clients: list[socket.socket] = []
    with listener:
        threading.Thread(target=_accept, args=(listener, clients, welcome, more, answer), daemon=True).start()
        try:
            yield f"{dsn} user=tester dbname=postgres"
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for client in clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)


def _accept(
    listener: socket.socket, clients: list[socket.socket], welcome: bytes, more: Answer, answer: Answer
) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            clients.append(client)
            threading.Thread(target=_serve, args=(client, welcome, more, answer), daemon=True).start()


def _serve(client: socket.socket, welcome: bytes, more: Answer, answer: Answer) -> None:
    with contextlib.suppress(OSError), client:
        while struct.unpack("!ii", client.recv(8, socket.MSG_WAITALL))[1] in {_SSL, _GSS}:
            client.sendall(b"N")
        client.recv(_PIECE)
        client.sendall(welcome)
        more(client)
        while client.recv(_PIECE):
            answer(client)
