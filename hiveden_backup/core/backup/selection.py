"""Which records of an index a restore takes: the whole, filtered; and what an index must be to be restored at all."""

from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile

from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.paths import above


def checked(lines: Iterable[bytes], archives: int) -> Iterator[Record]:
    """The records of an index that can be trusted to stay below its root. ValueError at the first that cannot.

    Paths are relative, without empty, `.` or `..` components, in strictly ascending order; none lies below something
    that the same index says is no directory; each is of a known type and names one of the `archives`.
    """
    last = b""
    leaves: list[bytes] = []  # the non-directories that a later path could claim to lie below
    for line in lines:
        record = parse(line)
        path = record.path
        parts = path.split(b"/")
        if b"" in parts or b"." in parts or b".." in parts:
            raise ValueError(f"the path {path!r} leaves the restored tree")
        if path <= last:
            raise ValueError(f"the path {path!r} is out of order")
        if not 0 <= record.archive < archives:
            raise ValueError(f"the path {path!r} names an archive that is not there")
        if record.type not in _TYPES:
            raise ValueError(f"the path {path!r} is of the unknown type {record.type!r}")
        # bytewise order puts a/b after a and a-b: keep those leaves that are a prefix of what may still come
        leaves = [leaf for leaf in leaves if path.startswith(leaf)]
        if any(path.startswith(leaf + b"/") for leaf in leaves):
            raise ValueError(f"the path {path!r} lies below something that is no directory")
        if record.type != "d":
            leaves.append(path)
        last = path
        yield record


_TYPES = frozenset("fdlpcb")


@dataclass(slots=True)
class Filter:
    """What a partial restore takes: each wanted path, and the directories above it for their modes and times.

    A hard link needs the member that has its content, which may be a name that is not wanted: all names of its inode
    are taken as helpers, to go again afterwards. The index is read twice before, since any name may be the last.
    """

    wanted: Callable[[bytes], bool]
    helpers: set[bytes] = field(default_factory=set)
    _inodes: set[tuple[int, int]] = field(default_factory=set)
    _above: set[bytes] = field(default_factory=set)
    _passing: set[bytes] = field(default_factory=set)

    def find_wanted(self, records: Iterable[Record]) -> int:
        """The first reading; how many paths are wanted."""
        count = 0
        for record in records:
            if self.wanted(record.path):
                count += 1
                self._above.update(_parents(record.path, self._above))
                if record.nlink > 1:
                    self._inodes.add((record.archive, record.inode))
        return count

    def find_helpers(self, records: Iterable[Record]) -> None:
        """The second reading. Then `helpers` has what must go again: names, and directories made only for them."""
        for record in records:
            linked = record.nlink > 1 and (record.archive, record.inode) in self._inodes
            if linked and not self.wanted(record.path):
                self.helpers.add(record.path)
                self._passing.update(_parents(record.path, self._passing))
        self._passing -= self._above
        self.helpers |= {path for path in self._passing if not self.wanted(path)}

    def takes(self, record: Record) -> bool:
        """Whether to restore this path, be it as a helper."""
        path = record.path
        return path in self.helpers or (record.type == "d" and path in self._above) or self.wanted(path)


def _parents(path: bytes, known: set[bytes]) -> Iterator[bytes]:
    """The directories above a path, up to one that is `known` with all above it."""
    return takewhile(lambda directory: directory not in known, above(path))
