"""One file out of an archive: its content in pieces, without anything else of the archive touching a disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from hiveden_backup.core.backup.tar_stream import CHUNK, HARD_LINK, Member, TarStream
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.host.disk.stream import digested

_ZEROS = bytes(CHUNK)


def copy_member(
    file: IO[bytes], archive: Path, sha256: str, wanted: bytes, *, size: int, write: Callable[[bytes], object]
) -> bytes | None:
    """Hand the content of a regular file, `size` bytes, to `write` in pieces; holes as zeros.

    `file` is the opened archive, `wanted` a path relative to `/`. Where the archive has that as a hard link, nothing is
    written, and the name of the member that has the content is returned. All of the archive is digested, after the
    content is written: CorruptError, which says that it was worth nothing, when it is not what was written, or has
    something else than such a file there.
    """
    found: Member | None = None
    try:
        with digested(file, archive, sha256) as content:
            stream = TarStream(content.read)
            found = next((each for each in stream.members() if each.name == wanted), None)
            if found is not None and found.kind == b"f" and found.size == size:
                for piece in _content(found, stream):
                    write(piece)
    except ValueError as error:
        raise _unfit(archive, str(error)) from error
    if found is None:
        raise _unfit(archive, "It does not have the path")
    if found.kind == HARD_LINK:
        return found.target
    if found.kind != b"f" or found.size != size:
        raise _unfit(archive, "It has the path with another type or size")
    return None


def _content(member: Member, stream: TarStream) -> Iterator[bytes]:
    at = 0
    for offset, length in stream.segments() if member.sparse else ((0, member.size),):
        if offset < at:
            raise ValueError("the pieces of a sparse file are out of order")
        yield from _hole(offset - at)
        at = offset
        while at < offset + length and (piece := stream.content(min(CHUNK, offset + length - at))):
            at += len(piece)
            yield piece
        if at < offset + length:
            raise ValueError("a file's content is cut short")
    if at > member.size:
        raise ValueError("the pieces of a sparse file are more than it has")
    yield from _hole(member.size - at)


def _hole(size: int) -> Iterator[bytes]:
    while size > 0:
        yield _ZEROS[:size]
        size -= min(size, CHUNK)


def _unfit(archive: Path, why: str) -> CorruptError:
    return CorruptError(f"{archive} is not what the index was made for", why, "Verify the backups of the job")
