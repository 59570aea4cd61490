"""One job at one offsite, while nobody else changes what is there: what acts on it have in common."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from hiveden_backup.core.backup import stub
from hiveden_backup.core.backup.layout import ARCHIVES
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import There
from hiveden_backup.host.offsite.listing import Object
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.key import own_fingerprint
from hiveden_backup.host.state.offsites import Facts, LockedOffsite, Offsites
from hiveden_backup.jobs.installation import Installation


@dataclass(frozen=True, slots=True)
class Visit:
    """`host` is this host's folder there, which is known to be its own."""

    installation: Installation
    remote: Remote
    locked: LockedOffsite
    host: str
    job: str

    @property
    def offsites(self) -> Offsites:
        """What is remembered here."""
        return Offsites(self.installation.state)

    @property
    def fingerprint(self) -> str:
        """The key that what lies there is signed with."""
        return own_fingerprint(self.installation.state)

    def there(self) -> There:
        """What the journal says."""
        return self.offsites.there(self.locked.name, self.job)

    def facts(self) -> Facts:
        """How it stands."""
        return self.offsites.facts(self.locked.name, self.job)

    def change(self, **facts: Any) -> None:
        """Remember how it stands now: of the facts, those that are given."""
        self.offsites.put_facts(self.locked, self.job, replace(self.facts(), **facts))

    def at(self, name: str) -> str:
        """An object of the job, relative to the remote."""
        return layout.job_object(self.host, self.job, name)

    def listed(self) -> dict[str, Object]:
        """A listing of the job, by the names in its folder; with digests, where the place knows them."""
        start = len(self.at("")) + 1
        return {each.name[start:]: each for each in self.remote.list(self.at(""), digests=self.remote.knows_md5)}

    def stat(self, name: str) -> Object | None:
        """One object, looked for by itself; None when it is not there."""
        return self.remote.stat(self.at(name), digests=self.remote.knows_md5)


@dataclass(frozen=True, slots=True)
class Here:
    """What of a job this machine still has: archives by their paths, and backups by their ids.

    Archives that a verify found damaged are not among them: they are not sent again. `names` are all in its directory
    `top`, and in that of its archives.
    """

    top: Path
    archives: frozenset[str]
    backups: frozenset[str]
    names: frozenset[str]

    def has(self, of: str | None) -> bool:
        """Whether an archive or a backup is here, and can be sent again: not what only has a stub here."""
        if of is not None and of in self.backups:
            return not any(stub.stands_for(name) != name for name in os.listdir(self.top / of))
        return of in self.archives

    def knows(self, of: str) -> bool:
        """Whether anything of it is here: itself, in progress, or what stands for an archive that is elsewhere."""
        name = of.rpartition("/")[2]
        return self.has(of) or any(name in each for each in self.names)


def here(installation: Installation, job: str) -> Here:
    """What of a job lies in the backup directory. DirectoryError when that is not mounted."""
    directory = installation.own_directory
    top = directory.job_path(job)
    names = {name for folder in (top, top / ARCHIVES) if folder.is_dir() for name in os.listdir(folder)}
    archives = frozenset(path for path in directory.archives(job) if path.rpartition("/")[2] in names)
    archives -= installation.records.failed_archives(job)
    return Here(top, archives, frozenset(directory.backups(job)), frozenset(names))
