"""Disks that are away: what was mounted where a job's files are when a kept backup was made, and is not now."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.model import Manifest, Root
from hiveden_backup.core.paths import inside
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.state.records import Accepted
from hiveden_backup.jobs.run.passes import Trees


@dataclass(frozen=True, slots=True)
class Absent:
    """A mount point without its mount. `backup` is the newest kept one that has it."""

    point: str
    backup: str
    job: str

    @property
    def error(self) -> NotFoundError:
        """What a run of the job must not pass over."""
        return NotFoundError(
            f"Nothing is mounted at {self.point}",
            f"The backup {self.job}/{self.backup} has what is on the disk that was mounted there",
            f"Mount it; or, if it is gone for good: hiveden-backup accept {self.job}",
        )


def absent(history: Iterable[Manifest], trees: Trees, accepted: Accepted) -> tuple[Absent, ...]:
    """What the backups of `history`, newest first, found mounted where `trees` are, and what is away now.

    All of them count, but for what a person accepted: else the first run without a disk would make the second usual.
    What the job does not back up any more does not count.
    """
    found: dict[str, Absent] = {}
    there: dict[str, bool] = {"/": True}
    for manifest in history:
        meant = accepted.mounts if manifest.id in accepted.backups else ()
        for root in manifest.roots:
            for point in _concerning(root, trees):
                if point not in there:
                    there[point] = mounts.is_mounted(point)
                if not there[point] and point not in meant:
                    found.setdefault(point, Absent(point, manifest.id, manifest.job))
            if _on_another(root, trees) and root.path not in meant:
                found.setdefault(root.path, Absent(root.path, manifest.id, manifest.job))
    return tuple(found[point] for point in sorted(found))


def _concerning(root: Root, trees: Trees) -> Iterator[str]:
    """The mount points of a root that have to do with what is backed up now."""
    for point in dict.fromkeys((*root.mounts, *filter(None, [root.mount]))):
        if mounts.comes_and_goes(point):
            continue  # version 0.1.0 recorded these, too
        if inside(root.path, point):  # the root lay on it
            concerns = any(inside(root.path, now) or inside(now, root.path) for now in trees.roots)
        else:
            concerns = any(inside(now, point) for now in trees.roots)
        if concerns or any(inside(point, now) and not trees.ignores(point) for now in trees.roots):
            yield point


def _on_another(root: Root, trees: Trees) -> bool:
    """Whether a root lies on another type of file system now: all that version 0.1.0 recorded of where it lies."""
    if root.mount or root.path in root.mounts or root.path not in trees.roots:
        return False
    with suppress(OSError):
        os.statvfs(root.path)  # an automounter may have to be asked first
    return mounts.mount_of(root.path, mounts.mounts()).filesystem != root.filesystem
