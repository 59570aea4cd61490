"""What stands before the application: admission, bounded bodies, `/api` as another way in, and a look at the clock."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any

from starlette.concurrency import run_in_threadpool

from hiveden_backup.api.access import Refusal, Visitor, judge, read_token
from hiveden_backup.api.connections import Address, listener_of
from hiveden_backup.api.launcher import Launcher
from hiveden_backup.api.problems import problem
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.same_origin import LOOPBACK, OUR_HEADER, Head, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 65536
_BODY_SECONDS = 30.0
_REFUSED_BODY_SECONDS = 2.0
_LOOKED_AT_AT_ONCE = 4
_PREFIX = "/api"


class Guard:
    """An application with its doorkeeper. `listeners` are the addresses on which TCP is listened to."""

    def __init__(self, app: Application, launcher: Launcher, listeners: frozenset[Address]) -> None:
        self._app = app
        self._launcher = launcher
        self._listeners = listeners
        self._at_the_door = asyncio.Semaphore(_LOOKED_AT_AT_ONCE)  # strangers leave the other threads to who is let in
        self.serving = 0
        self._quiet_since = time.monotonic()

    @property
    def quiet_seconds(self) -> float:
        """For how long nothing has been asked."""
        return 0.0 if self.serving else time.monotonic() - self._quiet_since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is spoken here, not {scope['type']}")
        self.serving += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self.serving -= 1
            self._quiet_since = time.monotonic()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = await self._refusal(scope)
        body = b""
        if refused is not None:
            await _let_speak(scope, receive)
        else:
            try:
                body = await asyncio.wait_for(_read(scope, receive), _BODY_SECONDS)
            except _TooLargeError:
                detail = f"A body has {LARGEST_BODY} bytes at most."
                refused = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
            except TimeoutError:
                refused = Refusal(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.")
            except _GoneError:
                return
        if refused is not None:
            headers = {"connection": "close"}
            if refused.status is HTTPStatus.UNAUTHORIZED:
                headers["www-authenticate"] = "Bearer"
            await problem(refused.status, refused.detail, headers=headers)(scope, receive, send)
            return
        await self._app(_without_prefix(scope), _replayed(body, receive), send)

    async def _refusal(self, scope: Scope) -> Refusal | None:
        listener = listener_of(scope.get("server"), self._listeners)
        reason = refusal(_head(scope), LOOPBACK if listener is None else LOOPBACK | own_names(str(scope["server"][0])))
        if reason:
            return Refusal(HTTPStatus.FORBIDDEN, reason)
        if listener is None:
            return None
        visitor = Visitor(
            listener=listener[0],
            authorization=_headers(scope, b"authorization"),
            hosts=_headers(scope, b"host"),
        )

        def look() -> Refusal | None:
            api = self._launcher.installation.config.api
            return judge(visitor, api, read_token(api.token_file))

        try:
            async with self._at_the_door:
                return await run_in_threadpool(look)
        except BackupError as error:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"Nobody can be let in on TCP. {error}")


def own_names(address: str) -> frozenset[str]:
    """What this machine is called by who comes in by one of its addresses."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    text = f"[{found}]" if isinstance(found, IPv6Address) else str(found)
    return frozenset({text, socket.gethostname().lower()})


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


def _head(scope: Scope) -> Head:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return Head(
        method=scope["method"],
        target=raw.decode("latin-1"),
        hosts=_headers(scope, b"host"),
        origins=_headers(scope, b"origin"),
        sites=_headers(scope, b"sec-fetch-site"),
        content_types=_headers(scope, b"content-type"),
        marked=bool(_headers(scope, OUR_HEADER.lower().encode())),
    )


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The whole body: all of ours are small, and so no endpoint ever waits for a slow client."""
    if any(not length.isdecimal() or int(length[:20]) > LARGEST_BODY for length in _headers(scope, b"content-length")):
        raise _TooLargeError
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


async def _let_speak(scope: Scope, receive: Receive) -> None:
    """Wait for the rest of what is refused: whoever is cut off in the middle of it does not hear why."""
    with contextlib.suppress(_TooLargeError, _GoneError, TimeoutError):
        await asyncio.wait_for(_read(scope, receive), _REFUSED_BODY_SECONDS)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what else comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _without_prefix(scope: Scope) -> Scope:
    path: str = scope["path"]
    if path != _PREFIX and not path.startswith(f"{_PREFIX}/"):
        return scope
    raw: bytes = scope.get("raw_path") or path.encode()
    return {**scope, "path": path[len(_PREFIX) :] or "/", "raw_path": raw[len(_PREFIX) :] or b"/"}
