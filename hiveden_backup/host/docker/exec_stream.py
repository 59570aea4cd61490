"""The connection that carries the streams of a program in a container: fed and read at the same time."""

import math
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from hiveden_backup.core.docker.exec_frames import STDERR, STDOUT, Frames, Readable
from hiveden_backup.core.errors import ContainerError

CHUNK = 1 << 18
_KEPT_STDERR = 1 << 22
_SILENCE_SECONDS = 60  # of a program's output, before the Engine is asked whether both are still there


class ExecStream:
    """The output of a program in a container, in pieces of bytes. It can be gone through once.

    `translated` turns what sockets raise into our errors; `ended` asks the Engine how the program ended, None while it
    runs.
    """

    def __init__(
        self,
        connection: socket.socket,
        early: bytes,
        stdin: Readable | None,
        translated: Callable[[], AbstractContextManager[None]],
        ended: Callable[[], object],
    ) -> None:
        self._connection = connection
        self._deadline = math.inf
        self._patience: float = _SILENCE_SECONDS
        self._connection.settimeout(self._patience)
        self._stdin = stdin
        self._unsent = memoryview(b"")
        self._translated = translated
        self._ended = ended
        self._stderr = bytearray()
        self._buffer = memoryview(bytearray(CHUNK))  # a new one for each piece doubles the cost
        self._pieces = self._read(early)
        self.last = b""  # piece of output

    def limit(self, seconds: float) -> None:
        """All of it is to come within so many seconds; else going through it ends with a ContainerError."""
        self._deadline = time.monotonic() + seconds
        self._patience = min(seconds, self._patience)
        self._connection.settimeout(self._patience)

    @property
    def stderr(self) -> bytes:
        """The end of what it said so far on its error output."""
        return bytes(self._stderr)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def _read(self, early: bytes) -> Iterator[bytes]:
        frames = Frames()
        data: bytes | memoryview = early or self._receive()
        while data:
            for kind, piece in frames.feed(data):
                if kind == STDOUT:
                    self.last = piece
                    yield piece
                elif kind == STDERR:
                    self._stderr += piece
                    del self._stderr[:-_KEPT_STDERR]
            data = self._receive()
        if not frames.whole:
            raise ContainerError("The output of a program in a container was cut off", "Its container or Docker ended")

    def _receive(self) -> memoryview:
        """The next bytes, none at the end, in a buffer that the next call fills anew; feeds the program meanwhile."""
        with self._translated():
            while True:
                if time.monotonic() >= self._deadline:
                    raise ContainerError("A program in a container did not come to its end in time")
                try:
                    if self._stdin is not None:
                        self._feed()
                    return self._buffer[: self._connection.recv_into(self._buffer)]
                except TimeoutError:  # asks the Engine, which raises when that hangs
                    if self._ended() is not None:
                        return self._buffer[:0]

    def _feed(self) -> None:
        """Give the program its input until it says something, or all is given. TimeoutError when neither goes on."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | select.POLLOUT)
        while self._stdin is not None:
            events = poll.poll(self._patience * 1000)
            if not events:
                raise TimeoutError
            if events[0][1] & ~select.POLLOUT:
                return
            self._unsent = self._unsent or memoryview(self._stdin.read(CHUNK))
            self._send()

    def _send(self) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[self._connection.send(self._unsent, socket.MSG_DONTWAIT) :]
            else:
                self._stdin = None
                self._connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it does not want more; its exit code tells whether that is right
            self._stdin = None
