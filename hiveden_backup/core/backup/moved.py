"""Directories that must stay where they are while tar reads: which these are, and what lies in those that moved.

The scan writes a list of the directories that it opened, `device TAB inode TAB path`, each before those below it.
"""

from collections.abc import Iterator

from hiveden_backup.core.dataclass import dataclass, field

Identity = tuple[int, int]
"""Device and inode."""


def directory_line(path: bytes, identity: Identity) -> bytes:
    """An entry of the list, without the NUL that ends it."""
    return b"%d\t%d\t%s" % (*identity, path)


def parse_directory(line: bytes) -> tuple[bytes, Identity]:
    """A directory's path, and what it was when the scan opened it."""
    device, inode, path = line.split(b"\t", 2)
    return path, (int(device), int(inode))


@dataclass(slots=True)
class Ways:
    """The directories on the way to what is archived, up to `/`, which cannot move; and archived directories."""

    directories: set[bytes] = field(default_factory=set)

    def add(self, path: bytes, *, directory: bool) -> None:
        """What leads to one archived path."""
        above = path if directory else path.rpartition(b"/")[0]
        while above and above not in self.directories:
            self.directories.add(above)
            above = above.rpartition(b"/")[0]


@dataclass(slots=True)
class Moved:
    """Directories that are not where the scan saw them, or were not all the time."""

    directories: set[bytes] = field(default_factory=set)

    def above(self, path: bytes) -> bytes | None:
        """The topmost of them that `path` is, or lies below."""
        if not self.directories:
            return None
        return next((each for each in _ways_to(path) if each in self.directories), None)


def _ways_to(path: bytes) -> Iterator[bytes]:
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)
    yield path
