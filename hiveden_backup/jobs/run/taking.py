"""The second step of a pass: what it selects goes into a sequence of bounded archives, several at a time."""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from hiveden_backup.core.backup.bounded import Split
from hiveden_backup.core.backup.index import Extent, Selection, is_directory, path_of, select
from hiveden_backup.core.backup.layout import archive_path
from hiveden_backup.core.backup.moved import Ways
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import Archive
from hiveden_backup.core.progress import Advance
from hiveden_backup.host.disk import mounts, tar
from hiveden_backup.host.disk.bounds import bounds
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import spooled
from hiveden_backup.host.disk.name_lists import NameLists
from hiveden_backup.host.disk.witness import Witness, witness
from hiveden_backup.host.process import Brake
from hiveden_backup.jobs.run.passes import Look, Trees, compare_mounts, loose, relative, renumbered, spooling
from hiveden_backup.jobs.services.at_once import several, workers

_LEAST_WORKERS = 2
_ALONE_FROM = 32 << 20
"""Bytes of content from which on an archive that is the only one is compressed on all processors."""


@dataclass(frozen=True, slots=True)
class Part:
    """One archive of a pass, the `number`th of it from 0, complete at `path`.

    `changed` are tar's diagnostics of a tree in use, `moved` directories that moved until tar had ended.
    """

    number: int
    archive: Archive
    path: Path
    changed: tuple[str, ...] = ()
    moved: frozenset[bytes] = frozenset()


PartDone = Callable[["Selected", Part], None]
RoomFor = Callable[[int, Brake], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the archives of a pass go: into `folder`, by the names that `name` gives to their numbers, from 1.

    `part_done` hears of each that is complete, and fsynced then, in any order and beside the making of others, where a
    pass has several; the only one of a pass, and all of them without `part_done`, are left to the caller to fsync.
    Each of several is made within a block of `room`, which is given its weight.
    """

    folder: Path
    name: Callable[[int], str]
    level: int
    progress: Advance
    part_done: PartDone | None = None
    room: RoomFor | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """What of a look is to be archived: `archives` of them, whose names are in `lists`, weighing `weights` each."""

    look: Look
    extent: Extent
    lists: NameLists
    weights: tuple[int, ...]

    @property
    def archives(self) -> int:
        """How many there are to be."""
        return len(self.weights)


@dataclass(frozen=True, slots=True)
class Take:
    """What was archived. `warnings` say what could not be seen or read."""

    selected: Selected
    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = ()
    durable: bool = False

    @property
    def bytes(self) -> int:
        """What the archives have, together."""
        return sum(part.archive.bytes for part in self.parts)


def take(trees: Trees, looked: Look, selection: Selection, target: Target, spool: Path) -> Take:
    """Archive what the selection takes. The mounts must be those that the look saw."""
    lists = NameLists(spool, looked.draft.stem)
    ways = Ways()
    with spooling(spool):
        selected = _select(looked, selection, lists, ways)
    if not selected.archives:
        compare_mounts(looked.views, trees.views())
        return Take(selected)
    with (
        bounds([relative(root) for root in trees.roots]) as within,
        witness(ways, spooled(looked.directories), loose(looked.views), renumbered(looked.views)) as seen,
    ):
        work = _Work(trees, selected, target, tar.Scope(within, _points(looked)), seen)
        parts = work.done()
    compare_mounts(looked.views, trees.views())
    warnings = (*within.missing, *seen.blind, *work.warnings)
    return Take(selected, parts, tuple(dict.fromkeys(warnings)), durable=work.durable)


def _select(looked: Look, selection: Selection, lists: NameLists, ways: Ways) -> Selected:
    split = Split(looked.archive_bytes)
    with lists.written() as writer:

        def write(line: bytes) -> None:
            path = path_of(line)
            ways.add(path, directory=is_directory(line))
            writer.add(split.number(line), path)

        choice = looked.draft if selection.compacted else looked.candidates
        extent = select(spooled(choice), selection, looked.comparison.live, write)
    return Selected(looked, extent, lists, tuple(split.weights[number] for number in range(len(split.weights))))


def _points(looked: Look) -> frozenset[bytes]:
    return frozenset(relative(mount.point) for view in looked.views.values() for mount in view.devices.values())


class _Work:
    """The making of a pass's archives, in their order, as many at a time as there are processors, within reason.

    Whatever is raised, what `part_done` heard of is complete, and nothing is written any more.
    """

    def __init__(self, trees: Trees, selected: Selected, target: Target, scope: tar.Scope, seen: Witness) -> None:
        self.warnings: list[str] = []
        self.durable = target.part_done is not None and selected.archives > 1
        self._trees = trees
        self._selected = selected
        self._target = target
        self._scope = scope
        self._seen = seen
        self._read_back = not mounts.mount_of(os.path.realpath(target.folder), mounts.mounts()).loose
        self._lock = threading.Lock()

    def done(self) -> tuple[Part, ...]:
        """Make them all."""
        if self._selected.archives == 1:
            return (self._made(0, Brake()),)
        return tuple(several(range(self._selected.archives), self._in_room, max(workers(), _LEAST_WORKERS)))

    def _in_room(self, number: int, brake: Brake) -> Part:
        room = self._target.room
        with room(self._selected.weights[number], brake) if room is not None else nullcontext():
            return self._made(number, brake)

    def _made(self, number: int, brake: Brake) -> Part:
        selected, target = self._selected, self._target
        path = target.folder / target.name(number + 1)
        weight = selected.weights[number]
        order = tar.Order(
            selected.lists.names(number),
            selected.lists.listing(number),
            path,
            target.level,
            alone=selected.archives == 1 and weight >= _ALONE_FROM,
            durable=self.durable,
            read_back=self._read_back,
        )
        spool = selected.lists.folder
        with spooling(spool) if target.folder == spool else translated(f"writing {path.name}"):
            try:
                written, said = tar.create(order, self._scope, self._advance, brake)
            except BackupError:
                compare_mounts(selected.look.views, self._trees.views())  # a disk that is gone is the better reason
                raise
        archive = Archive(archive_path(path.name), written.bytes, written.sha256, weight, weight, added=True)
        with self._lock:
            self._seen.hear()
            part = Part(number, archive, path, said.changed, frozenset(self._seen.moved))
            self.warnings.extend(warned.sentence for warned in said.warned)
            if self.durable and target.part_done is not None:
                compare_mounts(selected.look.views, self._trees.views())
                target.part_done(selected, part)
        return part

    def _advance(self, count: int) -> None:
        with self._lock:
            self._target.progress(count)
