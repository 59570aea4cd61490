"""Files out of a backup's archives into an empty directory: what of which archive, and whether all of it came."""

import os
import shutil
import stat
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hiveden_backup.core.backup.extraction import Loss, Losses
from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.selection import Filter, checked
from hiveden_backup.core.errors import BackupError, CorruptError, StorageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.host.disk import beneath, bounds, swaps, tar
from hiveden_backup.host.disk.descent import Descent
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.log import log
from hiveden_backup.host.process import Brake
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.chosen import PASSING, Chosen, chosen
from hiveden_backup.jobs.restore.skeleton import NOT_KEPT, Skeleton
from hiveden_backup.jobs.services.at_once import several, workers

_HELD_BYTES = 32 << 10
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(installation: Installation, manifest: Manifest, plan: "Selected", place: int) -> tuple[int, Losses]:
    """Restore what `plan` has below an empty directory, a descriptor; the bytes of its regular files, and what is lost.

    Nobody else may be able to enter it meanwhile. Each archive is read once, and its digest taken of what is read.
    CorruptError when one is not what was written, lacks something, or has something else than the index says: what is
    there then is worth nothing. What the place would not keep is no error here.
    """
    lock = threading.Lock()
    with bounds.of_extraction(place, plan.spool) as ruleset:
        # in turns, each is checked before the next, whose files must not go through what should be a directory
        together = _at_once(place) if ruleset is not None and len(plan.archives) > 1 else 1
        plan.skeleton.make(place, guarded=together > 1)

        def take(number: int, brake: Brake) -> tuple[int, Losses]:
            def advance(count: int) -> None:
                brake.insist()
                with lock:
                    installation.progress.advance(count)

            archive = manifest.archives[number]
            with installation.at_hand(manifest.job, archive.path, archive, brake) as path:
                told = tar.extract(
                    path, archive, plan.names(number), place, ruleset=ruleset, progress=advance, brake=brake
                )
            size = plan.check(number, place, told.not_made, told.lost)
            if os.geteuid() != 0:
                plan.open_up(number, place)
            return size, told.lost

        done = several(plan.archives, take, together)
    losses = Losses()
    for _, lost in done:
        losses.merge(lost)
    plan.remove_helpers(place)
    plan.skeleton.finish(place, losses)
    return sum(size for size, _ in done), losses


def _at_once(place: int) -> int:
    """How many archives to extract at a time. One where directories' modes and owners are in each other's way."""
    if os.geteuid() != 0 or os.fstat(place).st_uid != 0:
        return 1
    return workers()


@contextmanager
def closed(directory: int, path: str) -> Iterator[bool]:
    """A directory, whose descriptor this is, that nobody else can enter for the block; `path` is its name for messages.

    Owners get their directories back before all is restored: one of them could put a link in the way of what follows.
    The block is told whether the file system lets a directory be closed.
    """
    was = os.fstat(directory)
    _belong(directory, os.geteuid(), os.getegid(), 0o700)
    now = os.fstat(directory)
    sealed = not now.st_mode & _OTHERS_WRITE and now.st_uid == os.geteuid()
    if not sealed:
        log.warning(f"{path} cannot be closed while it is filled: who may write there could interfere")
    try:
        yield sealed
    finally:
        _belong(directory, was.st_uid, was.st_gid, stat.S_IMODE(was.st_mode))


@contextmanager
def whole_or_nothing(directory: int, path: str, *, sealed: bool) -> Iterator[None]:
    """When the block, which fills an empty directory, is broken off, that is empty again: half could pass for all.

    Where it is not `sealed`, others may have put something there, so that it is left as it is. Either is said.
    """
    try:
        yield
    except BaseException as error:
        told = f"What is in {path} is not all of it"
        if sealed:
            with suppress(OSError):
                beneath.empty(directory)
                told = f"Nothing of it was left in {path}"
        if isinstance(error, BackupError):
            error.why = f"{error.why}. {told}" if error.why else told
        else:
            log.warning(told)
        raise


def _belong(directory: int, uid: int, gid: int, mode: int) -> None:
    """Give a directory this owner and mode, as far as its file system lets us."""
    now, path = os.fstat(directory), beneath.through(directory)
    try:
        if stat.S_IMODE(now.st_mode) != mode:
            os.chmod(path, mode)
        if (now.st_uid, now.st_gid) != (uid, gid):
            os.chown(path, uid, gid)
            os.chmod(path, mode)  # a change of the owner takes bits off
    except OSError as error:
        if error.errno not in NOT_KEPT:
            raise


class _Part:
    """What is taken from one archive, as two files: the names for tar, and what each of them is to be.

    They are held until they are long enough: there may be more archives than files can be open.
    """

    def __init__(self, spool: Path, number: int) -> None:
        self.names, self.plan = spool / f"{number}.names", spool / f"{number}.plan"
        self._names, self._plan = bytearray(), bytearray()

    def add(self, each: Chosen) -> None:
        self._names += each.path + b"\0"
        self._plan += each.line
        if len(self._plan) > _HELD_BYTES:
            self.write()

    def write(self) -> None:
        for place, held in ((self.names, self._names), (self.plan, self._plan)):
            with place.open("ab") as file:
                file.write(held)
            held.clear()


class Selected:
    """What to restore from which archive; spooled, since there may be millions of paths."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.skeleton = Skeleton(spool)
        self._parts: dict[int, _Part] = {}
        self.helpers: Collection[bytes] = ()
        self.entries = 0

    @property
    def archives(self) -> list[int]:
        """The numbers of those that something is taken from."""
        return sorted(self._parts)

    def add(self, record: Record) -> None:
        """Restore a path. All are added in the index's order."""
        helper = record.path in self.helpers
        each = Chosen.of(record, helper=helper)
        self.entries += not helper
        self.skeleton.add(each.path)
        if record.type == "d":
            self.skeleton.write(each)
        if each.kind != PASSING:
            part = self._parts.get(record.archive)
            if part is None:
                part = self._parts[record.archive] = _Part(self.spool, record.archive)
            part.add(each)

    def close(self) -> None:
        """No more paths are added."""
        self.skeleton.close()
        for part in self._parts.values():
            part.write()

    def names(self, number: int) -> Path:
        """A file with the names of all paths to take from an archive, each ended by NUL, in the index's order."""
        return self._parts[number].names

    def remove_helpers(self, target: int) -> None:
        """Take away what was restored only because a wanted hard link needed it."""
        with Descent(target) as way:
            for path in sorted(self.helpers, reverse=True):
                found = way.find(path)
                if found is None:  # the place does not take its kind
                    continue
                directory, name = way.parent(path)
                if stat.S_ISDIR(found.st_mode):
                    os.rmdir(name, dir_fd=directory)
                else:
                    os.unlink(name, dir_fd=directory)

    def open_up(self, number: int, target: int) -> None:
        """Let the directories of an archive be filled by who is not root: other archives have more of what is in them.

        Their modes come back when `skeleton` is finished.
        """
        with Descent(target) as way:
            for each in chosen(self._parts[number].plan):
                if each.kind == b"d" and each.mode & stat.S_IRWXU != stat.S_IRWXU:
                    above, name = way.parent(each.path)
                    os.chmod(name, each.mode | stat.S_IRWXU, dir_fd=above)

    def check(self, number: int, target: int, not_made: Collection[Loss], losses: Losses) -> int:
        """Bytes restored from an archive. CorruptError when what is on disk is not what the index says.

        What the place does not keep is added to `losses`; paths of the kinds `not_made` may be missing. Where it takes
        no hard links, they become copies.
        """
        total = 0
        names: dict[Chosen, bytes] = {}
        links = Counter[Chosen]()  # names of an inode that the place counts, and that are not ours
        with Descent(target) as way:
            for each in chosen(self._parts[number].plan):
                found = way.find(each.path)
                same = each._replace(path=b"") if each.inode else each
                if found is None and same in names and Loss.HARD_LINKS in not_made:
                    losses.add(Loss.HARD_LINKS, show_path(each.path))
                    found = _copied(way, names[same], each.path)
                elif found is None and each.missing is not None and each.missing in not_made:
                    losses.add(each.missing, show_path(each.path))
                    continue
                status = each.insist(found)
                if each.kind == b"f":
                    if each.inode:
                        links[same] += status.st_nlink * (same not in names) - 1
                        names.setdefault(same, each.path)
                    elif status.st_nlink > 1:
                        raise each.linked()
                if not stat.S_ISDIR(status.st_mode) and each.path not in self.helpers:
                    each.compare(status, way, losses)
                total += each.size
        for same, path in names.items():
            if links[same] > 0:
                raise same._replace(path=path).linked()
        return total


def select(
    directory: BackupDirectory, manifest: Manifest, wanted: Callable[[bytes], bool] | None, spool: Path
) -> Selected:
    """The paths of a backup that are `wanted` (all by default), found in its final index; spooled to `spool`.

    CorruptError when the index is not to be trusted.
    """
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    with translated(f"writing the spool {spool}", unwritable=StorageError):
        plan = Selected(spool)
    taken = Filter(wanted) if wanted is not None else None
    with trusted(index):
        if taken is not None:
            with records(index, manifest.paths) as lines:
                taken.find_wanted(checked(lines, len(manifest.archives)))
            with records(index, manifest.paths) as lines:
                taken.find_helpers(parse(line) for line in lines)
            plan.helpers = taken.helpers
        with records(index, manifest.paths) as lines, translated(f"writing the spool {spool}", unwritable=StorageError):
            for record in checked(lines, len(manifest.archives)):
                if taken is None or taken.takes(record):
                    plan.add(record)
            plan.close()
    return plan


def _copied(way: Descent, source: bytes, target: bytes) -> os.stat_result:
    """What a hard link becomes where there are none: a file of its own that looks like the other one."""
    directory, name = way.parent(source)
    with open(name, "rb", opener=lambda path, _: os.open(path, _SOURCE, dir_fd=directory)) as original:
        directory, name = way.parent(target)
        with open(name, "wb", opener=lambda path, _: os.open(path, _COPY, 0o600, dir_fd=directory)) as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            swaps.dress(original.fileno(), copy.fileno())
            return os.fstat(copy.fileno())


@contextmanager
def trusted(index: Path) -> Iterator[None]:
    """Reading records that `checked` looks at: what it finds wrong becomes a CorruptError."""
    try:
        yield
    except ValueError as error:
        raise CorruptError(f"{index} is damaged", str(error), "Verify the backups of the job") from error
