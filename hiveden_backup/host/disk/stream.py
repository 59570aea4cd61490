"""Streams onto the disk and through zstd. Nobody else starts a compressor, or reads back what one wrote."""

import errno
import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk.durable import opened, pieces
from hiveden_backup.host.disk.repository import stored_file, unread
from hiveden_backup.host.process import Brake, Command, Pipeline, ProcessError, output
from hiveden_backup.host.signals import begin, deferred

CHUNK = 1 << 20
_PAUSE_SECONDS = 0.02

DECOMPRESSOR = Command(("zstd", "-q", "-dc"))
"""What undoes a `compressor`, from its standard input to its standard output."""
PARTIAL_DECOMPRESSOR = Command(DECOMPRESSOR.argv, accept=frozenset({0, -signal.SIGPIPE}))
"""The same for a reader that may stop early."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stream that arrived on disk."""

    bytes: int
    sha256: str


def compressor(level: int, *, alone: bool = True) -> Command:
    """What compresses its standard input to its standard output: on every processor, or beside others on one.

    Its threads cost more processor time than they save where there is something else to do.
    """
    return Command(("zstd", "-q", "-c", "-T0" if alone else "--single-thread", f"-{level}"))


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """A stream in pieces of about a mebibyte."""
    while chunk := stream.read(CHUNK):
        yield chunk


def store(stream: IO[bytes], path: Path, progress: Advance, *, durable: bool = True) -> Stored:
    """Copy a stream into a new file and, if `durable`, fsync it; `progress` is called with each chunk's size."""
    digest = hashlib.sha256()
    total = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for chunk in chunks(stream):
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
            digest.update(chunk)
            total += len(chunk)
            progress(len(chunk))
        if durable:
            os.fsync(descriptor)
    return Stored(total, digest.hexdigest())


def follow(file: int, pipeline: Pipeline, progress: Advance) -> Stored:
    """Digest a file, an open descriptor, while the last program of a pipeline writes it; to where it is when that ends.

    So what is written is not copied by us; it is read back out of the page cache.
    """
    digest, total, ended = hashlib.sha256(), 0, False
    while True:
        chunk = os.pread(file, CHUNK, total)
        digest.update(chunk)
        total += len(chunk)
        if chunk:
            progress(len(chunk))
        elif ended:
            return Stored(total, digest.hexdigest())
        else:
            ended = pipeline.ends_within(_PAUSE_SECONDS)


def copy(source: Path, target: Path) -> Stored:
    """Copy a file to the new file `target`, durably."""
    with opened(source) as file:
        return store(file, target, lambda _: None)


@contextmanager
def compressing(path: Path, level: int) -> Iterator[IO[bytes]]:
    """A stream whose content arrives compressed in the new file `path`, fsynced when the block ends well."""
    with (
        written(path) as descriptor,
        Pipeline(compressor(level), stdin=subprocess.PIPE, stdout=descriptor) as pipeline,
    ):
        yield pipeline.stdin


@contextmanager
def written(path: Path, *, durable: bool = True, readable: bool = False) -> Iterator[int]:
    """A descriptor of the new file `path`, which a compressor writes in the block; fsynced at its end, if `durable`.

    What is not to be `readable` is written from end to end only, as some FUSE file systems want it. A compressor's
    failure is an OSError where it names the system's reason: a full disk is not its own.
    """
    descriptor = os.open(path, (os.O_RDWR if readable else os.O_WRONLY) | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
        if durable:
            os.fsync(descriptor)
    except ProcessError as error:
        raise _reason_of(error) from error
    finally:
        os.close(descriptor)


@contextmanager
def decompressed(path: Path) -> Iterator[IO[bytes]]:
    """The content of a `.zst` file. CorruptError when it is none, or cannot be decoded."""
    try:
        with stored_file(path) as file, output(DECOMPRESSOR, stdin=file) as stream:
            yield stream
    except ProcessError as error:
        raise undecoded(error, path) from error


def feed(path: Path, size: int, sha256: str, sink: IO[bytes], progress: Advance) -> None:
    """Put a file of a backup into the input of a program, and close that; the file is read once.

    What is digested is exactly what the program gets. When that wants no more, the rest is digested only; `progress` is
    called with each piece's size before it is handed on. What the program says must find a way meanwhile: nobody reads
    it here. CorruptError when it is not the file that was written.
    """
    with stored_file(path, size) as file:
        _feed(file, path, sha256, sink, progress)


def _feed(file: IO[bytes], path: Path, sha256: str, sink: IO[bytes], progress: Advance) -> None:
    digest = hashlib.sha256()
    wanted = True
    try:
        for piece in pieces(file):
            digest.update(piece)
            progress(len(piece))
            wanted = wanted and _put(piece, sink)
    except OSError as error:
        raise unread(path, error) from error
    sink.close()
    if digest.hexdigest() != sha256:
        raise CorruptError(
            f"{path} is damaged",
            "Its SHA-256 is not what was written",
            "Verify the other backups of the job; the next run takes again what this one lost",
        )


@contextmanager
def digested(file: IO[bytes], path: Path, sha256: str) -> Iterator[IO[bytes]]:
    """The content of an opened `.zst` file of a backup, which is digested while it is read, once and to its end.

    The block may want less than all of it. At its end, CorruptError when the file, which `path` names in messages, is
    not what was written, or cannot be decoded; that goes before a ValueError by which the block says the same.
    """
    brake, trouble, strange = Brake(), list[BaseException](), list[ValueError]()

    def feeding() -> None:
        try:
            _feed(file, path, sha256, pipeline.stdin, lambda _: brake.insist())
        except BaseException as error:  # noqa: BLE001 - it is raised by who reads
            trouble.append(error)
            with suppress(OSError):
                pipeline.stdin.close()  # so that the reader comes to an end

    try:
        with Pipeline(PARTIAL_DECOMPRESSOR, stdin=subprocess.PIPE, brake=brake) as pipeline:
            thread = threading.Thread(target=feeding, name="feeder", daemon=True)
            try:
                with deferred():
                    begin(thread)
                yield pipeline.stdout
            except ValueError as error:
                strange.append(error)
            except BaseException:
                brake.pull()
                raise
            finally:
                pipeline.stdout.close()
                thread.join()
    except ProcessError as error:
        if not trouble:
            raise undecoded(error, path) from error
    for each in (*trouble, *strange):
        raise each


def _put(piece: bytes, sink: IO[bytes]) -> bool:
    """Whether a program took a piece of its input."""
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(sink.fileno(), view) :]
    except BrokenPipeError:
        return False
    return True


def undecoded(error: ProcessError, path: Path) -> BackupError:
    """What the failure of a reader says of `path`. One that was ended, or ran out of memory, says nothing."""
    if error.status < 0:
        return error
    return CorruptError(f"{path} cannot be decoded", error.why, "Verify the other backups of the job")


def _reason_of(error: ProcessError) -> Exception:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        if os.strerror(number) in error.stderr:
            return OSError(number, os.strerror(number))
    return error
