"""The backups that a decision may count on: this host knows them, and they are as it knows them.

Who can write to the backup directory can put others beside them, newer ones too, and change what a manifest says. So
what is kept, what is usual, what was mounted and when the last success was is read of these alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.chain import Chain
from hiveden_backup.core.backup.layout import LONGEST_SUMS, MANIFEST, SUMS, parse_sums
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import CorruptError, NotFoundError
from hiveden_backup.core.model import Manifest
from hiveden_backup.host.disk.durable import read_regular
from hiveden_backup.host.disk.repository import BackupDirectory, unread
from hiveden_backup.host.later import Later
from hiveden_backup.jobs.backups.signing import chain_of, lies
from hiveden_backup.jobs.installation import Installation

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = Later("hashlib")


@dataclass(frozen=True, slots=True)
class Counted:
    """Those of a job, by what is remembered of each. `backups` are newest first, and `strange` all others."""

    directory: BackupDirectory
    job: str
    chain: Chain
    backups: tuple[str, ...]
    strange: tuple[str, ...]

    @property
    def own(self) -> tuple[str, ...]:
        """Those that this host made, or has had since before there were signatures; no person has let in the others."""
        return tuple(backup for backup in self.backups if self.chain.backups[backup].trusted)

    def sums(self, backup: str) -> Mapping[str, str]:
        """The digests of its files, as this host knows them. CorruptError when its SHA256SUMS cannot be read."""
        path = self.directory.backup_path(self.job, backup) / SUMS
        try:
            content = read_regular(path, LONGEST_SUMS)
        except OSError as error:
            raise unread(path, error) from error
        if hashlib.sha256(content).hexdigest() != self.chain.backups[backup].sums:
            raise CorruptError(f"{path} is not the one that this host knows", "", "Verify the backups of the job")
        try:
            return parse_sums(content)
        except ValueError as error:
            raise CorruptError(f"{path} is damaged", str(error), "Verify the backups of the job") from error

    def manifest(self, backup: str) -> Manifest:
        """What it said of itself when this host came to know it. CorruptError, NotFoundError."""
        return self.directory.manifest(self.job, backup, self.sums(backup).get(MANIFEST, ""))

    def history(self) -> Iterator[Manifest]:
        """What they say of themselves, newest first, passing over damaged ones."""
        for backup in self.backups:
            with suppress(CorruptError, NotFoundError):
                yield self.manifest(backup)


def counted(installation: Installation, directory: BackupDirectory, job: str) -> Counted:
    """The backups of a job in an opened directory that count. StorageError when it is not known which."""
    chain, known, strange = chain_of(installation, directory, job), list[str](), list[str]()
    for backup in directory.backups(job):
        (known if _counts(directory, job, chain, backup) else strange).append(backup)
    return Counted(directory, job, chain, tuple(known), tuple(strange))


def one_by_one(installation: Installation, directory: BackupDirectory, job: str) -> Iterator[Counted]:
    """Each backup that counts, newest first, by itself: for who mostly needs the first one of ten thousand."""
    chain = chain_of(installation, directory, job)
    for backup in directory.backups(job):
        if _counts(directory, job, chain, backup):
            yield Counted(directory, job, chain, (backup,), ())


def _counts(directory: BackupDirectory, job: str, chain: Chain, backup: str) -> bool:
    return chain.counts(backup, lies(f"{directory.path}/{job}/{backup}"))
