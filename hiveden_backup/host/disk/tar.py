"""GNU tar and zstd: writing an archive, reading one back. Plain archives, so that stock tools restore them."""

import errno
import hashlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hiveden_backup.core.backup.tar_listing import LISTING, classify
from hiveden_backup.core.errors import BackupError, CorruptError, StorageError
from hiveden_backup.host.process import Command, Pipeline, ProcessError, output

CHUNK = 1 << 20
_DAMAGES = ("Not found in archive", "Unexpected EOF", "not look like a tar archive", "Skipping to next header")
_ATTRIBUTES = ("--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner")
_CREATE = ("--no-recursion", "--null", *_ATTRIBUTES, "--sparse", *LISTING)
_CREATE_STATUSES = frozenset({0, 1, 2})


@dataclass(frozen=True, slots=True)
class Written:
    """A stream that arrived on disk."""

    bytes: int
    sha256: str


def zstd(level: int) -> Command:
    """The compressor. `-T0` uses every processor."""
    return Command(("zstd", "-q", "-c", "-T0", f"-{level}"))


def store(stream: IO[bytes], path: Path, progress: Callable[[int], None], *, durable: bool = True) -> Written:
    """Copy a stream into a new file and, if `durable`, fsync it; `progress` is called with each chunk's size."""
    digest = hashlib.sha256()
    total = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        while chunk := stream.read(CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
            digest.update(chunk)
            total += len(chunk)
            progress(len(chunk))
        if durable:
            os.fsync(descriptor)
    return Written(total, digest.hexdigest())


def copy(source: Path, target: Path) -> Written:
    """Copy a file to the new file `target`, durably."""
    with source.open("rb") as file:
        return store(file, target, lambda _: None)


def create(
    names: Path, listing: int, target: Path, *, roots: Collection[bytes], level: int, progress: Callable[[int], None]
) -> tuple[Written, tuple[str, ...]]:
    """Archive the NUL-terminated names (relative to `/`) in the file `names`, in their order, into `target`.

    tar writes its listing to the descriptor `listing`; see `received`. Returns what was written, which is left to the
    caller to fsync (the containers may be down), and the diagnostics of a tree in use.
    OSError from writing `target`; BackupError when tar met anything else than such a tree (an unreadable file, a read
    error, a root that is gone).
    """
    tar = Command(
        ("tar", "-c", "-f", "-", "-C", "/", *_CREATE, f"--index-file=/proc/self/fd/{listing}", "-T", str(names)),
        accept=_CREATE_STATUSES,
        descriptors=(listing,),
    )
    with Pipeline(tar, zstd(level)) as pipeline:
        written = store(pipeline.stdout, target, progress, durable=False)
    diagnostics = classify(pipeline.results[0].stderr.decode("utf-8", "replace"), roots)
    if diagnostics.fatal:
        raise BackupError(
            "Archiving the job's files failed",
            "; ".join(f"tar: {line}" for line in diagnostics.fatal[:3]),
            "Mend or exclude what tar names, then run again",
        )
    return written, diagnostics.changed


@contextmanager
def received(path: Path) -> Iterator[int]:
    """A descriptor whose content arrives in the new file `path`; OSError at the block's end when it did not.

    GNU tar says nothing and ends well when its listing does not fit on the disk (tried), and then a cold pass would
    take every name in the missing part for one that vanished.
    """
    reader, writer = os.pipe()
    trouble: list[OSError] = []

    def receive() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        with open(reader, "rb", buffering=0) as source:
            try:
                with open(path, "xb", buffering=0) as file:
                    while chunk := source.read(CHUNK):
                        written = 0
                        while written < len(chunk):
                            written += file.write(chunk[written:])
            except OSError as error:
                trouble.append(error)
                while source.read(CHUNK):  # so that the writer gets to its end
                    pass

    thread = threading.Thread(target=receive, name="listing receiver", daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        os.close(writer)
        thread.join()
    if trouble:
        raise trouble[0]


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of tar's listing."""
    with path.open("rb") as file:
        yield from file


@contextmanager
def decompressed(path: Path) -> Iterator[IO[bytes]]:
    """The content of a `.zst` file. CorruptError when it cannot be decoded."""
    try:
        with output(Command(("zstd", "-q", "-dc", "--", str(path)))) as stream:
            yield stream
    except ProcessError as error:
        raise _undecoded(error, path) from error


def _undecoded(error: ProcessError, path: Path) -> BackupError:
    """What the failure of a reader says of `path`. One that was ended, or ran out of memory, says nothing."""
    if error.status < 0:
        return error
    return CorruptError(f"{path} cannot be decoded", error.why, "Verify the other backups of the job")


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """A stream in pieces of about a mebibyte."""
    while chunk := stream.read(CHUNK):
        yield chunk


@contextmanager
def compressing(path: Path, level: int) -> Iterator[IO[bytes]]:
    """A stream whose content arrives compressed in the new file `path`, fsynced when the block ends well."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with Pipeline(zstd(level), stdin=-1, stdout=descriptor) as pipeline:
            yield pipeline.stdin
        os.fsync(descriptor)
    except ProcessError as error:
        raise _reason_of(error) from error
    finally:
        os.close(descriptor)


def _reason_of(error: ProcessError) -> Exception:
    """The system's reason, where the compressor gives one: a full disk is not its failure."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        if os.strerror(number) in error.stderr:
            return OSError(number, os.strerror(number))
    return error


def list_members(archive: Path, listing: Path) -> None:
    """Put an archive's listing into the new file `listing`; all of it is decoded. CorruptError when that fails.

    OSError when the listing does not fit: written by tar itself, it would look like the archive's fault.
    """
    decompress = Command(("zstd", "-q", "-dc", "--", str(archive)))
    try:
        with listing.open("xb") as file, output(decompress, Command(("tar", "-t", *LISTING, "-f", "-"))) as stream:
            for chunk in chunks(stream):
                file.write(chunk)
            file.flush()
    except ProcessError as error:
        raise _undecoded(error, archive) from error


def extract(archive: Path, names: Path, target: Path) -> None:
    """Restore the NUL-terminated names in the file `names`, which are in the archive's order, below `target`.

    CorruptError when the archive cannot be decoded or lacks one of the names, StorageError when `target` does not take
    what is in it.
    """
    tar = (
        *("tar", "-x", "-p", *_ATTRIBUTES, "-C", str(target), "--same-order", "--no-recursion", "--no-wildcards"),
        *("--null", "-T", str(names), "-f", "-"),
    )
    try:
        with Pipeline(Command(("zstd", "-q", "-dc", "--", str(archive))), Command(tar)) as pipeline:
            pipeline.stdout.read()
    except ProcessError as error:
        if error.status < 0:
            raise
        if error.program == "tar" and not any(damage in error.stderr for damage in _DAMAGES):
            raise StorageError(
                f"{target} does not take all of {archive.name}", error.why, "Restore to a disk with room and owners"
            ) from error
        raise CorruptError(
            f"{archive} could not be restored completely", f"{error.what}: {error.why}", "Verify the backup"
        ) from error
