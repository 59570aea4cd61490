"""A backup directory made of what lies at an offsite: what is small of the backups that are wanted, and no more.

Archives and dumps travel when something is read out of them, and go again.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hiveden_backup.core.backup import layout as local
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import BackupError, CorruptError, DeniedError, NotFoundError, StorageError
from hiveden_backup.core.names import is_job_name
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.sums import BackupSums
from hiveden_backup.host.disk.durable import make_directory, translated, write_durably
from hiveden_backup.host.disk.repository import BackupDirectory, initialise
from hiveden_backup.host.disk.spool import swept_spool
from hiveden_backup.host.log import log
from hiveden_backup.host.process import Brake
from hiveden_backup.jobs.backups import catalog
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.installation import Installation, Written
from hiveden_backup.jobs.offsite.asked import Asked, There, there
from hiveden_backup.jobs.offsite.fetch import Sliced, archive_sums, backup_sums, fetch
from hiveden_backup.jobs.services.at_once import several

_TOGETHER = 8
_LATEST = "latest"
_PREFIX = ".from-offsite-"
_T = TypeVar("_T")

OF_ONE = (CorruptError, NotFoundError, DeniedError)
"""What may be wrong with one backup alone, be it because somebody else has put it there, for a key of his own."""


@dataclass(slots=True)
class Adopted:
    """The backups of one host at an offsite, as an installation reads backups from elsewhere.

    `directory` has a folder for each backup whose sums are there, empty until it is brought. `archives` are those that
    are complete there, by their job.
    """

    there: There
    directory: BackupDirectory
    archives: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _sums: dict[Backup, BackupSums] = field(default_factory=dict)
    _brought: set[tuple[Backup, str]] = field(default_factory=set)

    # ---- for people: which, and what of it

    def resolve(self, text: str) -> Backup:
        """As the catalog's: of those that are complete there. NotFoundError for one that is not, CorruptError."""
        while True:
            found = self._named(text)
            try:
                self._look(found)
            except NotFoundError as error:
                if text.rpartition("/")[2] != _LATEST:
                    raise
                log.warning(f"{found} is passed over. {error}", job=found.job)
                self._hide(found)
            else:
                return found

    def _named(self, text: str) -> Backup:
        try:
            return catalog.resolve(self.directory, text)
        except NotFoundError as error:
            there = f"hiveden-backup list --from {self.there.offsite.name}"
            raise NotFoundError(f"{error.what} at {self.there}", error.why, f"See what there is: {there}") from error

    def bring(self, backups: Iterable[Backup] | None = None, *, whole: bool = True) -> list[BackupError]:
        """Have what is small of these backups, or of all, in the directory: their manifests, and `whole` all of it.

        Of all, those that are not complete, damaged, or for another key are taken out, and why is returned, unless the
        key opens none; of some, it is raised.
        """
        wanted = [*backups] if backups is not None else self._all()
        troubles = _each(wanted, wanted, self._look, (CorruptError, NotFoundError))
        files = [
            (backup, each.path)
            for backup in wanted
            if backup not in troubles
            for each in self._sums[backup].files
            if (whole or each.path == local.MANIFEST) and not _is_dump(each.path)
        ]
        missing = [each for each in files if each not in self._brought]
        closed = _each(missing, [backup for backup, _ in missing], self._bring, OF_ONE)
        self._brought.update(each for each in missing if each[0] not in closed)
        troubles |= closed
        keyless = [trouble for trouble in closed.values() if not isinstance(trouble, CorruptError)]
        if troubles and (backups is not None or (keyless and len(troubles) == len(wanted))):
            raise next(iter(keyless or troubles.values()))
        for backup in troubles:
            self._hide(backup)
        return [*troubles.values()]

    def sums(self, backup: Backup) -> BackupSums:
        """What a backup that was brought consists of."""
        return self._sums[backup]

    # ---- for the installation

    def left_out(self, job: str, backup: str) -> Collection[str]:
        """The dumps of a backup."""
        sums = self._sums.get(Backup(job, backup))
        return [each.path for each in sums.files if _is_dump(each.path)] if sums is not None else ()

    @contextmanager
    def at_hand(self, job: str, path: str, written: Written, brake: Brake | None) -> Iterator[Path]:
        """An archive or a dump for the block. CorruptError when what lies there is not what was `written`."""
        file = self._sliced(job, path, brake)
        if (file.content.bytes, file.content.sha256) != (written.bytes, written.sha256):
            raise CorruptError(
                f"{job}/{path} at {self.there} is not what the backup was made with",
                "",
                "Look what else is there: hiveden-backup list --from OFFSITE",
            )
        with TemporaryDirectory(dir=self.directory.path.parent, prefix="fetched-") as folder:
            place = Path(folder, path.rpartition("/")[2])
            fetch(self.there, file, place, brake)
            yield place

    def _sliced(self, job: str, path: str, brake: Brake | None) -> Sliced:
        folder, _, name = path.rpartition("/")
        if local.is_archive_path(path):
            archive = archive_sums(self.there, job, path, brake)
            return Sliced(f"{job}/{folder}", archive.archive, archive.pieces, archive.recipients)
        return self._file(Backup(job, folder), name)

    def _file(self, backup: Backup, name: str) -> Sliced:
        sums = self._sums[backup]
        content = next(each for each in sums.files if each.path == name)
        return Sliced(str(backup), content, sums.pieces_of(name), sums.recipients)

    # ---- one backup

    def _all(self) -> list[Backup]:
        return [Backup(job, each) for job in self.directory.jobs() for each in self.directory.backups(job)]

    def _look(self, backup: Backup, brake: Brake | None = None) -> None:
        """Fetch its sums, unless that was done. NotFoundError when it is not complete there."""
        if backup in self._sums:
            return
        sums = backup_sums(self.there, backup.job, backup.id, brake)
        missing = [each.path for each in sums.needs if each.path not in self.archives[backup.job]]
        if missing:
            raise NotFoundError(
                f"{backup} is not complete at {self.there}",
                f"It needs {missing[0]}, of which not all is there",
                "Look what else is there: hiveden-backup list --from OFFSITE",
            )
        home = self.directory.backup_path(backup.job, backup.id)
        with translated(f"writing {home}", unwritable=StorageError):
            write_durably(home / local.SUMS, sums.own_sums)
            if sums.signature:
                write_durably(home / local.SIGNATURE, sums.signature)
        self._sums[backup] = sums

    def _bring(self, file: tuple[Backup, str], brake: Brake) -> None:
        backup, name = file
        fetch(self.there, self._file(backup, name), self.directory.backup_path(backup.job, backup.id) / name, brake)

    def _hide(self, backup: Backup) -> None:
        shutil.rmtree(self.directory.backup_path(backup.job, backup.id), ignore_errors=True)  # nobody else's spool


def _each(
    items: Sequence[_T],
    backups: Sequence[Backup],
    act: Callable[[_T, Brake], None],
    kinds: tuple[type[BackupError], ...],
) -> dict[Backup, BackupError]:
    """Do something for each of the items, which are of these backups; why it could not be done for some of them."""

    def trying(item: _T, brake: Brake) -> BackupError | None:
        try:
            act(item, brake)
        except kinds as error:
            return error
        return None

    told: dict[Backup, BackupError] = {}
    for backup, error in zip(backups, several(items, trying, _TOGETHER), strict=True):
        if error is not None:
            told.setdefault(backup, error)
    return told


@contextmanager
def reading(installation: Installation, asked: Asked, job: str | None = None) -> Iterator[Adopted]:
    """What a person wants to read from, for the block. Only one job is looked at where one is named.

    What is fetched lies in the spool, and goes with the block; what killed ones have left goes first.
    """
    found = there(installation, asked)
    spool = installation.state / "spool"
    with translated(f"making {spool}", unwritable=StorageError):
        make_directory(spool)
    with swept_spool(spool, _PREFIX) as place:
        directory, _ = initialise(place / "backups", installation.now())
        with suppress(BackupError):  # by its id, this host knows what it has made
            directory = replace(directory, id=installation.own_directory.id)
        adopted = Adopted(found, directory)
        _list(adopted, job)
        yield adopted


def _list(adopted: Adopted, job: str | None) -> None:
    """Note what is there."""
    there = adopted.there
    prefix = layout.job_object(there.host, job) if job is not None else there.host
    for each in there.remote().list(prefix):
        found = layout.is_of_job(each.name)
        if found is None or not is_job_name(found[1]):
            continue
        _, name, part = found
        if (archive := layout.summed_archive(part)) is not None:
            adopted.archives[name].add(archive)
        if (backup := layout.summed_backup(part)) is not None:
            make_directory(adopted.directory.backup_path(name, backup))


def _is_dump(name: str) -> bool:
    return local.globals_beside(name) is not None
