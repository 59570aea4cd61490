"""Mounted file systems: what is mounted where, and whether it is still the same one."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.paths import inside

_LOOSE = re.compile(
    r"nfs\d?|cifs|smb3?|smbfs|9p|afs|ceph|glusterfs|ncpfs|virtiofs|vboxsf|davfs|fuse(\..*)?|fuseblk"
    r"|vfat|msdos|exfat"  # Linux numbers their inodes as it meets them, and they keep times by two seconds
)
_OCTAL = re.compile(r"\\(\d{3})")
_MODELESS = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3"})


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system, by the point where it is mounted."""

    point: str
    filesystem: str

    @property
    def loose(self) -> bool:
        """Whether inode numbers and clocks there are not to be trusted (network, FUSE and FAT)."""
        return _LOOSE.fullmatch(self.filesystem) is not None

    @property
    def has_modes(self) -> bool:
        """Whether the file system keeps owners and modes."""
        return self.filesystem not in _MODELESS


def mounts() -> tuple[Mount, ...]:
    """All mounts of this mount namespace; of several on one point the last, which hides the others."""
    found: dict[str, Mount] = {}
    # of what ends a line, the kernel escapes \n alone, and anybody may have made the directories
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
            found[point] = Mount(point, after.split(" ")[0])
    return tuple(found.values())


def mount_of(path: str, table: Iterable[Mount]) -> Mount:
    """The mount that `path` (absolute, without symlinks) lies on. NotFoundError when /proc knows none."""
    covering = [mount for mount in table if inside(path, mount.point)]
    if not covering:
        raise NotFoundError(f"No file system is mounted that contains {path}")
    return max(covering, key=lambda mount: len(mount.point))


@dataclass(frozen=True, slots=True)
class View:
    """The file systems under one root as a pass found them: the root's own, and each mount point below.

    `identities` has the device, the file-system id and the mount behind the root and behind each mount point below it:
    they differ when something else, or nothing, is mounted there. (The mount tells of one that shows another place of
    the same file system.)
    """

    path: str
    device: int
    mount: Mount
    below: tuple[Mount, ...]
    identities: Mapping[str, tuple[int, int, str]]

    @property
    def devices(self) -> dict[int, Mount]:
        """The file systems among them by their device numbers."""
        points = {self.path: self.mount, **{mount.point: mount for mount in self.below}}
        return {self.identities[point][0]: mount for point, mount in points.items()}

    @property
    def mount_points(self) -> tuple[str, ...]:
        """The mount points at and below the root."""
        own = (self.path,) if self.mount.point == self.path else ()
        return (*own, *(mount.point for mount in self.below))


def view(path: str, ignored: Callable[[str], bool]) -> View:
    """What is under `path` right now, but for mount points that are `ignored`. OSError when it is gone."""
    table = mounts()
    own = mount_of(path, table)
    below = [mount for mount in table if mount.point != path and inside(mount.point, path)]
    # a point that is not there belongs to a mount that another one hides
    kept = tuple(mount for mount in below if not ignored(mount.point) and os.path.lexists(mount.point))
    identities = {path: _identity(path, own), **{mount.point: _identity(mount.point, mount) for mount in kept}}
    return View(path, identities[path][0], own, kept, identities)


def _identity(point: str, mount: Mount) -> tuple[int, int, str]:
    return os.lstat(point).st_dev, os.statvfs(point).f_fsid, mount.point
