"""Files on their way to an offsite: cut, encrypted, spooled, digested, sent, and noted when they are there.

While a slice is on its way, the next one is made: there are two in the spool at most. What the journal has of a file is
not sent again, but the file is read all the same, and before anything is sent: what is put there goes over what lies
there, which may be the last good copy.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import CorruptError, StorageError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line, There
from hiveden_backup.core.offsite.plan import made_for
from hiveden_backup.core.offsite.sums import Content, Piece
from hiveden_backup.host.disk.durable import make_directory, opened, pieces, translated
from hiveden_backup.host.disk.repository import stored_file, unread
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.later import Later
from hiveden_backup.host.offsite import age
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.key import this_key
from hiveden_backup.host.state.offsites import LockedOffsite, Offsites
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.patience import patiently
from hiveden_backup.jobs.services.at_once import Errand

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A piece that waits to be sent."""

    path: Path
    line: Line


@dataclass(slots=True)
class Sending:
    """What one push sends of one job to one offsite. `sent` counts what went there, as it lies there."""

    installation: Installation
    locked: LockedOffsite
    remote: Remote
    host: str
    job: str
    there: There
    brake: Brake
    sent: int = 0
    objects: int = 0
    _made: str = field(init=False)
    _spool: Path = field(init=False)

    def __post_init__(self) -> None:
        offsites = Offsites(self.installation.state)
        self._made = made_for(self.remote.offsite)
        self._spool = offsites.spool(self.locked.name)

    # ---- files

    def file(self, path: Path, name: str, content: Content, *, sliced: bool) -> tuple[Piece, ...]:
        """Send a file of the job, `name` there but for the endings, unless it is there; the objects that it lies in.

        `content` is what it must be: CorruptError when it is something else; nothing is put over what is there then.
        """
        offsite, lines = self.remote.offsite, list[Line]()
        count = layout.slice_count(content.bytes, offsite.slice)
        with stored_file(path, content.bytes) as file, _ahead(self._send) as give:
            marks = self._marks(file, path, content, count)
            for number in range(count):
                size = min(offsite.slice, content.bytes - number * offsite.slice)
                encrypted = offsite.encrypt
                target = (
                    layout.slice_object(name, number, encrypted=encrypted)
                    if sliced or count > 1
                    else layout.file_object(name, encrypted=encrypted)
                )
                known, digest, wanted = self.there.objects.get(target), marks[number], marks[number + 1].hexdigest()
                same = (self._made, size, wanted)
                if known is not None and (known.made, known.plain_bytes, known.plain_sha256) == same:
                    self.installation.progress.advance(size)
                    lines.append(known)
                    continue
                file.seek(number * offsite.slice)
                spooled = self._spooled(self._read(file, size, path, digest), target)
                if digest.hexdigest() != wanted:  # a moment ago it was another
                    spooled.path.unlink()
                    raise _damaged(path)
                line = replace(spooled.line, plain_bytes=size, plain_sha256=wanted, made=self._made)
                lines.append(line)
                give(_Spooled(spooled.path, line))
        known_lines = (self.there.objects[line.object] for line in lines)
        return tuple(Piece(line.object.rpartition("/")[2], line.bytes, line.sha256) for line in known_lines)

    def small(self, content: bytes, line: Line) -> None:
        """Send what says that something is complete: its signature first, and then `line.object` with this content."""
        with this_key(self.installation.state).signing(content) as signature:
            signed = signature()
        failpoint("sums")
        for data, each in ((signed, Line(line.at, Did.PUT, layout.signature_of(line.object))), (content, line)):
            path = self._free()
            with translated(f"writing {path}", unwritable=StorageError):
                path.write_bytes(data)
            self._send(_Spooled(path, each))

    # ---- how

    def _marks(self, file: IO[bytes], path: Path, content: Content, count: int) -> "list[hashlib._Hash]":
        """The file's digest as it is before each of its slices, and at its end. CorruptError when that is another."""
        digest, size = hashlib.sha256(), self.remote.offsite.slice
        marks = [digest.copy()]
        try:
            for number in range(count):
                for piece in self._pieces(file, min(size, content.bytes - number * size), path):
                    digest.update(piece)
                marks.append(digest.copy())
        except OSError as error:
            raise unread(path, error) from error
        if digest.hexdigest() != content.sha256:
            raise _damaged(path)
        return marks

    def _read(self, file: IO[bytes], size: int, path: Path, digest: "hashlib._Hash") -> Iterator[bytes]:
        """As `_pieces`, on their way."""
        for piece in self._pieces(file, size, path):
            digest.update(piece)
            self.installation.progress.advance(len(piece))
            yield piece

    def _pieces(self, file: IO[bytes], size: int, path: Path) -> Iterator[bytes]:
        """So many bytes of a file. CorruptError when it ends before."""
        left = size
        while left:
            self.brake.insist()
            piece = file.read(min(left, _CHUNK))
            if not piece:
                raise CorruptError(
                    f"{path} is shorter than it was", "Something else writes there", "Verify the backups"
                )
            left -= len(piece)
            yield piece

    def _spooled(self, content: Iterator[bytes], target: str) -> _Spooled:
        """A piece in the spool, encrypted if that is wanted."""
        offsite, path = self.remote.offsite, self._free()
        try:
            with translated(f"writing {path}", unwritable=StorageError), path.open("wb") as file:
                if offsite.encrypt:
                    age.encrypt(content, offsite.recipients, file.fileno(), brake=self.brake)
                else:
                    for piece in content:
                        file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return _Spooled(path, Line(self.installation.now(), Did.PUT, target))

    def _free(self) -> Path:
        """A name in the spool that is free."""
        with translated(f"writing {self._spool}", unwritable=StorageError):
            make_directory(self._spool)
        return next(path for path in (self._spool / f"piece-{number}" for number in range(4)) if not path.exists())

    def _send(self, spooled: _Spooled) -> None:
        """Send what is spooled, and note that it is there."""
        path = spooled.path
        try:
            size, sha256, md5 = _digests(path, with_md5=self.remote.knows_md5)
            name = layout.job_object(self.host, self.job, spooled.line.object)
            patiently(lambda: self.remote.put(path, name), self.remote)
            with translated(f"sending {name}", unwritable=StorageError):
                failpoint("slice")
            self._note([replace(spooled.line, at=self.installation.now(), bytes=size, sha256=sha256, md5=md5)])
        finally:
            path.unlink(missing_ok=True)
        self.sent += size
        self.objects += 1

    def _note(self, lines: Collection[Line]) -> None:
        Offsites(self.installation.state).note(self.locked, self.job, lines)
        for line in lines:
            self.there.note(line)


def sweep_spool(installation: Installation, locked: LockedOffsite) -> None:
    """Remove what a push that was killed has left in the spool."""
    shutil.rmtree(Offsites(installation.state).spool(locked.name), ignore_errors=True)


@contextmanager
def _ahead(act: Callable[[_Spooled], None]) -> Iterator[Callable[[_Spooled], None]]:
    """Do `act` with what is given, one after the other, while the next one is made; all of it is done afterwards."""
    running: list[Errand] = []

    def settle() -> None:
        while running:
            running.pop().join()

    def give(spooled: _Spooled) -> None:
        settle()
        running.append(Errand(lambda _: act(spooled)))
        running[-1].begin()

    try:
        yield give
        settle()
    finally:
        for errand in running:
            errand.wait()


def _damaged(path: Path) -> CorruptError:
    return CorruptError(f"{path} is damaged", "Its digest is not the one it was written with", "Verify the backups")


def _digests(path: Path, *, with_md5: bool) -> tuple[int, str, str]:
    """Size, SHA-256 and, where the place knows it, MD5 of what is about to be sent."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with translated(f"reading {path}", unwritable=StorageError), opened(path) as file:
        for piece in pieces(file):
            sha256.update(piece)
            if with_md5:
                md5.update(piece)
            size += len(piece)
    return size, sha256.hexdigest(), md5.hexdigest() if with_md5 else ""
