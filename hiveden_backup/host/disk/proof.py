"""Whether paths are what an archive holds of them: one reading of the archive beside the files themselves.

Each file is opened beneath the directories above it, so that nothing else is read for it, be there a link in the place
of a directory; and it is the one that the scan saw, before it is read and after that. So there is nothing for Landlock
to bound or for a witness to see: what moved is not proved. `tar --compare` knows paths alone, and no attributes.
"""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.tar_stream import CHUNK, HARD_LINK, Member, TarStream, TruncatedError
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import CorruptError
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.repository import stored_file
from hiveden_backup.host.disk.stream import DECOMPRESSOR, chunks, undecoded
from hiveden_backup.host.disk.walk import Way
from hiveden_backup.host.process import ProcessError, output

Wanted = tuple[int, bytes]
"""The number of a question, and the record that the scan made."""


def proved(
    archive: Path, size: int, wanted: Iterable[Wanted], groups: Mapping[int, int], progress: Advance
) -> list[int]:
    """The numbers of those of the `wanted` paths that are what the archive of `size` bytes has; they are in its order.

    Hard links count as a whole: `groups` has how many names each inode must have. CorruptError when the archive is not
    as it was written; all of it is decoded.
    """
    comparison, cut_short = _Comparison(iter(wanted), progress), False
    try:
        with (
            stored_file(archive, size) as content,
            output(DECOMPRESSOR, stdin=content) as stream,
            open(os.dup(stream.fileno()), "rb", buffering=CHUNK) as buffered,
        ):
            try:
                comparison.read(TarStream(buffered.read))
            except TruncatedError:
                cut_short = True  # unless it was not the archive's fault
            except ValueError:
                pass  # what is not understood proves nothing
            for _ in chunks(buffered):  # whether the rest of it can be decoded
                pass
    except ProcessError as error:
        raise undecoded(error, archive) from error
    if cut_short:
        raise CorruptError(f"{archive} is cut short", "", "Verify the backups of the job")
    return comparison.found(groups)


@dataclass(slots=True)
class _Comparison:
    """What was found of the `wanted`: singles, and hard links by their inodes, each group with its first name."""

    wanted: Iterator[Wanted]
    progress: Advance
    _singles: list[int] = field(default_factory=list)
    _linked: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    _firsts: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # of hard links: device and inode
    _way: Way = field(default_factory=Way)

    def found(self, groups: Mapping[int, int]) -> list[int]:
        """The numbers of what is proved."""
        for inode, numbers in self._linked.items():
            if len(numbers) == groups.get(inode):
                self._singles.extend(numbers)
        return self._singles

    def read(self, stream: TarStream) -> None:
        """Compare one member after another with what is wanted of it."""
        with self._way:
            number, record = self._next()
            for member in stream.members():
                while record is not None and record.path < member.name:
                    number, record = self._next()
                if record is None:
                    return
                if record.path == member.name:
                    if self._holds(member, record, stream):
                        (self._linked[record.inode] if _is_linked(record) else self._singles).append(number)
                    number, record = self._next()

    def _next(self) -> tuple[int, Record | None]:
        number, record = next(self.wanted, (0, b""))
        return number, parse(b"0\t" + record) if record else None

    def _holds(self, member: Member, record: Record, stream: TarStream) -> bool:
        try:
            if member.kind == HARD_LINK:
                return self._is_link(member, record)
            if member.kind != record.type.encode() or not _is_described(member, record):
                return False
            match record.type:
                case "f":
                    return self._is_file(member, record, stream)
                case "d":
                    return _has(self._way.directory(record.path), member, record)
                case _:
                    return self._is_symlink(member, record)
        except OSError:  # it went, became something else, or cannot be read: who archives it will see
            return False

    def _is_link(self, member: Member, record: Record) -> bool:
        status = self._way.status(record.path)
        first = self._firsts.get(member.target)
        return first == (status.st_dev, record.inode) and _is_linked(record) and _is_seen(status, record)

    def _is_file(self, member: Member, record: Record, stream: TarStream) -> bool:
        descriptor = self._way.content(record.path)
        try:
            if not _has(descriptor, member, record) or not self._equal(descriptor, member, stream):
                return False
            status = os.fstat(descriptor)  # it may have been written to meanwhile
        finally:
            os.close(descriptor)
        if not _is_seen(status, record) or record.inode in self._linked:  # of which the archive has two contents
            return False
        if _is_linked(record):
            self._firsts[record.path] = status.st_dev, status.st_ino
        return True

    def _is_symlink(self, member: Member, record: Record) -> bool:
        descriptor = self._way.place(record.path)
        try:
            return _has(descriptor, member, record) and os.readlink(b"", dir_fd=descriptor) == member.target
        finally:
            os.close(descriptor)

    def _equal(self, descriptor: int, member: Member, stream: TarStream) -> bool:
        """Whether a file's content is the member's."""
        at = 0
        for offset, length in stream.segments() if member.sparse else ((0, member.size),):
            if not _is_hole(descriptor, at, offset) or not self._equal_piece(descriptor, offset, length, stream):
                return False
            at = offset + length
        return _is_hole(descriptor, at, member.size)

    def _equal_piece(self, descriptor: int, at: int, length: int, stream: TarStream) -> bool:
        while length and (data := stream.content(min(length, CHUNK))):
            if _read(descriptor, len(data), at) != data:
                return False
            at += len(data)
            length -= len(data)
            self.progress(len(data))
        return not length


def _is_linked(record: Record) -> bool:
    return record.type == "f" and record.nlink > 1


def _is_described(member: Member, record: Record) -> bool:
    """Whether a member has the metadata of a record. The size of a symbolic link is the length of what it says."""
    size = member.size if member.kind == b"f" else record.size
    described = member.mode & 0o7777, member.uid, member.gid, size, member.mtime_ns
    return described == (record.mode, record.uid, record.gid, record.size, record.mtime_ns)


def _has(descriptor: int, member: Member, record: Record) -> bool:
    """Whether what was opened is what the scan saw, with the attributes of the member."""
    opened = descriptor if record.type == "f" else beneath.through(descriptor)  # the others are places
    return _is_seen(os.fstat(descriptor), record) and _attributes(opened) == member.attributes


def _is_seen(status: os.stat_result, record: Record) -> bool:
    directory = record.type == "d"
    return (
        stat.S_IFMT(status.st_mode) == _FORMATS[record.type]
        and stat.S_IMODE(status.st_mode) == record.mode
        and status.st_ino == record.inode
        and status.st_ctime_ns == record.ctime_ns
        and status.st_mtime_ns == record.mtime_ns
        and (directory or (status.st_size, status.st_nlink) == (record.size, record.nlink))
        and (status.st_uid, status.st_gid) == (record.uid, record.gid)
    )


_FORMATS = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK}


def _attributes(opened: int | str) -> dict[bytes, bytes]:
    """The extended attributes of what was opened."""
    try:
        return {os.fsencode(name): os.getxattr(opened, name) for name in os.listxattr(opened)}
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}


def _is_hole(descriptor: int, at: int, end: int) -> bool:
    """Whether nothing but zeros is there; what the file system has no data of is not read."""
    while at < end:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return True
        hole = min(os.lseek(descriptor, at, os.SEEK_HOLE), end) if at < end else at
        while at < hole:
            data = _read(descriptor, min(hole - at, CHUNK), at)
            if not data or data.strip(b"\0"):
                return False
            at += len(data)
    return True


def _read(descriptor: int, size: int, at: int) -> bytes:
    """So many bytes, fewer at the end of the file."""
    data = os.pread(descriptor, size, at)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), at + len(data))):
        data += more
    return data
