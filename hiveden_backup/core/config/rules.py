"""What a single text of the configuration must look like: one small rule per kind.

A rule takes the text and returns what is wrong with it, or None.
"""

import posixpath
import re
import unicodedata
from collections.abc import Callable, Mapping

from hiveden_backup.core.config.keys import quoted
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.names import is_docker_name

_DOCKER_SCHEMES = ("unix://", "tcp://", "http://", "https://", "ssh://")
_DATABASE_BYTES = 63


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a value, as the message and hint of a problem."""

    message: str
    hint: str = ""


Rule = Callable[[str], Fault | None]

_SECRET = re.compile(r"password|://[^/]*:[^/]*@", re.IGNORECASE)


def plain(text: str) -> Fault | None:
    """Any text at all: not empty, and nothing that breaks a line, a path or a unit file. The text is not quoted."""
    kinds = {unicodedata.category(char) for char in text}
    if "Cc" in kinds:
        return Fault("contains a control character", "Remove it")
    if "Cs" in kinds:  # half a surrogate pair: what Python makes of bytes that are no UTF-8
        return Fault("is not UTF-8")
    return None if text.strip() else Fault("is empty")


def absolute_path(text: str) -> Fault | None:
    """An absolute, normalized path."""
    if not text.startswith("/"):
        return Fault(f"{_shown(text)} is not an absolute path", "Begin it with /")
    normal = "/" + posixpath.normpath(text).lstrip("/")
    return None if text == normal else Fault(f"{_shown(text)} is not a normalized path", f"Write {quoted(normal)}")


def backup_directory(text: str) -> Fault | None:
    """An absolute, normalized path other than the root."""
    if text == "/":
        return Fault('"/" cannot be the backup directory', "Name a directory of its own")
    return absolute_path(text)


def container_name(text: str) -> Fault | None:
    """A name that Docker gives to a container."""
    return _docker_name(text, "container", "docker ps -a --format '{{.Names}}'")


def volume_name(text: str) -> Fault | None:
    """A name that Docker gives to a volume."""
    if text.startswith("/"):
        return Fault(f"{_shown(text)} is not the name of a Docker volume", "Directories belong in paths")
    return _docker_name(text, "volume", "docker volume ls")


def _docker_name(text: str, kind: str, command: str) -> Fault | None:
    if is_docker_name(text):
        return None
    return Fault(f"{_shown(text)} cannot be the name of a Docker {kind}", f"Look at `{command}`")


def database_name(text: str) -> Fault | None:
    """A name that PostgreSQL keeps whole."""
    if len(text.encode()) <= _DATABASE_BYTES:
        return None
    return Fault(f"{_shown(text)} is longer than the {_DATABASE_BYTES} bytes that PostgreSQL keeps of a name")


def docker_address(text: str) -> Fault | None:
    """An address of a Docker daemon, without a password in it. The text is quoted only when it has none."""
    scheme = next((scheme for scheme in _DOCKER_SCHEMES if text.startswith(scheme)), "")
    rest = text.removeprefix(scheme)
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        return Fault("contains a password", "Use a socket, or ssh:// with a key")
    if not scheme:
        return Fault(f"{_shown(text)} is not an address of Docker", "Begin it with unix://, tcp://, https:// or ssh://")
    if not rest or (scheme == "unix://" and not rest.startswith("/")):
        return Fault(f"{_shown(text)} is incomplete", 'An example: "unix:///run/docker.sock"')
    return None


def dsn(parameters: Mapping[str, str]) -> Fault | None:
    """What a libpq connection string says, without secrets."""
    from hiveden_backup.core.postgres.conninfo import secrets  # noqa: PLC0415 - few configurations have one

    found = secrets(parameters)
    if not found:
        return None
    return Fault(f"contains a secret ({', '.join(found)})", "Put the password into a file and name it in passfile")


def _shown(text: str) -> str:
    """The text for a message, unless a connection string with a password may have got into the wrong place."""
    return "the value" if _SECRET.search(text) else quoted(text)
