"""GNU tar: writing an archive, reading one back. Plain archives, so that stock tools restore them."""

import os
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from hiveden_backup.core.backup.creation import Diagnostics
from hiveden_backup.core.backup.creation import classify as classify_creation
from hiveden_backup.core.backup.extraction import Extraction
from hiveden_backup.core.backup.extraction import classify as classify_extraction
from hiveden_backup.core.backup.tar_listing import LISTING, quoted
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, StorageError
from hiveden_backup.core.model import Archive
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk.beneath import through
from hiveden_backup.host.disk.bounds import Bounds
from hiveden_backup.host.disk.durable import opened, translate
from hiveden_backup.host.disk.index_files import between, spooled
from hiveden_backup.host.disk.stream import (
    CHUNK,
    DECOMPRESSOR,
    Stored,
    compressor,
    feed,
    follow,
    store,
    undecoded,
    written,
)
from hiveden_backup.host.process import Brake, Command, Completed, Pipeline, ProcessError
from hiveden_backup.host.signals import begin, deferred

_DAMAGES = (
    *("Not found in archive", "Unexpected EOF", "not look like a tar archive", "Skipping to next header"),
    "File exists",  # a directory that the index has, and that tar was to replace
)
_MOST_ERRORS = 512 << 20  # it has a line for each path of which something is to be said
_ATTRIBUTES = ("--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner")
_CREATE = ("--no-recursion", "--null", *_ATTRIBUTES, "--sparse", *LISTING)
_NO_TRACE = "--atime-preserve=system"
_CAP_FOWNER = 1 << 3
_CREATE_STATUSES = frozenset({0, 1, 2})
_TROUBLE = 2  # tar did what it could
_SHOWN_LINES = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """What tar may open: what is within `bounds`. `points` are where file systems are mounted, for its warnings."""

    bounds: Bounds
    points: Collection[bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """What to archive: the NUL-terminated names (relative to `/`) in the file `names`, in their order.

    They go into the new file `target`, and tar's listing into the new file `listing`. `alone` is whether all processors
    are to compress it, `durable` whether it is fsynced: while containers are down, that is left to the caller.
    `read_back` is whether zstd writes the file itself, and it is digested out of the page cache: on a network or FUSE
    file system, that may not work, or carry all of it twice.
    """

    names: Path
    listing: Path
    target: Path
    level: int
    alone: bool
    durable: bool
    read_back: bool


def create(order: Order, scope: Scope, progress: Advance, brake: Brake) -> tuple[Stored, Diagnostics]:
    """Archive what is ordered.

    Returns what was written, and what tar said of a tree in use: what was denied is looked at again, without links.
    OSError from writing; BackupError when tar met anything else than such a tree (an unreadable file, a read error, a
    root that is gone).
    """
    with _received(order.listing) as listing, opened(order.names) as wanted:
        tar = Command(
            ("tar", "-c", "-f", "-", *_create(), f"--index-file=/proc/self/fd/{listing}", "-T", "-"),
            accept=_CREATE_STATUSES,
            descriptors=(listing,),
            ruleset=scope.bounds.ruleset,
            most_errors=_MOST_ERRORS,
        )
        zstd = compressor(order.level, alone=order.alone)
        if order.read_back:
            with (
                written(order.target, durable=order.durable, readable=True) as target,
                Pipeline(tar, zstd, stdin=wanted, stdout=target, brake=brake) as pipeline,
            ):
                stored = follow(target, pipeline, progress)
        else:
            with Pipeline(tar, zstd, stdin=wanted, brake=brake) as pipeline:
                stored = store(pipeline.stdout, order.target, progress, durable=order.durable)
    return stored, _diagnosed(order, scope, pipeline.results[0])


def _diagnosed(order: Order, scope: Scope, done: Completed) -> Diagnostics:
    bounds = scope.bounds
    confined = bounds.ruleset is not None
    said = classify_creation(
        done.stderr.decode("utf-8", "replace"), done.status, bounds.roots, scope.points, confined=confined
    )
    denied = said.denied_names
    paths = [path for path in spooled(order.names) if quoted(path) in denied] if denied else []
    diagnostics = said.settled(bounds.still_denied(paths))
    if diagnostics.fatal:
        raise BackupError(
            "Archiving the job's files failed",
            "; ".join(f"tar: {line}" for line in diagnostics.fatal[:3]),
            "Mend or exclude what tar names, then run again",
        )
    return diagnostics


def _create() -> tuple[str, ...]:
    """The options to archive with. The times of access stay, where the kernel lets us open anybody's file so.

    Else tar would take each file of another owner for one that cannot be read.
    """
    with open("/proc/self/status", encoding="ascii") as status, open("/proc/self/uid_map", encoding="ascii") as owners:
        capable = any(line.startswith("CapEff:") and int(line.split()[1], 16) & _CAP_FOWNER for line in status)
        of_all = [line.split() for line in owners] == [["0", "0", str(0xFFFFFFFF)]]
    return (*_CREATE, _NO_TRACE) if capable and of_all else _CREATE


@contextmanager
def _received(path: Path) -> Iterator[int]:
    """A descriptor whose content arrives in the new file `path`; StorageError at the block's end when it did not.

    GNU tar says nothing and ends well when its listing does not fit on the disk (tried), and then a cold pass would
    take every name in the missing part for one that vanished.
    """
    reader, writer = os.pipe()
    trouble: list[OSError] = []

    def receive() -> None:
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
    try:
        with deferred():
            begin(thread)
        yield writer
    finally:
        os.close(writer)
        if thread.ident is not None:
            thread.join()
    if trouble:
        raise translate(trouble[0], f"writing the list {path}", unwritable=StorageError) from trouble[0]


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of tar's listing; hundreds of listings can be read at once."""
    return between(path, b"\n")


def list_members(
    archive: Path, size: int, sha256: str, listing: Path, *, progress: Advance, brake: Brake | None = None
) -> None:
    """Put the listing of an archive into the new file `listing`. It is read once: digested, and all of it decoded.

    CorruptError when it is not what was written, or cannot be decoded. OSError when the listing does not fit: written
    by tar itself, it would look like the archive's fault.
    """
    members = Command(("tar", "-t", *LISTING, "-f", "-"))
    try:
        with (
            _received(listing) as writer,
            Pipeline(DECOMPRESSOR, members, stdin=subprocess.PIPE, stdout=writer, brake=brake) as pipeline,
        ):
            feed(archive, size, sha256, pipeline.stdin, progress)
    except ProcessError as error:
        raise undecoded(error, archive) from error


def extract(
    path: Path,
    archive: Archive,
    names: Path,
    target: int,
    *,
    ruleset: int | None,
    progress: Advance,
    brake: Brake,
) -> Extraction:
    """Restore the NUL-terminated names in the file `names` from an archive, which lies at `path` and is read once.

    They are in the archive's order. `target` is a descriptor of a directory, in which tar works: with -C, and
    --same-order, it would go through all the names for each member that comes after the last of them. (It could end
    there by --occurrence, but reads its input to the end all the same.) `ruleset` bounds what tar may open. Returns
    what `target` would not keep. CorruptError when the archive is not there as it was written, or lacks one of the
    names, StorageError when `target` does not take what is in it.
    """
    command = Command(
        (
            *("tar", "-x", "-p", *_ATTRIBUTES, "--same-order", "--no-recursion", "--no-wildcards"),
            *("--null", "-T", str(names), "-f", "-"),
        ),
        accept=frozenset({0, _TROUBLE}),
        directory=target,
        ruleset=ruleset,
        most_errors=_MOST_ERRORS,
    )
    try:
        with Pipeline(DECOMPRESSOR, command, stdin=subprocess.PIPE, brake=brake) as pipeline:
            feed(path, archive.bytes, archive.sha256, pipeline.stdin, progress)
            pipeline.stdout.read()
    except ProcessError as error:
        if error.status < 0 or error.program == "tar":
            raise
        raise _incomplete(path, f"{error.what}: {error.why}") from error
    result = pipeline.results[-1]
    said = result.stderr.decode("utf-8", "replace")
    told = classify_extraction(said)
    if result.status == 0 or told.explained:
        return told
    why = "; ".join(f"tar: {line}" for line in told.fatal[:_SHOWN_LINES]) or "tar gave no reason"
    if any(damage in said for damage in _DAMAGES):
        raise _incomplete(path, why)
    place = os.readlink(through(target))
    raise StorageError(f"{place} does not take all of {path.name}", why, "Restore to a disk with room")


def _incomplete(archive: Path, why: str) -> CorruptError:
    return CorruptError(f"{archive} could not be restored completely", why, "Verify the backup")
