"""What an in-place restore would replace, by what, and everything that speaks against it. Nothing is changed here."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.selection import checked
from hiveden_backup.core.config.rules import absolute_path
from hiveden_backup.core.docker.containers import Container, Volume
from hiveden_backup.core.docker.volumes import DEVICE_OPTION, recorded
from hiveden_backup.core.errors import BackupError, CorruptError, NotFoundError, StorageError
from hiveden_backup.core.globs import matcher
from hiveden_backup.core.model import ArtifactType, Manifest, Source, SourceKind
from hiveden_backup.core.paths import inside
from hiveden_backup.core.sizes import text as size
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.tree import Census, census
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.restore.unpack import trusted

_SPARE = 16 << 20
_BLOCK = 512
_LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A path that is replaced: where it is on this machine, and whether only its entries are (a volume's root stays).

    `source` is the path as the backup has it. `base` is the directory beside it for what comes and what goes.
    """

    source: str
    live: str
    base: str
    volume: str = ""

    @property
    def device(self) -> tuple[str, int]:
        """What renames cannot leave: the mount and the device of `base`."""
        return mounts.mount_of(self.base, mounts.mounts()).point, os.lstat(self.base).st_dev

    @property
    def missing(self) -> list[str]:
        """The directories above it that are not there, from the top."""
        found: list[str] = []
        above = os.path.dirname(self.live)
        while not self.volume and not os.path.lexists(above):
            found.insert(0, above)
            above = os.path.dirname(above)
        return found


@dataclass(frozen=True, slots=True)
class Coming:
    """What the backup has of a place. `room` is what it takes on the disk, as far as that can be known."""

    paths: int = 0
    bytes: int = 0
    room: int = 0
    kind: str = ""


@dataclass(slots=True)
class Files:
    """The files of a backup, and the places they go to.

    `kept_out` are the backup and the state directory, `absent` are volumes that are not on this machine yet.
    """

    exclude: tuple[str, ...]
    kept_out: tuple[str, ...] = ()
    places: list[Place] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    coming: Mapping[str, Coming] = field(default_factory=dict)

    def census(self, place: Place) -> Census | None:
        """What is at a place now, and what of it the backup leaves out. BackupError when it must not move."""
        return census_of(place.live, excluded_below(place.source, self.exclude), self.kept_out)


def census_of(live: str, excluded: Callable[[str], bool], kept_out: Sequence[str]) -> Census | None:
    """What is at a path now. BackupError when one of the directories `kept_out` is in it, be it under another name.

    They would go with what is replaced, and be removed with that one day.
    """
    known = [os.stat(path) for path in kept_out if os.path.exists(path)]
    with translated(f"looking at {live}", unwritable=StorageError):
        found = census(live, excluded, {(status.st_dev, status.st_ino) for status in known})
    if found is not None and found.hidden:
        raise _works_with(live, f"{live}/{found.hidden[0]}")
    return found


def excluded_below(source: str, patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path relative to `source` (which is the path in the backup) was left out of it by itself."""
    if not patterns:
        return lambda _: False
    excluded = matcher(patterns)
    top = os.fsencode(source.strip("/")) + b"/"
    return lambda path: excluded(top + os.fsencode(path))


def check_left_out(place: Place, found: Census | None) -> None:
    """BackupError when what a backup leaves out cannot be carried over into what it restores."""
    device = os.lstat(place.base).st_dev
    for path in found.left_out if found is not None else ():
        above = os.path.dirname(f"{place.live}/{path}")
        if os.path.isdir(above) and os.lstat(above).st_dev != device:
            raise BackupError(
                f"{place.live} cannot be replaced by a rename",
                f"{above}/{os.path.basename(path)}, which is not in the backup, is on another file system or subvolume",
                "Restore with --to DIR, and copy from there",
            )


def sources_of(manifest: Manifest) -> tuple[Source, ...]:
    """Where the files of a backup came from."""
    return next((each.sources for each in manifest.artifacts if each.type is ArtifactType.APPLICATION), ())


def find_places(
    manifest: Manifest, exclude: tuple[str, ...], docker: Docker | None, kept_out: tuple[str, ...]
) -> Files:
    """The places of a backup's files on this machine. BackupError for one that cannot be replaced.

    `kept_out` are the backup and the state directory.
    """
    files = Files(exclude, kept_out)
    volumes = {source.path: source.name for source in sources_of(manifest) if source.kind is SourceKind.VOLUME}
    for root in manifest.roots:
        if absolute_path(root.path) is not None:
            raise CorruptError(
                f"The manifest of {manifest.job}/{manifest.id} is damaged",
                f"{root.path!r} is not the path of a directory or file",
                "Verify the backups of the job",
            )
        name = volumes.get(root.path, "")
        if not name:
            files.places.append(_path_place(root.path, kept_out))
            continue
        if docker is None:
            raise NotFoundError(
                f"The volume {name} needs Docker", "It does not answer", "Start Docker, or use --to DIR"
            )
        try:
            volume = docker.volume(name)
        except NotFoundError:
            _refuse_device(manifest, name)
            files.absent[name] = root.path
        else:
            files.places.append(volume_place(root.path, volume, kept_out))
    return files


def _refuse_device(manifest: Manifest, name: str) -> None:
    """CorruptError for a volume that would stand for some other place of this machine: no run backs up such a one."""
    if any(DEVICE_OPTION in each.options for each in manifest.volumes if each.name == name):
        raise CorruptError(
            f"The volume {name} is not made as {manifest.job}/{manifest.id} says",
            "It would stand for some other place of this machine, and a run backs up no such volume",
            "Make the volume yourself, then restore again",
        )


def volume_place(source: str, volume: Volume, kept_out: Sequence[str]) -> Place:
    """The place of a volume on this machine. Its root stays, since its file system or Docker may depend on it."""
    if volume.driver != "local" or DEVICE_OPTION in volume.options:
        raise BackupError(
            f"The volume {volume.name} is not a plain one of this machine",
            f"Its driver is {volume.driver}, its options are {dict(recorded(volume).options)}",
            "Restore with --to DIR, and copy from there",
        )
    live = volume.mountpoint
    if os.path.realpath(live) != live or not os.path.isdir(live):
        raise NotFoundError(
            f"{live} of the volume {volume.name} is no directory", "", "Look at `docker volume inspect`"
        )
    _refuse_our_own(live, kept_out)
    table = mounts.mounts()
    refuse_mounts(live, table, own=False)
    apart = (
        mounts.mount_of(live, table).point == live or os.lstat(live).st_dev != os.lstat(os.path.dirname(live)).st_dev
    )
    return Place(source, live, live if apart else os.path.dirname(live), volume.name)


def _path_place(path: str, kept_out: Sequence[str]) -> Place:
    base = os.path.dirname(path)
    while not os.path.lexists(base):
        base = os.path.dirname(base)
    if os.path.realpath(base) != base or not os.path.isdir(base):
        raise BackupError(
            f"{path} cannot be replaced",
            f"{base} leads to {os.path.realpath(base)}: the backup knows no link there",
            "Restore with --to DIR, and copy from there",
        )
    _refuse_our_own(path, kept_out)
    refuse_mounts(path, mounts.mounts(), own=True)
    return Place(path, path, base)


def _refuse_our_own(path: str, kept_out: Sequence[str]) -> None:
    for outside in kept_out:
        if inside(outside, path) or inside(path, outside):
            raise _works_with(path, outside)


def _works_with(path: str, directory: str) -> BackupError:
    return BackupError(
        f"{path} cannot be replaced",
        f"{directory}, which this program works with, lies on the same way",
        "Restore with --to DIR, and copy from there",
    )


def refuse_mounts(path: str, table: Iterable[mounts.Mount], *, own: bool) -> None:
    """BackupError when something is mounted below `path` or, with `own`, at it: a rename cannot take it along."""
    for mount in table:
        if inside(mount.point, path) and (own or mount.point != path):
            raise BackupError(
                f"{path} cannot be replaced by a rename",
                f"{mount.point} is a mount point",
                "Restore with --to DIR, and copy from there",
            )


def look_at_index(directory: BackupDirectory, manifest: Manifest, files: Files) -> None:
    """Fill in what comes to each place. CorruptError when the index has paths that belong to none."""
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    tops = {os.fsencode(root.path.lstrip("/")): root.path for root in manifest.roots}
    live = {place.source: place.live for place in files.places}
    found = {root.path: [0, 0, 0] for root in manifest.roots}
    kinds: dict[str, str] = {}
    last = b""
    with trusted(index), records(index) as lines:
        for record in checked(lines, len(manifest.archives)):
            path = record.path
            if not last or not (path == last or path.startswith(last + b"/")):
                last = next((top for top in tops if path == top or path.startswith(top + b"/")), b"")
                if not last:
                    raise CorruptError(
                        f"{index} is damaged",
                        f"It has /{os.fsdecode(path)}, which is below none of the backup's own paths",
                        "Verify the backups of the job",
                    )
            root = tops[last]
            if path == last:
                kinds[root] = record.type
            counts = found[root]
            size = record.size // max(record.nlink, 1) if record.type == "f" else 0
            counts[0] += 1
            counts[1] += size
            counts[2] += _BLOCK + (_on_disk(live.get(root, ""), root, path, size) if size > _LARGE else size)
    for root, kind in kinds.items():
        _check_kind(root, kind, live.get(root, ""), files)
    files.places = [place for place in files.places if place.source in kinds]
    files.absent = {name: root for name, root in files.absent.items() if root in kinds}
    files.coming = {
        root: Coming(paths, size, room, kinds[root]) for root, (paths, size, room) in found.items() if root in kinds
    }


def _on_disk(live: str, root: str, path: bytes, size: int) -> int:
    """What a large file will take: as little as the one that is there, if that has holes and is of the same size."""
    try:
        status = os.lstat(live + os.fsdecode(path)[len(root.lstrip("/")) :])
    except OSError:
        return size
    return min(size, status.st_blocks * _BLOCK) if status.st_size == size else size


def _check_kind(root: str, kind: str, live: str, files: Files) -> None:
    volume = any(place.source == root and place.volume for place in files.places) or root in files.absent.values()
    if volume and kind != "d":
        raise CorruptError(f"{root} of a volume is no directory in the backup", "", "Verify the backups of the job")
    if live and kind != "l" and os.path.islink(live):
        raise BackupError(
            f"{live} is a symbolic link now",
            f"It leads to {os.path.realpath(live)}: the backup knows no link there",
            "Restore with --to DIR, and copy from there; or remove the link",
        )


def check_room(backup: Backup, files: Files) -> None:
    """StorageError when what comes does not fit beside what is there."""
    needed: dict[tuple[str, int], int] = {}
    bases: dict[tuple[str, int], str] = {}
    for place in files.places:
        needed[place.device] = needed.get(place.device, 0) + files.coming[place.source].room
        bases[place.device] = place.base
    for device, room in needed.items():
        status = os.statvfs(bases[device])
        free = status.f_bavail * status.f_frsize
        if room + _SPARE > free:
            raise StorageError(
                f"{backup} does not fit beside what it replaces",
                f"It needs about {size(room)} on {device[0]}, where {size(free)} are free",
                "Free some space; or restore with --to DIR to another disk, and copy from there",
            )


def check_unused(docker: Docker, stopped: Collection[str], files: Files) -> None:
    """BackupError when a container that goes on uses what is replaced: it would go on in the old tree.

    `stopped` are the ids of those that are stopped for it. What a backup leaves out is carried over, and may be in use.
    """
    for container in docker.containers():
        if not container.running or container.id in stopped:
            continue
        for place, source in _used(container, files):
            paused = "is paused and" if container.paused else "runs and"
            raise BackupError(
                f"{place.live} cannot be replaced now",
                f"The container {container.name} {paused} uses {source}",
                f"Stop it (docker stop {container.name}), or add it to the job's `containers`",
            )


def check_not_lost(docker: Docker, lost: Sequence[str]) -> None:
    """BackupError when a container uses what goes with the replaced tree: something that a backup leaves out."""
    for container in docker.containers() if lost else ():
        sources = [os.path.realpath(mount.source) for mount in container.mounts if mount.source]
        for path in lost:
            used = [source for source in sources if inside(source, path)]
            if used and container.running:
                raise BackupError(
                    f"{path} cannot be carried over",
                    f"The container {container.name} uses it, and the backup has no directory for it",
                    f"Stop it (docker stop {container.name}) and move its files, or restore with --to DIR",
                )


def _used(container: Container, files: Files) -> Iterator[tuple[Place, str]]:
    for mount in container.mounts:
        if not mount.source:
            continue
        source = os.path.realpath(mount.source)
        for place in files.places:
            if inside(place.live, source) and source != place.live:
                if mount.writable:  # who only reads from above sees the new tree afterwards
                    yield place, source
            elif inside(source, place.live) and not _left_out(source, place, files.exclude):
                yield place, source


def _left_out(path: str, place: Place, exclude: Sequence[str]) -> bool:
    excluded = excluded_below(place.source, exclude)
    parts = path[len(place.live) :].strip("/").split("/")
    return any(excluded("/".join(parts[: number + 1])) for number in range(len(parts)))
