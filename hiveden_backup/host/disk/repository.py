"""The backup directory: its marker, the backups in it, how one becomes visible and how one goes.

A visible directory is a finished backup, always: everything in progress and everything being removed has a name that
begins with a dot. Callers hold the job's lock for whatever changes something.
"""

import errno
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hiveden_backup.core.backup import layout, stub
from hiveden_backup.core.backup import manifest as manifests
from hiveden_backup.core.backup.how_to_restore import TEXT
from hiveden_backup.core.codec import Codec, RecordError
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, DirectoryError, NotFoundError
from hiveden_backup.core.model import FORMAT, Manifest
from hiveden_backup.core.names import is_backup_id, is_job_name, iso, newest_first
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.durable import (
    UnfitFileError,
    fsync_directory,
    make_directory,
    opened,
    read_regular,
    translate,
    translated,
    write_durably,
)
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")

_OTHERS = "Verify the other backups of the job"
_IN_AN_EMPTY_ONE = ("lost+found", layout.RECIPE)  # a fresh file system's, and ours from an `init` that was killed


@dataclass(frozen=True, slots=True)
class _Marker:
    format: int
    id: str
    created: str = ""  # for people


_MARKERS = Codec(_Marker, lacking=("created",))


@dataclass(frozen=True, slots=True)
class BackupDirectory:
    """An opened backup directory: marked, so that a disk that is not mounted is noticed."""

    path: Path
    id: str

    @classmethod
    def open(cls, path: Path) -> "BackupDirectory":
        """The marked directory at `path`. DirectoryError when there is no (readable) marker."""
        try:
            marker = _MARKERS.load(read_regular(path / layout.MARKER, layout.LONGEST_MARKER))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DirectoryError(
                f"{path} is not a backup directory",
                f"It has no marker file {layout.MARKER}: perhaps its disk is not mounted",
                f"Mount it, or mark a new one with: hiveden-backup init --directory {path}",
            ) from error
        except (RecordError, UnfitFileError) as error:
            raise DirectoryError(
                f"The marker {path / layout.MARKER} is damaged",
                (isinstance(error, OSError) and error.strerror) or str(error),
                f'Restore it from a copy, or write {{"format": {FORMAT}, "id": "..."}} into it',
            ) from error
        except OSError as error:
            with translated(f"reading the marker of {path}"):
                raise error from None
        if marker.format != FORMAT:
            raise DirectoryError(
                f"The backup directory {path} has format {marker.format}",
                f"This program knows format {FORMAT}",
                "Use a version of hiveden-backup that knows it",
            )
        return cls(path, marker.id)

    # ---- looking

    def job_path(self, job: str) -> Path:
        """Where the backups of `job` are. DirectoryError for a link: what root writes must stay in this directory."""
        return _no_link(self.path / job)

    def _archives(self, job: str) -> Path:
        return _no_link(self.job_path(job) / layout.ARCHIVES)

    @contextmanager
    def held(self, job: str, folder: str = "") -> Iterator[int]:
        """A descriptor of the job's directory, or of a folder in it: what is done by it is done there, whatever comes.

        Who can write there can put a link in place of either at any moment. OSError when one is there.
        """
        top = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            home = beneath.open_directory(f"{job}/{folder}", top)
        finally:
            os.close(top)
        try:
            yield home
        finally:
            os.close(home)

    def backup_path(self, job: str, backup: str) -> Path:
        """Where one backup is."""
        return self.path / job / backup

    def jobs(self) -> tuple[str, ...]:
        """The names of the jobs that have a directory here, sorted."""
        with translated(f"reading the backup directory {self.path}"):
            return tuple(sorted(entry.name for entry in os.scandir(self.path) if _is_job(entry)))

    def backups(self, job: str) -> tuple[str, ...]:
        """The ids of the job's finished backups, newest first; those dated in the future last."""
        with translated(f"reading the backups of {job}"), suppress(FileNotFoundError):
            found = [name for name in os.listdir(self.job_path(job)) if is_backup_id(name)]
            return tuple(newest_first(found, datetime.now(UTC)))
        return ()

    def outdates(self, job: str, identifier: str) -> bool:
        """Whether this id would be the job's newest backup."""
        backups = self.backups(job)
        return identifier not in backups and newest_first((*backups, identifier), datetime.now(UTC))[0] == identifier

    def manifest(self, job: str, backup: str, sha256: str | None = None) -> Manifest:
        """What a backup says of itself. NotFoundError, or CorruptError when it cannot be read.

        CorruptError, too, when its digest is not the one that is given.
        """
        path = self.backup_path(job, backup) / layout.MANIFEST
        if path.parent.is_symlink():
            raise CorruptError(f"{path.parent} is a symbolic link", "No backup is", _OTHERS)
        try:
            content = read_regular(path, layout.LONGEST_MANIFEST)
        except NotADirectoryError as error:
            raise CorruptError(f"{path.parent} is not a directory", "", _OTHERS) from error
        except FileNotFoundError as error:
            if path.parent.is_dir():
                raise CorruptError(f"{path} is missing", "", _OTHERS) from error
            raise no_such_backup(f"{job}/{backup}") from error
        except OSError as error:
            raise unread(path, error) from error
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise CorruptError(f"{path} is not what SHA256SUMS says", "", _OTHERS)
        found = _loaded(content, str(path))
        if (found.job, found.id) != (job, backup):
            raise CorruptError(
                f"{path} is of another backup, {found.job}/{found.id}", "", "Somebody has moved or copied it there"
            )
        return found

    def archive_names(self, job: str, backup: str) -> tuple[str, ...]:
        """The archives that a backup's index names, in the order of its numbers; empty without files."""
        return read_archive_names(self.backup_path(job, backup))

    # ---- one that is in progress

    def begin(self, job: str, backup: str) -> Path:
        """Make the directory in which a backup grows. FileExistsError when the id is taken.

        It is by a backup, and by the archives that a failed run left to its checkpoint: they must not be replaced.
        """
        make_directory(self._archives(job))
        taken = (Path(name).name.startswith(backup) for name in self.archives(job))
        if self.backup_path(job, backup).exists() or any(taken):
            raise FileExistsError(backup)
        incoming = self.job_path(job) / layout.incoming(backup)
        incoming.mkdir(mode=0o700)
        fsync_directory(incoming.parent)
        return incoming

    def adopt_archive(self, job: str, incoming: Path, name: str) -> None:
        """Move a finished, fsynced archive `name` (relative to the job) from `incoming` to where backups name it."""
        last = Path(name).name
        with self.held(job, incoming.name) as source, self.held(job, layout.ARCHIVES) as target:
            os.rename(last, last, src_dir_fd=source, dst_dir_fd=target)
            beneath.sync(target)

    def publish(self, job: str, backup: str) -> None:
        """Make the grown backup visible. Every file in it is fsynced already."""
        with self.held(job) as home:
            with beneath.opened(layout.incoming(backup), home) as incoming:
                beneath.sync(incoming)
            failpoint("rename")
            os.rename(layout.incoming(backup), backup, src_dir_fd=home, dst_dir_fd=home)
            beneath.sync(home)

    def put_checkpoint(self, job: str, incoming: Path) -> None:
        """Make `incoming` (a directory of fsynced files) the job's checkpoint. An older one goes when it is there."""
        with self.held(job) as home:
            with beneath.opened(incoming.name, home) as made:
                beneath.sync(made)
            if layout.CHECKPOINT not in beneath.listed(home):
                os.rename(incoming.name, layout.CHECKPOINT, src_dir_fd=home, dst_dir_fd=home)
                beneath.sync(home)
                return
        self._remove(job, layout.CHECKPOINT, successor=incoming.name)

    def drop_checkpoint(self, job: str) -> None:
        """Remove the job's checkpoint, if it has one."""
        if os.path.lexists(self.job_path(job) / layout.CHECKPOINT):
            self._remove(job, layout.CHECKPOINT)

    # ---- one that goes

    def delete(self, job: str, backup: str) -> None:
        """Remove a backup; archives that nothing else names are garbage then. NotFoundError when it is not there."""
        if not self.backup_path(job, backup).is_dir():
            raise no_such_backup(f"{job}/{backup}")
        self._remove(job, backup)

    def _remove(self, job: str, name: str, successor: str = "") -> None:
        gone = layout.deleting(name, uuid.uuid4().hex[:8])
        with self.held(job) as home:
            os.rename(name, gone, src_dir_fd=home, dst_dir_fd=home)
            if successor:
                os.rename(successor, name, src_dir_fd=home, dst_dir_fd=home)
            beneath.sync(home)
            failpoint("removing")
            beneath.remove_tree(home, gone)

    def sweep(self, job: str) -> tuple[str, ...]:
        """Remove what killed runs and deletes left; the names."""
        swept = []
        with translated(f"sweeping the leftovers of {job}"), suppress(FileNotFoundError), self.held(job) as home:
            for name in filter(layout.is_leftover, beneath.listed(home)):
                failpoint("removing")
                beneath.remove_tree(home, name)
                swept.append(name)
        return tuple(swept)

    def collect_garbage(self, job: str, sums: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
        """Remove archives that no backup and no checkpoint of the job names; their names.

        `sums` are the digests of the files of backups whose SHA256SUMS is known: what is not so names nothing there.
        CorruptError, and nothing is removed, when it cannot be told what a backup names.
        """
        live = set(read_archive_names(self.job_path(job) / layout.CHECKPOINT))
        for backup in self.backups(job):
            live.update(self._named(job, backup, sums.get(backup)))
        garbage = [name for name in self.archives(job) if name not in live]
        if garbage:
            failpoint("removing")
            with self.held(job, layout.ARCHIVES) as archives:
                for name in map(os.path.basename, garbage):
                    for each in (name, stub.of(name)):
                        with suppress(FileNotFoundError):
                            os.unlink(each, dir_fd=archives)
        return tuple(garbage)

    def _named(self, job: str, backup: str, sums: Mapping[str, str] | None) -> Iterator[str]:
        """The archives that a backup names, in one of its two lists that is as it was made; else in any of them."""
        if sums is None:
            yield from self.archive_names(job, backup)
            yield from (archive.path for archive in self.manifest(job, backup).archives)
            return
        try:
            names = [archive.path for archive in self.manifest(job, backup, sums.get(layout.MANIFEST, "")).archives]
        except CorruptError:
            listed = sums.get(layout.ARCHIVE_NAMES)
            names = [*read_archive_names(self.backup_path(job, backup), listed)] if listed is not None else []
        yield from names

    def drop_archive(self, job: str, name: str) -> None:
        """Remove an archive whose stub stands beside it."""
        with self.held(job, layout.ARCHIVES) as archives:
            os.unlink(Path(name).name, dir_fd=archives)
            beneath.sync(archives)

    def archives(self, job: str) -> Iterator[str]:
        """All archives, also those that only have a stub here, relative to the job's directory.

        What has no archive's name is not ours to remove.
        """
        with suppress(FileNotFoundError):
            entries = os.scandir(self._archives(job))
            found = {stub.stands_for(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)}
            yield from sorted(layout.archive_path(name) for name in found if layout.is_archive(name))


def marker_in(directory: str) -> bytes:
    """The marker's text, which names the backup directory wherever it is shown; empty where there is none to read."""
    try:
        return read_regular(Path(directory, layout.MARKER), layout.LONGEST_MARKER)
    except OSError:
        return b""


def initialise(path: Path, now: datetime) -> tuple[BackupDirectory, bool]:
    """Create and mark a backup directory, or adopt a marked one; the flag tells whether it is new.

    DirectoryError when `path` has other things in it: they might be taken for backups, or swept.
    """
    with translated(f"making the backup directory {path}"):
        if (path / layout.MARKER).exists():
            return BackupDirectory.open(path), False
        if path.exists() and not path.is_dir():
            raise DirectoryError(f"{path} is not a directory", "", "Choose an empty or new one")
        if path.is_dir() and any(entry not in _IN_AN_EMPTY_ONE for entry in os.listdir(path)):
            raise DirectoryError(
                f"{path} is not empty", "A backup directory must have nothing else in it", "Choose an empty or new one"
            )
        make_directory(path)
        path.chmod(0o700)
        write_durably(path / layout.RECIPE, TEXT.encode())
        marker = _Marker(FORMAT, str(uuid.uuid4()), iso(now))
        write_durably(path / layout.MARKER, _MARKERS.dump(marker))
    return BackupDirectory.open(path), True


def _loaded(content: bytes, where: str) -> Manifest:
    """A manifest by its content: a run looks at all of a job before it begins, and again when it prunes."""
    return (_small if len(content) < _LARGE else _large)(content, where)


_LARGE = 32 << 10  # of those with hundreds of archives, a few hundred would take as many megabytes
_small = lru_cache(512)(manifests.load)
_large = lru_cache(32)(manifests.load)


def read_archive_names(holder: Path, sha256: str | None = None) -> tuple[str, ...]:
    """The lines of `files.archives` in a backup or checkpoint; empty when it has no files.

    CorruptError when the list is missing beside an index, or names something outside `archives/`; also when its digest
    is not the one that is given.
    """
    path = holder / layout.ARCHIVE_NAMES
    try:
        content = read_regular(path, layout.LONGEST_ARCHIVE_NAMES)
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise CorruptError(f"{path} is not what SHA256SUMS says", "", "Verify the backups of the job")
        return layout.parse_archive_list(content)
    except FileNotFoundError as error:
        if sha256 is not None or (holder / layout.INDEX).exists():
            raise CorruptError(f"{path} is missing", "", "Verify the backups of the job") from error
        return ()
    except OSError as error:
        raise unread(path, error) from error
    except ValueError as error:
        raise CorruptError(f"{path} is damaged", str(error), "Verify the backups of the job") from error


@contextmanager
def stored_file(path: Path, size: int | None = None, *, most: int | None = None) -> Iterator[IO[bytes]]:
    """A file of a backup, opened as `opened` does. CorruptError when it is missing, or something else lies there."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(opened(path, size, most=most))
        except FileNotFoundError as error:
            raise CorruptError(f"{path} is missing", "", _OTHERS) from error
        except OSError as error:
            raise unread(path, error) from error
        yield file


def unread(path: Path, error: OSError) -> BackupError:
    """Why a file of a backup could not be read. What the disk has lost is damage to this backup only."""
    if isinstance(error, UnfitFileError):
        return CorruptError(f"{path} is damaged", str(error.strerror), _OTHERS)
    if error.errno == errno.EIO:
        return CorruptError(f"{path} cannot be read", os.strerror(errno.EIO), _OTHERS)
    return translate(error, f"reading {path}")


def no_such_backup(what: str) -> NotFoundError:
    """The error for a backup that is not there."""
    return NotFoundError(f"There is no backup {what}", "", "See what there is: hiveden-backup list")


def _no_link(path: Path) -> Path:
    if path.is_symlink():
        raise DirectoryError(
            f"{path} is a symbolic link",
            "What is written there, and removed, would be somewhere else",
            "Put the directory itself there; another disk can be mounted at it",
        )
    return path


def _is_job(entry: os.DirEntry[str]) -> bool:
    return is_job_name(entry.name) and entry.is_dir(follow_symlinks=False)
