"""Docker: containers and volumes as values, stopping and starting, and programs run inside a container.

Only the Engine of this machine makes sense here (the files are on this machine), so its address is a unix socket or
plain tcp. No call waits for ever for an Engine that hangs. Threads may share one.
"""

import contextlib
import errno
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hiveden_backup.core.docker import containers as values
from hiveden_backup.core.docker.containers import Container, ContainerMount, Volume
from hiveden_backup.core.docker.exec_frames import Readable, opened, opening
from hiveden_backup.core.errors import ContainerError, DeniedError, NotFoundError, UnreachableError
from hiveden_backup.core.names import did_you_mean
from hiveden_backup.host.docker.exec_stream import CHUNK, ExecStream
from hiveden_backup.host.later import Later
from hiveden_backup.host.process import Completed, ProcessError

if TYPE_CHECKING:
    import docker
    from docker import errors
else:
    docker, errors = Later("docker"), Later("docker.errors")

__all__ = ["Container", "ContainerMount", "Docker", "Volume", "connect"]

_DEFAULT_URL = "unix:///var/run/docker.sock"
_ANSWER_SECONDS = 10
_PATIENCE_SECONDS = 60  # for one call; a stop gets its own time on top
_POLL_SECONDS = 0.1
_STEADY_SECONDS = 1.0
_EXIT_SECONDS = 30.0  # from the end of a program's output to its exit code
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_TCP_PORT = 2375
_ANY_VERSION = "1.24"  # until the Engine has told its own
_LONGEST_ANSWER = 64 << 20
_LONGEST_HEAD = 1 << 20
_FORBIDDEN = (401, 403, 405)
_NOT_MODIFIED = 304
_NOBODY = "0" * 64
_NOBODY_BEHIND = (502, 503, 504)  # what a proxy says while Docker itself is away
_NOT_STARTED = (126, 127)


@contextlib.contextmanager
def connect(url: str | None = None, *, answer_timeout: int = _ANSWER_SECONDS) -> "Iterator[Docker]":
    """The Engine at `url` (None: DOCKER_HOST, else the default socket), for the block.

    UnreachableError when it does not answer within `answer_timeout` seconds, DeniedError when it may not be asked.
    """
    address = url or os.environ.get("DOCKER_HOST") or _DEFAULT_URL
    if urlsplit(address).scheme not in ("unix", "tcp"):
        raise UnreachableError(
            f"Docker at {address} cannot be used",
            "Only the Docker Engine of this machine can be backed up",
            "Give a unix:// or tcp:// address as `docker` in the configuration, or in DOCKER_HOST",
        )
    with _calling(address, "connecting"):
        api = docker.APIClient(base_url=address, version=_ANY_VERSION, timeout=answer_timeout)
        api.hooks["response"].append(_bounded)
        # What "auto" does, before its answer could be bounded.
        api._version = api._retrieve_server_version()  # type: ignore[attr-defined]  # noqa: SLF001 - the stubs lack them
    with contextlib.closing(api):
        api.timeout = _PATIENCE_SECONDS
        yield Docker(api, address)


class Docker:
    """An Engine that answered once. Every method raises UnreachableError when it does not any more."""

    def __init__(self, api: "docker.APIClient", address: str) -> None:
        self._api = api
        self.address = address

    def ping(self) -> str:
        """The Engine's version, if it answers."""
        with _calling(self.address, "asking for the version"):
            return str(self._api.version()["Version"])

    # ---- looking -----------------------------------------------------------------------------------------------------

    def container(self, name: str) -> Container:
        """The container of exactly this name or full id. NotFoundError has the closest name."""
        record = self._inspect(self._api.inspect_container, "container", name)
        found = values.container(record) if record is not None else None
        if found is not None and name in (found.name, found.id):  # to Docker, the beginning of an id is a name too
            return found
        names = [entry.removeprefix("/") for summary in self._summaries() for entry in summary["Names"] or ()]
        raise _absent("container", name, names, "docker ps --all")

    def containers(self) -> tuple[Container, ...]:
        """All containers, running or not, sorted by name."""
        records = [self._inspect(self._api.inspect_container, "container", each["Id"]) for each in self._summaries()]
        found = [values.container(record) for record in records if record is not None]  # some may just have gone
        return tuple(sorted(found, key=lambda container: container.name))

    def volume(self, name: str) -> Volume:
        """The volume of this name. NotFoundError has the closest name."""
        record = self._inspect(self._api.inspect_volume, "volume", name)
        if record is not None:
            return values.volume(record)
        with _calling(self.address, "listing the volumes"):
            names = [volume["Name"] for volume in self._api.volumes()["Volumes"] or ()]
        raise _absent("volume", name, names, "docker volume ls")

    def create_volume(self, name: str, labels: Mapping[str, str], options: Mapping[str, str]) -> Volume:
        """Make a local volume; one that is there stays as it is."""
        with _calling(self.address, f"creating the volume {name}"):
            return values.volume(self._api.create_volume(name, "local", dict(options), dict(labels)))

    def _inspect(self, ask: Callable[[str], Any], kind: str, name: str) -> Mapping[str, Any] | None:
        """What Docker knows; None when there is nothing of that name."""
        if _NAME.fullmatch(name) is None:  # it would become another path of Docker's API
            return None
        try:
            with _calling(self.address, f"looking at the {kind} {name}"):
                record: Mapping[str, Any] = ask(name)
        except NotFoundError:
            return None
        return record

    def _summaries(self) -> list[Mapping[str, Any]]:
        with _calling(self.address, "listing the containers"):
            return list(self._api.containers(all=True))

    # ---- stopping and starting ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Wait no longer than that for an answer, for the block, in every thread. A stop gets its own time on top."""
        before = self._api.timeout
        self._api.timeout = min(before, math.ceil(seconds))
        try:
            yield
        finally:
            self._api.timeout = before

    def stop(self, container: Container, timeout: float) -> Container | None:
        """Stop it: TERM (or its own stop signal), KILL after `timeout` seconds. Returns it as it is then, down.

        None when it was down already: then somebody else stopped it. DeniedError and NotFoundError say for certain
        that nothing was stopped; after any other error nobody knows.
        """
        seconds = math.ceil(timeout)
        with _calling(self.address, f"stopping the container {container.name}"):
            if not self._change(f"/containers/{container.id}/stop", self._api.timeout + seconds, t=seconds):
                return None
        stopped = self.container(container.id)
        if stopped.running:
            raise ContainerError(
                f"The container {container.name} runs again right after it was stopped",
                "Something else starts it",
                "Look for what does, with `docker events`",
            )
        return stopped

    def start(self, container: Container, patience: float = _PATIENCE_SECONDS) -> None:
        """Start it; one that runs already is left alone. ContainerError with Docker's reason when it refuses.

        `patience` is for how many seconds the answer is waited for, a minute at most.
        """
        with _calling(self.address, f"starting the container {container.name}"):
            self._change(f"/containers/{container.id}/start", min(patience, _PATIENCE_SECONDS))

    def check_allowed(self) -> None:
        """DeniedError when a proxy lets nobody stop or start containers: it is asked to, with one that cannot be."""
        for verb in ("stop", "start"):
            with contextlib.suppress(NotFoundError), _calling(self.address, f"asking whether containers may {verb}"):
                self._change(f"/containers/{_NOBODY}/{verb}", self._api.timeout)

    def _change(self, path: str, seconds: float, **parameters: int) -> bool:
        """Ask for a change; whether there was anything to do, which the SDK keeps to itself."""
        url = f"{self._api.base_url}/v{self._api.api_version}{path}"
        response = self._api.post(url, params=parameters, timeout=seconds)
        try:
            response.raise_for_status()
        except OSError as error:  # what requests raises for a status
            errors.create_api_error_from_http_exception(error)  # type: ignore[arg-type]  # it raises
        return response.status_code != _NOT_MODIFIED

    def wait_running(self, container: Container, timeout: float, *, steady: float = _STEADY_SECONDS) -> Container:
        """Wait until it was up for `steady` seconds without a restart. ContainerError as soon as it ended instead.

        As every wait here, it lasts through an outage of Docker.
        """
        since, started_at = time.monotonic(), None

        def lasting(now: Container) -> bool:
            nonlocal since, started_at
            if not now.up:
                started_at = None
            elif started_at != now.started_at:
                since, started_at = time.monotonic(), now.started_at
            return now.up and time.monotonic() - since >= min(steady, timeout / 2)

        return self._wait(container, timeout, lasting, "is not steadily running")

    def wait_healthy(self, container: Container, timeout: float) -> Container:
        """Wait until its health check passes; one without a check is healthy at once. ContainerError when it ended."""
        return self._wait(container, timeout, lambda now: now.up and now.health in (None, "healthy"), "is not healthy")

    def _wait(self, container: Container, timeout: float, done: Callable[[Container], bool], failing: str) -> Container:
        deadline = time.monotonic() + timeout
        hint = f"Look at `docker logs {container.name}`"
        while True:
            try:
                now = self.container(container.id)
            except UnreachableError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)
                continue
            if done(now):
                return now
            if now.status in ("exited", "dead", "removing"):
                why = f"It ended with exit code {now.exit_code}{f': {now.error}' if now.error else ''}"
                raise ContainerError(f"The container {now.name} does not stay up", why, hint)
            if time.monotonic() >= deadline:
                state = now.health if now.up and now.health else now.status
                why = f"It is `{state}`{f', and ended with exit code {now.exit_code}' if now.exit_code else ''}"
                raise ContainerError(f"The container {now.name} {failing} after {timeout:.0f} seconds", why, hint)
            time.sleep(_POLL_SECONDS)

    # ---- programs inside ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def exec_stream(
        self,
        container: Container,
        argv: Sequence[str],
        *,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        stdin: Readable | None = None,
        seconds: float | None = None,
    ) -> Iterator[ExecStream]:
        """Run a program inside, without a terminal; iterating over the stream gives its output as it comes.

        `environment` is added to the container's; secrets go there. It has `seconds` in all, if given. Leaving the
        block waits for the end: ProcessError when the exit code is not 0, ContainerError when the output was cut off.
        Leaving it by an exception lets go of the program, which Docker leaves running: the caller ends it by other
        means.
        """
        program = os.path.basename(argv[0])
        with _calling(self.address, f"running {program} in the container {container.name}"):
            created = self._api.exec_create(
                container.id, list(argv), stdin=stdin is not None, user=user, environment=dict(environment or {})
            )
            exec_id = str(created["Id"])
            connection, early = self._hijack(exec_id)
        with connection:
            ended = partial(self._exec_ended, container, program, exec_id)
            translated = partial(_translated, self.address, "talking to a program in a container")
            stream = ExecStream(connection, early, stdin, translated, ended)
            if seconds is not None:
                stream.limit(seconds)
            yield stream
            for _ in stream:  # what the caller did not want
                pass
        status = self._exit_code(container, program, exec_id)
        if status != 0:
            said = stream.last if status in _NOT_STARTED else b""  # Docker's own words, as if they were output
            raise ProcessError(Completed(program, status, b"", stream.stderr + said))

    def _hijack(self, exec_id: str) -> tuple[socket.socket, bytes]:
        """A connection that carries the program's streams from here on, and what it carried already.

        The SDK's own way loses bytes that arrive together with the head of the answer.
        """
        path, answer = f"/v{self._api.api_version}/exec/{exec_id}/start", b""
        with contextlib.ExitStack() as undo:
            connection = undo.enter_context(_dial(self.address))
            connection.sendall(opening(path, b'{"Detach":false,"Tty":false}'))
            while (early := _opened(answer)) is None:
                data = connection.recv(CHUNK)
                if not data or len(answer) > _LONGEST_HEAD:
                    raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
                answer += data
            undo.pop_all()
        return connection, early

    def _exec_ended(self, container: Container, program: str, exec_id: str) -> int | None:
        """The exit code; None while it runs."""
        doing = f"asking how {program} ended in the container {container.name}"
        try:
            with _calling(self.address, doing):
                record = self._api.exec_inspect(exec_id)
        except NotFoundError as error:
            raise _cut_off(container, program) from error
        if not record["Running"] and record["ExitCode"] is None:
            raise _cut_off(container, program)
        return None if record["Running"] else int(record["ExitCode"])

    def _exit_code(self, container: Container, program: str, exec_id: str) -> int:
        deadline = time.monotonic() + _EXIT_SECONDS
        while (status := self._exec_ended(container, program, exec_id)) is None:
            if time.monotonic() >= deadline:
                raise _cut_off(container, program)
            time.sleep(_POLL_SECONDS / 10)
        return status


def _bounded(response: Any, **_: object) -> None:
    """Read an answer of the Engine as a whole, before the SDK does so without a limit."""
    response.raw.decode_content = True
    content = bytearray()
    while data := response.raw.read(CHUNK):
        content += data
        if len(content) > _LONGEST_ANSWER:
            response.close()
            raise OSError(errno.EMSGSIZE, f"It answers with more than {_LONGEST_ANSWER >> 20} MiB")
    response._content = bytes(content)  # noqa: SLF001 - where requests keeps what it has read
    response._content_consumed = True  # noqa: SLF001


@contextlib.contextmanager
def _calling(address: str, doing: str) -> Iterator[None]:
    """A call of the SDK. `doing` is a clause: "stopping the container web"."""
    with _translated(address, doing):
        _dial(address).close()  # the SDK says less clearly that nobody is there, and leaks its socket then
        yield


def _dial(address: str) -> socket.socket:
    parts = urlsplit(address)
    if parts.scheme == "tcp":
        return socket.create_connection((parts.hostname or "localhost", parts.port or _TCP_PORT), _PATIENCE_SECONDS)
    with contextlib.ExitStack() as undo:
        connection = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connection.settimeout(_PATIENCE_SECONDS)
        connection.connect(f"/{parts.netloc}{parts.path}".replace("//", "/"))
        undo.pop_all()
    return connection


@contextlib.contextmanager
def _translated(address: str, doing: str) -> Iterator[None]:
    """Turn what the SDK and sockets raise into our errors."""
    what = f"{doing[:1].upper()}{doing[1:]} failed"
    try:
        yield
    except errors.NotFound as error:
        raise NotFoundError(what, str(error.explanation)) from error
    except errors.APIError as error:
        if error.status_code in _FORBIDDEN:
            raise DeniedError(
                what,
                f"Docker at {address} forbids it: {error.explanation}",
                "If that is a proxy, let it pass on the starting and stopping of containers",
            ) from error
        if error.status_code in _NOBODY_BEHIND:
            why = f"{what}: what listens there says {error.status_code}"
            raise UnreachableError(
                f"Docker does not answer at {address}", why, "Look at `systemctl status docker`"
            ) from error
        raise ContainerError(what, f"Docker says: {error.explanation}") from error
    except (errors.DockerException, OSError, ValueError) as error:  # requests' own errors are OSErrors
        if isinstance(error, PermissionError):
            raise DeniedError(
                f"Docker at {address} may not be asked", "Permission denied", "Run as root, or through the systemd unit"
            ) from error
        why = f"{what}: {getattr(error, 'strerror', None) or error}"
        hint = "Look at `systemctl status docker`"
        raise UnreachableError(f"Docker does not answer at {address}", why, hint) from error


def _absent(kind: str, name: str, names: Iterable[str], command: str) -> NotFoundError:
    hint = did_you_mean(name, names, f"`{command}` shows those that there are")
    return NotFoundError(f"There is no {kind} {name}", "", hint)


def _cut_off(container: Container, program: str) -> ContainerError:
    return ContainerError(
        f"{program} in the container {container.name} was cut off",
        "Docker does not tell how it ended: the container or Docker itself was ended",
        "Run again when both are up",
    )


def _opened(answer: bytes) -> bytes | None:
    try:
        return opened(answer)
    except ValueError as error:
        raise ContainerError("Docker refused to run a program in a container", f"Docker says: {error}") from error
