"""The working lists of a pass: which names go into which of its archives, and what tar answered for each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.host.disk.durable import fsync_directory, fsync_file, opened
from hiveden_backup.host.disk.index_files import append_records, between

_MOST_WAITING = 4 << 20


@dataclass(frozen=True, slots=True)
class NameLists:
    """The lists of the pass called `name`, in the directory `folder`; archives are counted from 0."""

    folder: Path
    name: str

    @property
    def draft(self) -> Path:
        """The draft of the new index, of whose lines the names are."""
        return self.folder / f"{self.name}.draft"

    def names(self, archive: int) -> Path:
        """The NUL-terminated paths for an archive, in the index's order."""
        return self.folder / f"{self.name}.names-{archive:04}"

    def listing(self, archive: int) -> Path:
        """Tar's listing of an archive."""
        return self.folder / f"{self.name}.listing-{archive:04}"

    @property
    def _order(self) -> Path:
        return self.folder / f"{self.name}.order"

    def order(self) -> Iterator[tuple[int, int]]:
        """For the names of all archives together, in the index's order: in which one so many of them are."""
        with opened(self._order) as file:
            for line in file:
                archive, count = line.split()
                yield int(archive), int(count)

    def are_there(self, archives: int) -> bool:
        """Whether all but the listings can be read."""
        lists = [self.draft, self._order, *map(self.names, range(archives))]
        return all(os.access(path, os.R_OK) for path in lists)

    @contextmanager
    def written(self) -> Iterator["Writer"]:
        """Write the lists, new ones, in the block."""
        with self._order.open("xb") as order:
            writer = Writer(self)
            yield writer
            writer.flush()
            order.writelines(b"%d %d\n" % run for run in writer.runs)

    def read(self, archive: int) -> Iterator[bytes]:
        """The paths for an archive. ValueError when the list is cut short."""
        for path in between(self.names(archive), b"\0"):
            if not path.endswith(b"\0"):
                raise ValueError("a list of names is cut short")
            yield path[:-1]

    def make_durable(self, archives: int) -> None:
        """Fsync all but the listings, and the directory."""
        fsync_file(self.draft)
        fsync_file(self._order)
        for archive in range(archives):
            fsync_file(self.names(archive))
        fsync_directory(self.folder)


@dataclass(slots=True)
class Writer:
    """Takes names in the index's order. Few files are open at a time: an inode's later names may go to any archive."""

    lists: NameLists
    runs: list[tuple[int, int]] = field(default_factory=list)
    _waiting: dict[int, list[bytes]] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, archive: int, path: bytes) -> None:
        """One more path."""
        if self.runs and self.runs[-1][0] == archive:
            self.runs[-1] = (archive, self.runs[-1][1] + 1)
        else:
            self.runs.append((archive, 1))
        self._waiting.setdefault(archive, []).append(path)
        self._bytes += len(path)
        if self._bytes > _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for archive, paths in self._waiting.items():
            append_records(self.lists.names(archive), paths)
        self._waiting.clear()
        self._bytes = 0
