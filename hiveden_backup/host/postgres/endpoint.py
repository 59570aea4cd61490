"""Where a configured server is: by its dsn, or through the socket of the container that it runs in."""

import contextlib
import errno
import os
import pwd
import re
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import (
    ConfigError,
    DeniedError,
    NotFoundError,
    Problem,
    UnreachableError,
)
from hiveden_backup.core.postgres.values import Endpoint, ServerContainer, passfile_passwords
from hiveden_backup.host.disk.durable import read_bounded, read_regular, reopened, translated

_HOST_DIRECTORIES = ("/var/run/postgresql", "/tmp")  # noqa: S108 - where servers listen, not a file of ours
_CONTAINER_DIRECTORIES = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108 - as above
_DEFAULT_PORT = "5432"
_SOCKET = re.compile(r"\.s\.PGSQL\.(\d+)")
_MAX_LINKS = 40
_LONGEST_PASSFILE = 1 << 20
_LONGEST_SETTING = 64 << 10
_PROBE_SECONDS = 5.0
_PEER_CREDENTIALS = struct.Struct("3i")


def dsn_endpoint(source: PostgresSource) -> Endpoint:
    """The server of a source with a dsn. Errors name a passfile or an account that cannot be used."""
    parameters = dict(source.parameters)
    database = parameters.pop("dbname", None)
    password = parameters.pop("password", None)
    parameters.pop("client_encoding", None)  # a dump is in its database's own encoding
    account = _account(source.os_user)
    parameters["user"] = source.user or parameters.get("user") or account.pw_name
    if not any(parameters.get(key) for key in ("host", "hostaddr", "service")):
        parameters["host"] = _host_directory(parameters.get("port", _DEFAULT_PORT))
    if source.passfile is not None:
        parameters["passfile"] = source.passfile
    if "passfile" in parameters:
        _check_passfile(parameters["passfile"], account.pw_uid)
    return Endpoint(
        name=source.server,
        parameters=parameters,
        database=database,
        os_user=source.os_user,
        passwords=() if password is None else (("*", password),),
    )


def container_endpoint(source: PostgresSource, container: ServerContainer) -> Endpoint:
    """The server in a container: through its socket, or over its network where the socket cannot be reached.

    Nothing of the container is believed beyond its own root: links are resolved beneath it, and the process that
    listens must live in it. UnreachableError says what stood in the way.
    """
    if container.pid <= 0:
        raise UnreachableError(
            f"The container {container.name} is not running",
            "Its databases can only be dumped while it runs",
            f"Start it: docker start {container.name}",
        )
    wanted_port = container.environment.get("PGPORT", "")
    try:
        found = _find_socket(container, wanted_port)
        why = f"No server listens in {', '.join(_CONTAINER_DIRECTORIES)} there"
        hint = f"Look at `docker logs {container.name}`"
    except PermissionError:
        found = None
        why = "Its files may not be looked at, and it has no address on a Docker network"
        hint = "Run as root, or give the unit CAP_SYS_PTRACE: hiveden-backup schedule apply"
    user = source.user or _setting(container, "POSTGRES_USER") or "postgres"
    if found is not None:
        directory, inside, port = found
        parameters = {"host": directory, "port": port, "user": user}
        within = {"host": inside, "port": port, "user": user}
    elif container.addresses:
        port = wanted_port or _DEFAULT_PORT
        parameters = {"host": container.addresses[0], "port": port, "user": user}
        within = {"port": port, "user": user}
    else:
        raise UnreachableError(f"The server in the container {container.name} cannot be reached", why, hint)
    return Endpoint(
        name=container.name,
        parameters=parameters,
        passwords=_passwords(source, container, port, user),
        door=container.door,
        inside=within,
        socket_pid=container.pid if found is not None else 0,
    )


def peer_lives_with(connection: socket.socket, pid: int) -> bool:
    """Whether the process that listens at the other end of a unix socket shares the mount namespace of `pid`."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    peer, _uid, _gid = _PEER_CREDENTIALS.unpack(raw)
    if peer <= 0:  # it is in no namespace that we can see
        return False
    try:
        theirs, ours = os.stat(f"/proc/{peer}/ns/mnt"), os.stat(f"/proc/{pid}/ns/mnt")
    except FileNotFoundError:  # one of them has ended
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


@contextlib.contextmanager
def opened_beneath(root: str, path: str) -> Iterator[tuple[int, str]]:
    """`path` as a process whose root is `root` sees it: an O_PATH descriptor, and a path of ours without any link.

    /var/run is an absolute link to /run in most images: opened from outside it would lead to the host's own /run.
    OSError if it is not there.
    """
    with contextlib.ExitStack() as opened:

        def enter(name: str, parent: int | None, flags: int) -> int:
            descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC | flags, dir_fd=parent)
            opened.callback(os.close, descriptor)
            return descriptor

        stack = [("", enter(f"{root}/", None, os.O_DIRECTORY))]
        todo = [part for part in path.split("/") if part not in ("", ".")]
        links = 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                del stack[max(1, len(stack) - 1) :]
                continue
            descriptor = enter(part, stack[-1][1], os.O_NOFOLLOW)
            if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
                stack.append((part, descriptor))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink("", dir_fd=descriptor)
            del stack[1 if target.startswith("/") else len(stack) :]
            todo[:0] = [part for part in target.split("/") if part not in ("", ".")]
        yield stack[-1][1], "/".join([root, *(name for name, _ in stack[1:])])


def _find_socket(container: ServerContainer, port: str) -> tuple[str, str, str] | None:
    """The directory as we see it, as the container sees it, and the port. PermissionError when we may not look."""
    root = f"/proc/{container.pid}/root"
    for inside in _CONTAINER_DIRECTORIES:
        try:
            with opened_beneath(root, inside) as (_, directory):
                ports = sorted(_ports(directory), key=lambda found: (found != _DEFAULT_PORT, int(found)))
        except PermissionError:
            raise
        except OSError:  # not a directory that is there: the next one may be
            continue
        for candidate in [found for found in ports if port in ("", found)]:
            if _listens(f"{directory}/.s.PGSQL.{candidate}", container.pid):
                return directory, inside, candidate
    return None


def _ports(directory: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _SOCKET.fullmatch(entry.name)
            if match is not None and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                yield match[1]


def _listens(path: str, pid: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PROBE_SECONDS)
        try:
            connection.connect(path)
        except (ConnectionRefusedError, FileNotFoundError, TimeoutError, BlockingIOError):
            return False  # left by a server that is gone, or one that is too busy to take us
        return peer_lives_with(connection, pid)


def _passwords(source: PostgresSource, container: ServerContainer, port: str, user: str) -> tuple[tuple[str, str], ...]:
    if source.passfile is None:
        password = _setting(container, "POSTGRES_PASSWORD")
        return () if password is None else (("*", password),)
    _check_passfile(source.passfile, os.geteuid())
    with translated(f"reading the passfile {source.passfile}"):
        text = read_regular(Path(source.passfile), _LONGEST_PASSFILE, follow=True).decode("utf-8", "surrogateescape")
    found = passfile_passwords(text, (container.name, "localhost", *container.addresses), port, user)
    if not found:
        raise DeniedError(
            f"The passfile {source.passfile} has no line for the container {container.name}",
            "A line is host:port:database:user:password",
            f"Add one for {container.name}:{port}:*:{user}",
        )
    return found


def _setting(container: ServerContainer, name: str) -> str | None:
    """A setting of the image: from the environment, or from the file that NAME_FILE points to inside the container."""
    value = container.environment.get(name)
    if value:
        return value
    path = container.environment.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return _read_beneath(f"/proc/{container.pid}/root", path).rstrip("\n")
    except (OSError, ValueError) as error:  # links in a circle, no text, a NUL in the path: what a container makes up
        raise DeniedError(
            f"{name}_FILE of the container {container.name} cannot be read",
            f"{path}: {getattr(error, 'strerror', None) or 'it is no text'}",
            "Run as root, or name `user` and `passfile` in the job's configuration",
        ) from error


def _read_beneath(root: str, path: str) -> str:
    with opened_beneath(root, path) as (descriptor, _), reopened(descriptor, path) as file:
        text = read_bounded(file, _LONGEST_SETTING, path).decode()
    if "\0" in text:
        raise ValueError("it has a NUL")
    return text


def _account(os_user: str | None) -> pwd.struct_passwd:
    if os_user is None:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam(os_user)
    except KeyError as error:
        problem = Problem("", "os_user", f"There is no system account {os_user}", "Name the one that the server trusts")
        raise ConfigError([problem]) from error


def _host_directory(port: str) -> str:
    """Where the local server listens. Said outright, since libpq's default differs from build to build."""
    present = [directory for directory in _HOST_DIRECTORIES if os.path.exists(f"{directory}/.s.PGSQL.{port}")]
    return present[0] if present else _HOST_DIRECTORIES[0]


def _check_passfile(path: str, uid: int) -> None:
    """Refuse a password file that libpq would pass over without a word."""
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"The passfile {path} does not exist", "", "Correct `passfile`, or create it") from error
    except OSError as error:
        raise DeniedError(f"The passfile {path} cannot be read", str(error.strerror), "Run as root") from error
    if not stat.S_ISREG(found.st_mode):
        raise DeniedError(f"The passfile {path} is no regular file", "", "Correct `passfile`")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DeniedError(
            f"The passfile {path} is open to others", "libpq ignores such a file", f"Close it: chmod 600 {path}"
        )
    if uid not in (0, found.st_uid):
        raise DeniedError(
            f"The passfile {path} cannot be read by the account of `os_user`",
            "libpq reads it as that account",
            f"Give it to that account: chown {uid} {path}",
        )
