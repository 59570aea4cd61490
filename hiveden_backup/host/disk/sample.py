"""Pieces of files read to see what compression makes of them, before a run decides whether it fits."""

import os
import stat

from hiveden_backup.host import process
from hiveden_backup.host.disk.stream import compressor


def piece(path: bytes, offset: int, length: int) -> bytes:
    """Some bytes of a file, "" where it is none any more, or cannot be read: the pass that archives it says so."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_NOATIME)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, length, offset) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def compressed_size(data: bytes, level: int) -> int:
    """How many bytes are left of `data`."""
    return len(process.run(compressor(level), stdin=data).stdout)
