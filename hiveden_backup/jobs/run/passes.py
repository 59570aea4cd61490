"""The first step of a hot or cold pass: scan the job's trees, and compare them with the index that it builds upon.

A pass is three steps, so that the containers are down for two of the cold one only: `look`, `take` (archive what
changed), `conclude` (hold the draft against what tar says, and write the index).
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO

from hiveden_backup.core.backup import compaction
from hiveden_backup.core.backup.bounded import archive_bytes
from hiveden_backup.core.backup.index import (
    Comparison,
    Selection,
    Sink,
    compare,
    join_records,
)
from hiveden_backup.core.backup.layout import CHECKPOINT
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import NotFoundError, StorageError
from hiveden_backup.core.globs import Globs, matcher
from hiveden_backup.core.model import Archive, Manifest
from hiveden_backup.core.paths import inside, shortened
from hiveden_backup.host import process
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.tree import Scan
from hiveden_backup.jobs.backups.catalog import show_path

_BATCH = 4096
_SIZE_VARIABLE = "HIVEDEN_BACKUP_ARCHIVE_BYTES"
"""For tests: the size at which archives are closed, so that there are many of them."""


@dataclass(frozen=True, slots=True)
class Trees:
    """The job's files, resolved: `roots` are real absolute paths.

    `skip` are directories that are never archived, each with what it is; nor is the one that has `marker`.
    """

    roots: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    marker: bytes = b""
    one_file_system: bool = False

    def views(self) -> dict[str, mounts.View]:
        """What is mounted at and below each root right now. NotFoundError when a root is gone."""
        found = {}
        for root in self.roots:
            try:
                found[root] = mounts.view(root, self.ignores)
            except FileNotFoundError as error:
                raise NotFoundError(f"The job's path {root} is gone", "", "Mount it, or correct the job") from error
        return found

    def skipped(self) -> dict[str, str]:
        """What of `skip` lies below the roots; the scan may not have met it, since it is excluded as well."""
        return {path: what for path, what in self.skip.items() if any(inside(path, root) for root in self.roots)}

    def hidden(self) -> dict[tuple[int, int], str]:
        """Device and inode of the directories that are never archived: a bind mount shows them elsewhere, too."""
        found = {path: os.stat(path) for path in self.skip if os.path.exists(path)}
        return {(status.st_dev, status.st_ino): self.skip[path] for path, status in found.items()}

    def ignores(self, point: str) -> bool:
        """Whether what is mounted at `point` is no concern of the job."""
        if self.one_file_system or any(inside(point, skipped) for skipped in self.skip):
            return True
        if not self.exclude:
            return False
        excluded = matcher(self.exclude)
        parts = point.strip("/").split("/")
        root = next((root for root in self.roots if inside(point, root)), "/")
        above = len(root.strip("/").split("/")) if root != "/" else 0  # patterns hold below a root alone
        return any(excluded(os.fsencode("/".join(parts[: n + 1]))) for n in range(above, len(parts)))


@dataclass(frozen=True, slots=True)
class State:
    """An index with the archives it names, in the order of its numbers: what a pass starts from, and what it leaves.

    `index` None is the state before the first run. `broken` are numbers of archives that are never built upon, `away`
    of those that only an offsite has. `views` are the mounts that a pass of the same run saw: the next one must find
    them too. `fresh` are the paths, at most, whose content is in archives of this run.
    """

    index: Path | None = None
    archives: tuple[Archive, ...] = ()
    taken_ns: int = 0
    entries: int = 0
    broken: frozenset[int] = frozenset()
    away: frozenset[int] = frozenset()
    views: Mapping[str, mounts.View] = field(default_factory=dict)
    fresh: int = 0

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is what a run that failed has left."""
        return self.index is not None and self.index.parent.name == CHECKPOINT


@dataclass(frozen=True, slots=True)
class Look:
    """A draft, and what the comparison that wrote it learned. `views` are the mounts before the scan.

    `candidates` are the draft's lines that may be archived, compaction aside; `questions` is what is in question;
    `directories` are those that were opened.
    `too_long` says what had to be left out, if anything.
    `unmatched` are the patterns of `exclude` that left nothing out, `kept_out` what is never archived, where the scan
    met it, and what it is.
    """

    base: State
    draft: Path
    candidates: Path
    questions: Path
    directories: Path
    comparison: Comparison
    taken_ns: int
    views: dict[str, mounts.View]
    sockets: int
    suspects: tuple[str, ...]
    too_long: str
    unmatched: tuple[str, ...]
    kept_out: tuple[tuple[str, str], ...]

    @property
    def weight(self) -> int:
        """What all paths of the draft weigh."""
        return self.comparison.live.total() + self.comparison.taken_weight

    @property
    def archive_bytes(self) -> int:
        """The bytes of content at which an archive of the pass is closed."""
        return int(os.environ.get(_SIZE_VARIABLE, "0")) or archive_bytes(self.weight)

    @property
    def selection(self) -> Selection:
        """What must be archived, before compaction adds to it."""
        return Selection(frozenset(self.comparison.dirty))


def sync(trees: Trees) -> None:
    """Flush the roots' file systems, so that a page that is dirty now changes its file's times when written again."""
    points = [point for view in trees.views().values() for point in (view.path, *(mount.point for mount in view.below))]
    process.run(process.Command(("sync", "-f", "--", *points)))


def look(trees: Trees, base: State, spool: Path, name: str, *, taken_ns: int | None = None) -> Look:
    """Scan and compare with `base`; the draft goes to `spool`. Without `taken_ns`, T is now, and a sync follows it.

    NotFoundError when what an earlier pass of the run saw mounted is gone.
    """
    views = trees.views()
    compare_mounts(base.views, views)
    if taken_ns is None:
        taken_ns = time.time_ns()
        sync(trees)
    lists = ("draft", "candidates", "questions", "directories")
    draft, candidates, questions, directories = (spool / f"{name}.{what}" for what in lists)
    exclude = Globs(trees.exclude)
    scan = Scan(
        roots=tuple(relative(root) for root in trees.roots),
        hidden=trees.hidden(),
        marker=trees.marker,
        excluded=exclude.matches if trees.exclude else None,
        one_file_system=trees.one_file_system,
        loose_devices=loose(views),
    )
    with (
        spooling(spool),
        draft.open("wb") as draft_file,
        candidates.open("wb") as candidates_file,
        questions.open("wb") as questions_file,
        directories.open("wb") as directories_file,
        records(base.index, base.entries) as older,
    ):
        scan.opened = directories_file.write
        comparison = compare(
            older,
            scan.entries(),
            Sink(_writer(draft_file), _writer(candidates_file), _writer(questions_file)),
            taken_ns=base.taken_ns,
            archives=len(base.archives),
            broken=base.broken,
        )
    return Look(
        *(base, draft, candidates, questions, directories, comparison, taken_ns, views, scan.sockets),
        suspects=tuple("/" + os.fsdecode(path) for path in scan.suspects),
        too_long=_too_long(scan),
        unmatched=exclude.unmatched,
        kept_out=tuple((f"/{os.fsdecode(path)}", what) for path, what in scan.kept_out),
    )


def _too_long(scan: Scan) -> str:
    """What a person is told of paths that nothing can read."""
    if not scan.too_long:
        return ""
    named = ", ".join(shortened(show_path(path)) for path in sorted(scan.too_long_first))
    what = "1 path is" if scan.too_long == 1 else f"{scan.too_long} paths are"
    more = ", ..." if scan.too_long > len(scan.too_long_first) else ""
    return f"{what} left out, with all below, since a path of more than 4050 bytes cannot be restored: {named}{more}"


def loose(views: Mapping[str, mounts.View]) -> dict[int, str]:
    """The network and FUSE file systems by their device numbers, with where they are mounted."""
    return {device: mount.point for view in views.values() for device, mount in view.devices.items() if mount.loose}


def renumbered(views: Mapping[str, mounts.View]) -> frozenset[int]:
    """The file systems that give directories another inode number when they meet them again."""
    found = (item for view in views.values() for item in view.devices.items())
    return frozenset(device for device, mount in found if mount.renumbers)


def _writer(file: IO[bytes]) -> Callable[[Sequence[bytes]], object]:
    return lambda lines: file.write(join_records(lines))


def compacting(looked: Look, job: Job, history: Iterable[Manifest]) -> tuple[Selection, int]:
    """The look's selection with what compaction takes along, and how many bytes that rewrites.

    `history` are the kept backups.
    """
    base = looked.base
    recorded = compaction.recorded([base.archives, *(manifest.archives for manifest in history)])
    candidates = [
        compaction.Candidate(
            number, looked.comparison.live[b"%d" % number], recorded.get(archive.path, 0), archive.content_bytes
        )
        for number, archive in enumerate(base.archives)
        if number not in base.broken
    ]
    chosen = compaction.choose(candidates, compact_ratio=job.compact_ratio, size=looked.archive_bytes)
    rewritten = sum(candidate.live for candidate in candidates if candidate.number in chosen)
    return replace(looked.selection, compacted=frozenset(b"%d" % number for number in chosen)), rewritten


def relative(path: str) -> bytes:
    """A path as indexes have it."""
    return os.fsencode(path.lstrip("/"))


def spooling(spool: Path) -> AbstractContextManager[None]:
    """StorageError when the spool cannot be written."""
    return translated(f"writing the spool {spool}", unwritable=StorageError)


def compare_mounts(before: Mapping[str, mounts.View], after: Mapping[str, mounts.View]) -> None:
    """NotFoundError when a file system that was there before is gone, or another one: never an empty backup."""
    for root, view in before.items():
        now = after[root].identities
        for point, identity in view.identities.items():
            if now.get(point) != identity:
                raise NotFoundError(
                    f"What was mounted at {point} is gone or changed during the run",
                    "A volume with driver options, for one, is unmounted when its container stops",
                    "Back up the directory or device behind it instead, or exclude it",
                )
