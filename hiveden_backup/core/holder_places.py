"""Where an act may keep what comes and what goes: where nobody but root can reach it, as far as there is such a place.

Who can write to a directory can put other things in the place of what is in it, or have root follow a link out of it.
"""

import stat
from collections.abc import Iterable, Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.paths import inside

Spot = tuple[str, str]
"""A directory by its device and its path in that file system: the same under whatever name a bind mount shows it."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory on the way from `/`. `mount` is the kernel's number of what it lies on."""

    path: str
    mount: int
    device: int
    owner: int
    mode: int
    spot: Spot

    @property
    def of_root(self) -> bool:
        """Whether root alone can rename what root has in it. What an ACL lets others do, the group's bits show."""
        return self.owner == 0 and (not self.mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(self.mode & stat.S_ISVTX))


@dataclass(frozen=True, slots=True)
class Writer:
    """A running container that can write to `source` on this machine, and to the `spots` that this shows."""

    id: str
    name: str
    source: str
    spots: tuple[Spot, ...]

    def reaches(self, directory: Directory) -> bool:
        """Whether it can write to a directory, under this name or another one."""
        device, path = directory.spot
        shown = any(device == other and inside(path, top) for other, top in self.spots)
        return shown or inside(directory.path, self.source)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A directory that can have a holder, and the running containers that could write to that."""

    path: str
    writers: tuple[Writer, ...] = ()


def rooted(way: Sequence[Directory], writers: Iterable[Writer]) -> list[Candidate]:
    """Those on the last one's file system that only root can write to, nor to anything above them; topmost first.

    `way` is every directory from `/` to the last one.
    """
    known = tuple(writers)
    found: list[Candidate] = []
    for directory in way:
        if not directory.of_root or reaching([directory], known):
            break
        if (directory.mount, directory.device) == (way[-1].mount, way[-1].device):
            found.append(Candidate(directory.path))
    return found


def beside(way: Sequence[Directory], writers: Iterable[Writer]) -> Candidate:
    """The last one itself, whosever it is, with all that can write to it or could put another one in its place."""
    return Candidate(way[-1].path, tuple(reaching(way, writers)))


def called(spot: Spot, path: str, of_path: Spot) -> str | None:
    """What a spot is called from `path`, which is at `of_path`: None when it lies neither above, at nor below it."""
    (device, there), (other, place) = spot, of_path
    if device == other and inside(there, place):
        return path.rstrip("/") + there[len(place.rstrip("/")) :] if there != place else path
    if device == other and inside(place, there):
        steps = place.count("/") - there.rstrip("/").count("/")
        return path.rsplit("/", steps)[0] or "/"
    return None


def reaching(way: Sequence[Directory], writers: Iterable[Writer]) -> list[Writer]:
    """Those that can write to something on a way."""
    return [writer for writer in writers if any(writer.reaches(directory) for directory in way)]
