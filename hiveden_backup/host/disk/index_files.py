"""Index files: how the records of a backup's index, and the lists that a pass works on, come off the disk."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from hiveden_backup.core.backup.index import join_records, split_records
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.host.disk.durable import opened
from hiveden_backup.host.disk.stream import chunks, decompressed

_BLOCK = 16 << 10
_BATCH = 4096


@contextmanager
def records(index: Path | None, entries: int) -> Iterator[Iterator[bytes]]:
    """The records of a finished index, which has `entries` of them; none without an index.

    CorruptError when it cannot be decoded, or has more: what a few bytes of others unpack to is not followed for long.
    """
    if index is None:
        yield iter(())
        return
    try:
        with decompressed(index) as stream:
            yield split_records(chunks(stream), entries)
    except ValueError as error:
        raise CorruptError(f"{index} is damaged", str(error), "Verify the backups of the job") from error


def between(path: Path, end: bytes) -> Iterator[bytes]:
    """The pieces of a file, each with the byte `end` that ends it; the last may be cut short, and lack it.

    The file is open only while a block of it is read: a pass has hundreds.
    """
    at, rest = 0, b""
    while True:
        with opened(path) as file:
            block = os.pread(file.fileno(), _BLOCK, at)
        if not block:
            break
        at += len(block)
        *whole, rest = (rest + block).split(end)
        yield from (piece + end for piece in whole)
    if rest:
        yield rest


def spooled(path: Path) -> Iterator[bytes]:
    """The records of a working list that a run spooled uncompressed, as `records` yields them."""
    with opened(path) as file:
        yield from split_records(chunks(file))


def write_records(file: IO[bytes], lines: Iterable[bytes]) -> None:
    """Write records as `records` or `spooled` reads them, many at a time."""
    left = iter(lines)
    while batch := list(islice(left, _BATCH)):
        file.write(join_records(batch))


def append_records(path: Path, lines: Iterable[bytes]) -> None:
    """Write records behind those of a working list, which is not held open: there may be hundreds of lists."""
    with path.open("ab") as file:
        file.write(join_records(lines))
