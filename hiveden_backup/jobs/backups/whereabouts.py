"""Where the archives of a job lie: here, at offsites as this host's journals say, or nowhere."""

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from hiveden_backup.core.backup import place
from hiveden_backup.core.backup.layout import ARCHIVES, archive_path
from hiveden_backup.core.backup.place import Place
from hiveden_backup.core.backup.stub import Stub, stands_for
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import Archive, Manifest
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Line
from hiveden_backup.host.disk.archives import stub_at, stubbed
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.chains import chains_of
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.backups.signing import chain_of
from hiveden_backup.jobs.installation import Installation, Written


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`here` are the archives on this machine, by their paths in the job; `there` what each offsite has, by its name.

    What an offsite is known to have lost is not there. `copied` are the backups that some offsite has whole. `claimed`
    are archives whose stubs are all that tells of them, and those: no backup that this host made needs them. They came
    with a directory that it has taken over.
    """

    here: frozenset[str]
    there: Mapping[str, Mapping[str, Line]]
    copied: frozenset[str]
    claimed: Mapping[str, Stub]

    def names(self, path: str) -> tuple[str, ...]:
        """The offsites that have an archive."""
        return tuple(name for name, archives in self.there.items() if path in archives)

    def has(self, archive: Archive) -> bool:
        """Whether an offsite has exactly this archive."""
        sums = (archives[archive.path] for archives in self.there.values() if archive.path in archives)
        return any((each.plain_bytes, each.plain_sha256) == (archive.bytes, archive.sha256) for each in sums)

    def of(self, backup: str, needs: Iterable[str]) -> Place:
        """Where a backup is, that needs these archives. It is for people to see."""
        there = frozenset(self.claimed).union(*self.there.values())
        return place.of_backup(needs, self.here, there, copied=backup in self.copied)

    def away(self, archive: Archive) -> bool:
        """Whether an archive lies elsewhere alone."""
        return archive.path not in self.here and (self.has(archive) or _fits(self.claimed.get(archive.path), archive))


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
        self._where: Whereabouts | None = None
        with suppress(BackupError):  # it cannot be told, as the job's status says
            self._where = whereabouts(installation, directory, job)

    def of(self, backup: str) -> Place:
        """Where one of them is; *here*, too, where it cannot be told, and without offsites whatever is missing.

        What is read from elsewhere is *there*, whatever lies here.
        """
        if self._elsewhere:
            return Place.THERE
        if self._where is None or not (self._where.there or self._where.claimed):
            return Place.HERE
        try:
            return self._where.of(backup, self._directory.archive_names(self._job, backup))
        except BackupError:
            return Place.HERE


def whereabouts(installation: Installation, directory: BackupDirectory, job: str) -> Whereabouts:
    """Of a job's archives, as far as this machine knows without asking any place. StorageError."""
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
    claimed = _claimed(installation, directory, job, stubs - here.union(*there.values()))
    return Whereabouts(here, there, frozenset(copied), claimed)


def left_out(installation: Installation, manifest: Manifest) -> Collection[str]:
    """The files of a backup that are not in the backup directory, and come by `at_hand`.

    Where that is the configured one, they are dumps in whose place there are stubs that say what the manifest says; of
    a backup that this host made, only where its journals have the backup elsewhere.
    """
    job, backup = manifest.job, manifest.id
    if installation.elsewhere is not None:
        return installation.elsewhere.left_out(job, backup)
    directory = installation.directory
    home = directory.backup_path(job, backup)
    if not (names := stubbed(home)):
        return ()
    if backup in _made_here(installation, directory, job) and (
        backup not in whereabouts(installation, directory, job).copied
    ):
        return ()
    files = (file for artifact in manifest.artifacts for file in artifact.files if file.file in names)
    return [each.file for each in files if _fits(_stub(home / each.file, f"{backup}/{each.file}"), each)]


def _claimed(
    installation: Installation, directory: BackupDirectory, job: str, stubs: frozenset[str]
) -> Mapping[str, Stub]:
    """The stubs, by what they stand for, that count without any line of a journal: who can write here can write one."""
    if not stubs or installation.elsewhere is not None:
        return {}
    own = set[str]()
    try:
        for backup in _made_here(installation, directory, job).intersection(directory.backups(job)):
            with suppress(BackupError):  # its own verification tells
                own.update(directory.archive_names(job, backup))
    except BackupError:  # it cannot be told what this host made
        return {}
    found = {path: _stub(directory.job_path(job) / path, path) for path in stubs - own}
    return {path: stub for path, stub in found.items() if stub is not None}


def _made_here(installation: Installation, directory: BackupDirectory, job: str) -> frozenset[str]:
    """The backups of a job that this host made, as it remembers, in this directory or in one that has another id now.

    StorageError.
    """
    known = chain_of(installation, directory, job).backups
    others = [each.backups for each in chains_of(installation.state, job).directories.values()]
    before = {name for each in others for name, one in each.items() if one.trusted and name not in known}
    return frozenset(before | {name for name, one in known.items() if one.trusted})


def _stub(place: Path, path: str) -> Stub | None:
    """The stub at a place, if it is that of the file which belongs there."""
    found = stub_at(place)
    return found if found is not None and found.path == path else None


def _fits(stub: Stub | None, written: Written) -> bool:
    return stub is not None and (stub.bytes, stub.sha256) == (written.bytes, written.sha256)
