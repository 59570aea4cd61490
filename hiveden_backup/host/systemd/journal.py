"""systemd's journal, by its own protocol: one datagram an entry, with fields that may hold anything.

Nothing here waits for an answer; there is none. Written by hand, since systemd's own Python module has to be compiled
against its library, which a virtual environment does not bring along; the protocol is small, documented and stable.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import socket
else:
    socket = Later("socket")

_SOCKET = "/run/systemd/journal/socket"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


def is_stderr() -> bool:
    """Whether what is written to stderr ends up in the journal, by a stream that systemd has connected."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def send(fields: Mapping[str, str]) -> bool:
    """Write an entry; False when the journal cannot be reached."""
    data = encoded(fields)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        try:
            door.connect(_SOCKET)
            try:
                door.send(data)
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                _send_file(door, data)
        except OSError:
            return False
    return True


def encoded(fields: Mapping[str, str]) -> bytes:
    """The fields as journald reads them: with a length where a value has more than one line."""
    parts = []
    for name, value in fields.items():
        key, content = name.encode("ascii"), value.encode("utf-8", "surrogateescape")
        if b"\n" in content:
            parts.append(b"%s\n%s%s\n" % (key, struct.pack("<Q", len(content)), content))
        else:
            parts.append(b"%s=%s\n" % (key, content))
    return b"".join(parts)


def _send_file(door: "socket.socket", data: bytes) -> None:
    """What is too large for a datagram goes as a file in memory that nobody can change any more."""
    descriptor = os.memfd_create("hiveden-backup", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) or 0 :]
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(door, [b""], [file.fileno()])
