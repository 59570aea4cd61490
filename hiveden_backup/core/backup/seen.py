"""Archives that a verify has read whole, and what tells of each that nobody has touched it since."""

import os
from collections.abc import Collection, Mapping
from datetime import datetime

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.model import Archive


@dataclass(frozen=True, slots=True)
class Seen:
    """An archive as a verify read it, and what `stat` said of its file then. `at` is when it was read.

    The inode's number is no part of it: on network and FUSE file systems it changes by itself.
    """

    sha256: str
    bytes: int
    mtime_ns: int
    ctime_ns: int
    at: datetime

    @classmethod
    def of(cls, archive: Archive, found: os.stat_result, at: datetime) -> "Seen":
        """An archive that is what it should be, by its file."""
        return cls(archive.sha256, archive.bytes, found.st_mtime_ns, found.st_ctime_ns, at)

    def untouched(self, found: os.stat_result) -> bool:
        """Whether its file looks as it did."""
        return (self.bytes, self.mtime_ns, self.ctime_ns) == (found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def is_of(self, archive: Archive) -> bool:
        """Whether it is the archive that a manifest means."""
        return (self.sha256, self.bytes) == (archive.sha256, archive.bytes)


@dataclass(frozen=True, slots=True)
class SeenArchives:
    """Those of a job, by their paths."""

    archives: Mapping[str, Seen] = field(default_factory=dict)

    def renewed(self, seen: Mapping[str, Seen], damaged: Collection[str]) -> "SeenArchives":
        """With what was `seen` meanwhile in place of what was known of it, and without what was found damaged."""
        kept = {path: each for path, each in self.archives.items() if path not in damaged}
        return SeenArchives({**kept, **seen})

    def only(self, paths: Collection[str]) -> "SeenArchives":
        """Those that are still there."""
        return SeenArchives({path: each for path, each in self.archives.items() if path in paths})
