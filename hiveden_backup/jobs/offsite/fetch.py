"""Files out of their slices: fetched several at a time, each held against its digest, decrypted, joined."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hiveden_backup.core import sizes
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import CorruptError, NotFoundError, StorageError, UnreachableError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.sums import ArchiveSums, BackupSums, Content, Piece, load_archive, load_backup
from hiveden_backup.host.disk.durable import digest, opened, translated
from hiveden_backup.host.disk.mounts import free_bytes
from hiveden_backup.host.offsite import age
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.process import Brake
from hiveden_backup.host.state.key import prove
from hiveden_backup.jobs.offsite.asked import There
from hiveden_backup.jobs.offsite.patience import patiently
from hiveden_backup.jobs.services.at_once import several

AT_ONCE = 4
"""Slices that travel at a time: what a place answers takes longer than what it sends."""

_ENCRYPTED = ".age"
_OTHERS = "Look what else is there: hiveden-backup list --from OFFSITE"
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Sliced:
    """A file in its objects, which lie in `folder` (relative to the host's), and for whom it is encrypted."""

    folder: str
    content: Content
    pieces: tuple[Piece, ...]
    recipients: tuple[str, ...]


def fetch(there: There, file: Sliced, target: Path, brake: Brake | None = None) -> None:
    """Put a file together as the new file `target`.

    CorruptError when an object is missing or not what the sums say, or the whole is not; NotFoundError or DeniedError
    without the key that opens it; StorageError where it has no room.
    """
    if any(each.name.endswith(_ENCRYPTED) for each in file.pieces):
        age.usable(there.identity, file.recipients or there.offsite.recipients)  # before anything travels
    _insist_on_room(file, target)
    with (
        translated(f"writing {target}", unwritable=StorageError),
        TemporaryDirectory(dir=target.parent, prefix=".parts-") as parts,
        open(target, "xb", opener=partial(os.open, mode=0o600)) as growing,
    ):
        way = _Way(there, file, Path(parts), brake)
        for at in range(0, len(file.pieces), AT_ONCE):
            window = file.pieces[at : at + AT_ONCE]
            if len(window) == 1:
                way.arrive(window[0], Brake(brake))
            else:
                several(window, way.arrive, AT_ONCE, within=brake)
            for piece in window:
                way.join(piece, growing.fileno())
        found = digest(target)
    if found != (file.content.bytes, file.content.sha256):
        raise CorruptError(
            f"{file.folder}/{file.content.path.rpartition('/')[2]} at {there} is not what was sent",
            "Decrypted, its slices are another file",
            _OTHERS,
        )


def _insist_on_room(file: Sliced, target: Path) -> None:
    """StorageError where a file does not fit beside the slices that travel."""
    needed = file.content.bytes + sum(sorted(each.bytes for each in file.pieces)[-AT_ONCE:])
    with translated(f"looking at {target.parent}", unwritable=StorageError):
        free = free_bytes(target.parent)
    if needed > free:
        raise StorageError(
            f"There is no room for {file.content.path}",
            f"It takes {sizes.text(needed)} until it is whole, and {target.parent} has {sizes.text(free)}",
            "Free some space there, then run again",
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """How the pieces of one file come into the directory `parts`, and go into the file."""

    there: There
    file: Sliced
    parts: Path
    brake: Brake | None

    def arrive(self, piece: Piece, brake: Brake) -> None:
        """Fetch one object, and hold it against its size and digest."""
        name, target = f"{self.there.host}/{self.file.folder}/{piece.name}", self.parts / piece.name
        where = f"{name} at the offsite {self.there.offsite.name}"
        remote = self.there.remote(brake)
        try:
            size = _seen(remote, name, lambda: remote.get(name, target, piece.bytes))
        except NotFoundError as error:
            raise CorruptError(f"{where} is missing", "", _OTHERS) from error
        if size != piece.bytes:
            raise CorruptError(f"{where} is cut short", f"It has {size} bytes instead of {piece.bytes}", _OTHERS)
        if digest(target)[1] != piece.sha256:
            raise CorruptError(f"{where} is not what was sent there", "Its SHA-256 is another one", _OTHERS)

    def join(self, piece: Piece, target: int) -> None:
        """Add what has arrived to the file, decrypted."""
        part = self.parts / piece.name
        with opened(part) as source:
            if piece.name.endswith(_ENCRYPTED):
                recipients = self.file.recipients or self.there.offsite.recipients
                age.decrypt(source, self.there.identity, target, recipients, brake=self.brake)
            else:
                with open(os.dup(target), "wb") as plain:
                    shutil.copyfileobj(source, plain)
        part.unlink()


def _seen(remote: Remote, name: str, act: Callable[[], _R]) -> _R:
    """What `act` reads of an object; it is tried again when the place does not answer well.

    Then rclone may say nothing at all, as of what is not there: NotFoundError is believed when a listing says so, too.
    """

    def once() -> _R:
        try:
            return act()
        except NotFoundError as error:
            listed = remote.list(name.rpartition("/")[0])
            if not any(each.name == name and each.bytes for each in listed):
                raise
            raise UnreachableError(
                f"{name} did not come from the offsite {remote.offsite.name}", "It is there, and nothing was sent"
            ) from error

    return patiently(once, remote)


# ---- what says that something is complete there


def backup_sums(there: There, job: str, backup: str, brake: Brake | None = None) -> BackupSums:
    """What a backup consists of there. CorruptError when that is not signed, or damaged."""
    name = layout.backup_sums(backup)
    content = _signed(there, name, layout.backup_signature(backup), job, brake)
    try:
        found = load_backup(content)
    except ValueError as error:
        raise _damaged(there, job, name, str(error)) from error
    if (found.job, found.backup) != (job, backup):
        raise _damaged(there, job, name, f"It is of another backup, {found.job}/{found.backup}")
    return found


def archive_sums(there: There, job: str, archive: str, brake: Brake | None = None) -> ArchiveSums:
    """What an archive consists of there. As `backup_sums`."""
    name = layout.archive_sums(archive)
    content = _signed(there, name, layout.signature_of(name), job, brake)
    try:
        found = load_archive(content)
    except ValueError as error:
        raise _damaged(there, job, name, str(error)) from error
    if found.archive.path != archive:
        raise _damaged(there, job, name, f"It is of another archive, {found.archive.path}")
    return found


def _signed(there: There, sums: str, signature: str, job: str, brake: Brake | None) -> bytes:
    """The content of sums, whose signature fits. Whose it is, the backup's own signature tells."""
    remote, name = there.remote(brake), layout.job_object(there.host, job, sums)
    beside = layout.job_object(there.host, job, signature)
    try:
        content = _seen(remote, name, lambda: remote.read(name, layout.LONGEST_SUMS))
        proof = _seen(remote, beside, lambda: remote.read(beside, layout.LONGEST_SIGNATURE))
    except NotFoundError as error:
        raise CorruptError(f"{error.what}: not all of it is at {there}", "", _OTHERS) from error
    if not prove(content, proof):
        raise CorruptError(
            f"{name} at the offsite {there.offsite.name} is not signed", "Its signature does not fit", _OTHERS
        )
    return content


def _damaged(there: There, job: str, name: str, why: str) -> CorruptError:
    return CorruptError(f"{job}/{name} at {there} is damaged", why, _OTHERS)
