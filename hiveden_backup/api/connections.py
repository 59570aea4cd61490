"""The connections of each listener: how many there may be, and for how long one may say nothing, or not listen.

uvicorn knows one limit for all listeners together, and waits for ever for the end of a request's head. So whoever
reaches one listener could keep everybody out of the machine's own socket.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Within this, a request's head is there, from its first byte or the connection's beginning to its end."""

KEPT_ALIVE_SECONDS = 15
STUCK_SECONDS = 30.0
"""For so long a client may take nothing of its answer."""

BACKLOG = 128
"""So many more may have been accepted at a time, before they are counted. With all of these, 1024 descriptors do."""

_MOST_LOCAL = 256
_MOST_TCP = 128

Address = tuple[str, int]


def listener_of(server: object, listeners: Collection[Address]) -> Address | None:
    """The listener behind a connection's own address, ("", port) for one that listens everywhere; None: a unix socket.

    `server` is what ASGI's scope has of that name.
    """
    if not isinstance(server, tuple | list) or server[1] is None:
        return None
    address = str(server[0]), int(server[1])
    return address if address in listeners else ("", address[1])


class Connection(H11Protocol):
    """A client's connection, as `Connections` sees it."""

    crowd: "Connections"  # a class made for one crowd has it: uvicorn makes the objects
    _headless_since: float | None = None
    _unsent: tuple[int, float] = (0, 0.0)  # how much of an answer was not taken yet, and since when it is so much

    @property
    def busy(self) -> bool:
        """Whether a request's head is there, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def asks(self) -> bool:
        """Whether all of a request is there, and its answer is not complete."""
        return self.busy and not self.cycle.more_body

    @property
    def unsent(self) -> int:
        """How many bytes of an answer the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def is_late(self, now: float) -> bool:
        """Whether it has kept us waiting for too long. To be asked now and then."""
        if self.unsent != self._unsent[0]:
            self._unsent = self.unsent, now
        stuck = self._unsent[0] > 0 and now - self._unsent[1] > STUCK_SECONDS
        return stuck or (self._headless_since is not None and now - self._headless_since > HEAD_SECONDS)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Count it, and begin to wait for the head of its request."""
        super().connection_made(transport)
        self._headless_since = time.monotonic()
        self.crowd.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see whether the head of a request is there."""
        if not self.busy and self._headless_since is None:
            self._headless_since = time.monotonic()
        super().data_received(data)
        if self.busy:
            self._headless_since = None


class Connections:
    """All connections there are, by their listeners. `listeners` are the addresses on which TCP is listened to."""

    def __init__(self, listeners: Collection[Address], clock: Callable[[], float] = time.monotonic) -> None:
        self._listeners = listeners
        self._clock = clock
        self._of: dict[Address | None, dict[Connection, None]] = {}  # each with the oldest first

    @property
    def protocol(self) -> type[Connection]:
        """For uvicorn: what makes a connection that is one of these."""
        return type("Counted", (Connection,), {"crowd": self})

    @property
    def unsent(self) -> bool:
        """Whether somebody has not taken all of an answer yet."""
        return any(each.unsent for each in self)

    def __iter__(self) -> Iterator[Connection]:
        return iter([each for crowd in self._of.values() for each in crowd])

    def admit(self, newcomer: Connection) -> None:
        """Let one in; where the listener is full, instead of the oldest that asks nothing, if there is any such."""
        listener = listener_of(newcomer.server, self._listeners)
        crowd = self._of.setdefault(listener, {})
        if len(crowd) >= (_MOST_LOCAL if listener is None else _MOST_TCP):
            silent = next((each for each in crowd if not each.asks), newcomer)
            crowd.pop(silent, None)
            silent.transport.abort()
            if silent is newcomer:
                return
        crowd[newcomer] = None

    def leave(self, connection: Connection) -> None:
        """Forget one that is gone."""
        self._of.get(listener_of(connection.server, self._listeners), {}).pop(connection, None)

    def sweep(self) -> None:
        """Hang up on those who keep us waiting. To be called now and then."""
        now = self._clock()
        for each in self:
            if each.is_late(now):
                each.transport.abort()

    def close(self) -> None:
        """Hang up on all who ask nothing."""
        for each in self:
            if not each.busy:
                each.transport.abort()
