"""The stream in which Docker mixes a program's output and its errors: frames of an 8-byte header and content.

It begins with the head of an HTTP answer, after which the connection belongs to the program.

Written by hand though the docker package has `docker.utils.socket.frames_iter`: that takes a stream that was cut off in
the middle of a frame for a whole one, cannot feed the program in the meantime, waits for ever for an Engine that
hangs, and loses what arrives together with the head. It is not faster either: 375 MiB of frames take 0.11 s of
CPU there and 0.08 here, with docker 5.0 and 7.2 alike; a dump out of a container takes as long with both.
"""

import json
import struct
from collections.abc import Iterator
from typing import Protocol

STDOUT = 1
STDERR = 2

_SWITCHING_PROTOCOLS, _OK = 101, 200
_HEADER = struct.Struct(">BxxxL")


class Readable(Protocol):
    """What a program is fed from, in pieces."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, `size` at most; none at the end."""
        ...


class Frames:
    """Takes the stream in pieces of any size and gives the frames' content in pieces, each with its frame's kind."""

    def __init__(self) -> None:
        self._header = b""
        self._kind = 0
        self._left = 0

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
        """The content in `data`. It is copied once, and never held back until a frame is whole."""
        rest = memoryview(data)
        while rest:
            if self._left:
                piece, rest = rest[: self._left], rest[self._left :]
                self._left -= len(piece)
                yield self._kind, bytes(piece)
            else:
                missing = _HEADER.size - len(self._header)
                self._header += rest[:missing]
                rest = rest[missing:]
                if len(self._header) == _HEADER.size:
                    self._kind, self._left = _HEADER.unpack(self._header)
                    self._header = b""

    @property
    def whole(self) -> bool:
        """Whether the stream may end here: no header and no content is missing."""
        return not self._header and not self._left


def opening(url_path: str, body: bytes) -> bytes:
    """The HTTP request that turns a connection into a program's streams."""
    head = (
        f"POST {url_path} HTTP/1.1",
        "Host: docker",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: Upgrade",
        "Upgrade: tcp",
    )
    return "".join(f"{line}\r\n" for line in (*head, "")).encode("ascii") + body


def opened(answer: bytes) -> bytes | None:
    """What of the stream came along with the answer's head; None while that is not complete.

    ValueError with Docker's reason when it refused.
    """
    head, end, rest = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    status = head.split(b" ", 2)[1]
    if int(status) in (_SWITCHING_PROTOCOLS, _OK):
        return rest
    try:
        reason = str(json.loads(rest)["message"])
    except (ValueError, KeyError, TypeError):
        reason = rest.decode("utf-8", "replace").strip()
    raise ValueError(reason or f"HTTP status {status.decode()}")
