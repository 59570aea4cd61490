"""The sums at an offsite, read and proved: only what this host signed says what is there."""

from collections.abc import Callable, Mapping

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import CorruptError, NotFoundError, UnreachableError
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite import sums as formats
from hiveden_backup.core.offsite.compare import Wrong
from hiveden_backup.core.offsite.sums import ArchiveSums, BackupSums
from hiveden_backup.host.state.key import prove
from hiveden_backup.jobs.offsite.visit import Visit


@dataclass(frozen=True, slots=True)
class Proven:
    """Sums that this host has signed; `contents` are theirs and their signature's, by the objects' names."""

    sums: ArchiveSums | BackupSums
    contents: Mapping[str, bytes]

    @property
    def bytes(self) -> int:
        """What was read for it."""
        return sum(map(len, self.contents.values()))


def proven(visit: Visit, name: str, size: Callable[[str], int | None]) -> Proven | Wrong:
    """Read the sums `name` of a job, and hold them against this host's key; else what is wrong with them.

    Sums that are in another's place, or signed by another key, are forged. `size` is what a listing says of an object,
    None where that has it not. UnreadError for what it has, and that cannot be read.
    """
    signature = layout.signature_of(name)
    try:
        contents = {
            signature: visit.remote.read(visit.at(signature), layout.LONGEST_SIGNATURE),
            name: visit.remote.read(visit.at(name), layout.LONGEST_SUMS),
        }
    except NotFoundError as error:
        sizes = size(signature), size(name)
        if None in sizes:
            return Wrong.MISSING
        if 0 in sizes:  # none of ours is
            return Wrong.TRUNCATED
        raise unread(visit, name) from error
    except CorruptError:
        return Wrong.REPLACED
    key = visit.fingerprint
    if not key or prove(contents[name], contents[signature]) != key:
        return Wrong.FORGED
    try:
        found = _loaded(visit.job, name, contents[name])
    except ValueError:
        return Wrong.UNREADABLE
    return Proven(found, contents) if found is not None else Wrong.FORGED


class UnreadError(UnreachableError):
    """An object that a listing has, and that nothing came of."""


def unread(visit: Visit, name: str) -> UnreadError:
    """What an object that a listing has, and that nothing came of, is: rclone says the same of what it may not read.

    It says so, too, of what is away for a moment.
    """
    return UnreadError(
        f"{visit.at(name)} at the offsite {visit.locked.name} could not be read",
        "It is in the listing, and nothing came of it: its key may not read, or the place has too much to do",
        "Try again later, and look at what its key may do",
    )


def _loaded(job: str, name: str, content: bytes) -> ArchiveSums | BackupSums | None:
    """What they say; None when they are of something else than their name says."""
    archive = layout.summed_archive(name)
    if archive is not None:
        of_archive = formats.load_archive(content)
        return of_archive if of_archive.archive.path == archive else None
    of_backup = formats.load_backup(content)
    return of_backup if (of_backup.job, of_backup.backup) == (job, layout.summed_backup(name)) else None
