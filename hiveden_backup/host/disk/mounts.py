"""Mounted file systems: what is mounted where, and whether it is still the same one."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.paths import inside

_LOOSE = re.compile(
    r"nfs\d?|cifs|smb3?|smbfs|9p|afs|ceph|glusterfs|ncpfs|virtiofs|vboxsf|davfs|fuse(\..*)?|fuseblk"
    r"|vfat|msdos|exfat"  # Linux numbers their inodes as it meets them, and they keep times by two seconds
)
_PASSING = re.compile(
    r"/(proc|sys|dev|snap|run(?!/media/))(/.*)?|/(var/)?tmp|/var/(snap|lib/snapd/snap|lib/lxcfs|lib/kubelet/pods)(/.*)?"
    r"|(/usr)?/lib/modules"  # ProtectKernelModules= hides it, and some manifests have it
    r"|.*/(overlay2?|fuse-overlayfs)/[^/]+/merged|.*/(zfs/graph|devicemapper/mnt|aufs/mnt|\.zfs/snapshot)/[^/]+"
    r"|.*/rootfs/[^/]+/[0-9a-f]{64}|.*/(overlay-)?containers/[0-9a-f]{64}/.*"
    r"|.*/(docker/tmp/buildkit-mount[^/]*|containerd/tmpmounts/[^/]+)"
)
"""Where the system and containers mount what comes and goes with them. A unit has a /tmp of its own, too."""
UNTOLD = sys.maxsize
_HIDING = re.compile(r".*/systemd/inaccessible/[a-z]+")
"""What systemd mounts over a place that a unit must not see."""
_OCTAL = re.compile(r"\\(\d{3})")
_OF_KERNEL = frozenset(
    {"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "selinuxfs", "debugfs", "tracefs", "bpf"}
    | {"configfs", "pstore", "efivarfs", "mqueue", "hugetlbfs", "fusectl", "binfmt_misc", "rpc_pipefs"}
)
_SLEEPING = "autofs"
"""A point where something is mounted as soon as somebody looks."""
_MODELESS = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3"})


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system, by the point where it is mounted.

    One that is `lasting` shows something that is not there without it, and goes by itself neither with a container nor
    with a sandbox: units have mounts of their own that show a directory in its own place, without the right to write,
    or hide it. An automount point lasts as little: what is mounted there once somebody looks, does.
    `device` is its number as the kernel writes it, `root` the directory of that file system which the point shows.
    """

    point: str
    filesystem: str
    id: int = 0
    lasting: bool = True
    device: str = ""
    root: str = "/"

    @property
    def loose(self) -> bool:
        """Whether inode numbers and clocks there are not to be trusted (network, FUSE and FAT)."""
        return _LOOSE.fullmatch(self.filesystem) is not None

    @property
    def renumbers(self) -> bool:
        """Whether directories there have another inode number when they are met again: layers on several disks."""
        return self.filesystem == "overlay"

    @property
    def of_kernel(self) -> bool:
        """Whether the kernel makes up what is there, such as in /proc: it is no data, and some of it has no end."""
        return self.filesystem in _OF_KERNEL

    @property
    def number(self) -> int:
        """`device` as stat(2) has it, but for the subvolumes of btrfs, which have numbers of their own."""
        major, _, minor = self.device.partition(":")
        return os.makedev(int(major), int(minor))

    @property
    def has_modes(self) -> bool:
        """Whether the file system keeps owners and modes."""
        return self.filesystem not in _MODELESS


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of mountinfo(5). `root` is the place on the `device` that is mounted at `point`."""

    id: int
    parent: int
    device: str
    root: str
    point: str
    filesystem: str

    def shows_what_is_there(self, above: "_Line") -> bool:
        """Whether the same would be there without it, since the mount `above` shows it in this place."""
        place = above.root.rstrip("/") + self.point[len(above.point.rstrip("/")) :]
        return (self.device, self.root.rstrip("/")) == (above.device, place.rstrip("/"))


def mounts() -> tuple[Mount, ...]:
    """All mounts of this mount namespace; of several on one point the last, which hides the others."""
    lines: dict[int, _Line] = {}
    # of what ends a line, the kernel escapes \n alone, and anybody may have made the directories
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            number, parent, device, root, point = before.split(" ")[:5]
            filesystem = after.partition(" ")[0]
            lines[int(number)] = _Line(
                int(number), int(parent), device, _unescaped(root), _unescaped(point), filesystem
            )
    return tuple({each.point: _mount(each, lines) for each in lines.values()}.values())


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


def _mount(line: _Line, lines: Mapping[int, _Line]) -> Mount:
    shown = line
    while (above := lines.get(shown.parent)) is not None and above is not shown and shown.shows_what_is_there(above):
        shown = above
    passing = shown.filesystem in _OF_KERNEL | {"nsfs", _SLEEPING} or comes_and_goes(line.point)
    lasting = shown.point == line.point and not passing and _HIDING.fullmatch(line.root) is None
    return Mount(line.point, line.filesystem, line.id, lasting, line.device, line.root)


def place(path: str, table: Iterable[Mount]) -> tuple[str, str]:
    """Where `path` (absolute, without symlinks) is kept: a device, and the path in its file system.

    It is the same under whatever name a bind mount shows it. NotFoundError when /proc knows no mount of it.
    """
    mount = mount_of(path, table)
    below = path[len(mount.point.rstrip("/")) :]
    return mount.device, (mount.root.rstrip("/") + below) or "/"


def comes_and_goes(point: str) -> bool:
    """Whether this is a place where the system or containers mount what is not there always."""
    return _PASSING.fullmatch(point) is not None


def mount_of(path: str, table: Iterable[Mount]) -> Mount:
    """The mount that `path` (absolute, without symlinks) lies on. NotFoundError when /proc knows none."""
    covering = [mount for mount in table if inside(path, mount.point)]
    if not covering:
        raise NotFoundError(f"No file system is mounted that contains {path}")
    return max(covering, key=lambda mount: len(mount.point))


def free_bytes(path: str | os.PathLike[str]) -> int:
    """What may still be written where `path` lies; UNTOLD, more than any need, where the file system does not say."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize if found.f_blocks else UNTOLD


def mounted_at(mount: Mount) -> bool:
    """Whether its point leads there: it is there, and no other mount hides it."""
    try:
        descriptor = os.open(mount.point, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return number_of(descriptor) == mount.id
    finally:
        os.close(descriptor)


def number_of(descriptor: int) -> int:
    """The `id` of the mount that an open file or directory lies on."""
    info = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = os.read(info, 4096)
    finally:
        os.close(info)
    return int(told.partition(b"mnt_id:")[2].split(None, 1)[0])


def is_mounted(point: str) -> bool:
    """Whether something lasting is mounted at `point`, or is as soon as somebody looks."""
    for asked in (False, True):
        if asked:
            _wake(point)
        if any(each.point == point and each.lasting and mounted_at(each) for each in mounts()):
            return True
    return False


def _wake(point: str) -> None:
    """Have an automounter mount what it has for `point`, or fail to."""
    with suppress(OSError):
        os.statvfs(point)  # unlike stat(2), it waits for that


def lasting_mount_of(path: str, table: Iterable[Mount]) -> str:
    """The point of the innermost lasting mount that `path` (absolute, without symlinks) lies on."""
    covering = sorted(
        (mount for mount in table if mount.lasting and inside(path, mount.point)), key=lambda each: each.point
    )
    return next((mount.point for mount in reversed(covering) if mounted_at(mount)), "/")


@dataclass(frozen=True, slots=True)
class View:
    """The file systems under one root as a pass found them: the root's own, and each mount point below.

    `identities` has the device, the file-system id and the mount behind the root and behind each mount point below it
    where none comes and goes: they differ when something else, or nothing, is mounted there. (The mount tells of one
    that shows another place of the same file system.) `lies_on` is the point of the lasting mount that the root lies
    on.
    """

    path: str
    device: int
    mount: Mount
    lies_on: str
    below: tuple[Mount, ...]
    identities: Mapping[str, tuple[int, int, str]]

    @property
    def devices(self) -> dict[int, Mount]:
        """The file systems among them by their device numbers."""
        points = {self.path: self.mount, **{mount.point: mount for mount in self.below}}
        return {
            self.identities[point][0] if point in self.identities else mount.number: mount
            for point, mount in points.items()
        }

    @property
    def mount_points(self) -> tuple[str, ...]:
        """The points of lasting mounts at and below the root."""
        own = (self.path,) if self.lies_on == self.path else ()
        return (*own, *(mount.point for mount in self.below if mount.lasting))


def view(path: str, ignored: Callable[[str], bool]) -> View:
    """What is under `path` right now, but for mount points that are `ignored`. OSError when it is gone.

    What automounters have for the root and for points below it is mounted first.
    """
    _wake(path)
    table = mounts()
    sleeping = [each.point for each in _below(path, table, ignored) if each.filesystem == _SLEEPING]
    if asleep := [point for point in sleeping if not comes_and_goes(point)]:
        for point in asleep:
            _wake(point)
        table = mounts()
    own = mount_of(path, table)
    kept = tuple(mount for mount in _below(path, table, ignored) if mounted_at(mount))
    told = {mount.point: mount for mount in kept if not comes_and_goes(mount.point)}
    identities = {point: _identity(point, mount) for point, mount in {path: own, **told}.items()}
    return View(path, identities[path][0], own, lasting_mount_of(path, table), kept, identities)


def _below(path: str, table: Iterable[Mount], ignored: Callable[[str], bool]) -> list[Mount]:
    return [each for each in table if each.point != path and inside(each.point, path) and not ignored(each.point)]


def _identity(point: str, mount: Mount) -> tuple[int, int, str]:
    return os.lstat(point).st_dev, os.statvfs(point).f_fsid, mount.point
