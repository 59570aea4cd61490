"""Where the archives of a job lie: here, at offsites as this host's journals say, or nowhere."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from hiveden_backup.core.backup import place
from hiveden_backup.core.backup.layout import ARCHIVES, archive_path
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.backup.stub import stands_for
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import Archive
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Line
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.installation import Installation


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`here` are the archives on this machine, by their paths in the job; `there` what each offsite has, by its name.

    What an offsite is known to have lost is not there. `copied` are the backups that some offsite has whole. `claimed`
    are archives whose stubs are all that tells of them: this machine has no offsite, and has taken the directory over.
    """

    here: frozenset[str]
    there: Mapping[str, Mapping[str, Line]]
    copied: frozenset[str]
    claimed: frozenset[str]

    def names(self, path: str) -> tuple[str, ...]:
        """The offsites that have an archive."""
        return tuple(name for name, archives in self.there.items() if path in archives)

    def has(self, archive: Archive) -> bool:
        """Whether an offsite has exactly this archive."""
        sums = (archives[archive.path] for archives in self.there.values() if archive.path in archives)
        return any((each.plain_bytes, each.plain_sha256) == (archive.bytes, archive.sha256) for each in sums)

    def of(self, backup: str, needs: Iterable[str]) -> Place:
        """Where a backup is, that needs these archives. It is for people to see."""
        there = self.claimed.union(*self.there.values())
        return place.of_backup(needs, self.here, there, copied=backup in self.copied)

    def away(self, archive: Archive) -> bool:
        """Whether an archive lies elsewhere alone."""
        return archive.path not in self.here and (self.has(archive) or archive.path in self.claimed)


def _offsites(installation: Installation) -> Iterable[str]:
    try:
        return installation.config.offsites
    except BackupError:  # on a machine that has none yet
        return ()


class Places:
    """Where the backups of a job are, for lists: nothing is looked at where there is no offsite, nor any stub."""

    def __init__(self, installation: Installation, directory: BackupDirectory, job: str) -> None:
        self._directory = directory
        self._job = job
        self._elsewhere = installation.elsewhere is not None
        self._where = whereabouts(installation, directory, job)
        self._matters = bool(self._where.there or self._where.claimed)

    def of(self, backup: str) -> Place:
        """Where one of them is; *here*, too, where it cannot be told, and without offsites whatever is missing.

        What is read from elsewhere is *there*, whatever lies here.
        """
        if self._elsewhere:
            return Place.THERE
        if not self._matters:
            return Place.HERE
        try:
            return self._where.of(backup, self._directory.archive_names(self._job, backup))
        except BackupError:
            return Place.HERE


def whereabouts(installation: Installation, directory: BackupDirectory, job: str) -> Whereabouts:
    """Of a job's archives, as far as this machine knows without asking any place."""
    lying = set[str]()
    with suppress(OSError), os.scandir(directory.job_path(job) / ARCHIVES) as entries:
        lying.update(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    here = frozenset(archive_path(name) for name in lying if stands_for(name) == name)
    stubs = frozenset(archive_path(stands_for(name)) for name in lying if stands_for(name) != name)
    remembered = Offsites(installation.state)
    there, copied = dict[str, Mapping[str, Line]](), set[str]()
    for name in _offsites(installation):
        found = remembered.there(name, job)
        lost = {layout.owner(each) for each in remembered.facts(name, job).damaged}
        there[name] = {path: line for path, line in found.archives.items() if path not in lost}
        copied.update(
            backup
            for backup, line in found.marked.items()
            if backup not in lost and there[name].keys() >= set(line.needs)
        )
    claimed = stubs - here if not there else frozenset[str]()
    return Whereabouts(here, there, frozenset(copied), claimed)
