"""What an in-place restore would replace, by what, and everything that speaks against it. Nothing is changed here."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.scope import volumes_of
from hiveden_backup.core.backup.selection import checked
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.docker.containers import Volume
from hiveden_backup.core.docker.volumes import DEVICE_OPTION, recorded
from hiveden_backup.core.errors import BackupError, CorruptError, NotFoundError, StorageError
from hiveden_backup.core.globs import matcher
from hiveden_backup.core.model import ArtifactType, Manifest, Source
from hiveden_backup.core.paths import inside, outermost
from hiveden_backup.core.sizes import text as size
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.tree import Census, census
from hiveden_backup.host.disk.ways import nearest
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.restore.unpack import trusted

_SPARE = 16 << 20
_BLOCK = 512
_LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A path that is replaced: where it is on this machine, and whether only its entries are (a volume's root stays).

    `source` is the path as the backup has it. `base` is the directory beside it that can have what comes and what goes
    where no better one is found.
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
    def target(self) -> str:
        """The directory in which names change, or the first one above that is there."""
        return self.live if self.volume else nearest(os.path.dirname(self.live))

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
    `keeping` are the sources of those places into which what a backup leaves out is carried, None for all. `partial`
    says that only some paths of the backup were asked for. What is `noted` lets the next one be looked at.
    """

    exclude: tuple[str, ...]
    kept_out: tuple[str, ...] = ()
    places: list[Place] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    coming: Mapping[str, Coming] = field(default_factory=dict)
    keeping: Collection[str] | None = None
    partial: bool = False
    noted: Callable[[], AbstractContextManager[None]] = nullcontext

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


def find_places(manifest: Manifest, paths: Sequence[str], docker: Docker | None, files: Files) -> None:
    """Find the places on this machine of a backup's files, or of these paths among them. What cannot be is noted.

    NotFoundError, not noted, for paths that are at or below none of the backup's own.
    """
    volumes = dict(volumes_of(manifest))
    wanted = {os.path.normpath(path) for path in paths}
    known = {root.path for root in manifest.roots}
    stray = [path for path in sorted(wanted) if not any(inside(path, root) for root in known)]
    if stray:
        raise NotFoundError(
            f"{', '.join(stray)} is not in {manifest.job}/{manifest.id}",
            f"Its files are at and below {', '.join(sorted(known))}",
            f"List its paths: hiveden-backup show {manifest.job}/{manifest.id} --files",
        )
    files.partial = bool(paths)
    for root in manifest.roots:
        below = [path for path in outermost(wanted) if inside(path, root.path)] if paths else [root.path]
        name = volumes.get(root.path, "")
        for path in below:
            with files.noted():
                whole = _root_place(manifest, root.path, name, docker, files) if name or path == root.path else None
                if path == root.path:
                    files.places.extend([whole] if whole is not None else [])
                elif name and whole is None:
                    del files.absent[name]
                    hint = f"Restore all of it: --path {root.path}"
                    raise NotFoundError(f"The volume {name} is not on this machine", f"{path} lies in it", hint)
                else:
                    files.places.append(_inner_place(root.path, path, whole, files.kept_out))


def _root_place(manifest: Manifest, path: str, name: str, docker: Docker | None, files: Files) -> Place | None:
    """The place of one of the backup's own paths; None for a volume that is not there yet."""
    if not name:
        return path_place(path, files.kept_out)
    volume = _volume(docker, name)
    if volume is not None:
        return volume_place(path, volume, files.kept_out)
    _refuse_device(manifest, name)
    files.absent[name] = path
    return None


def _volume(docker: Docker | None, name: str) -> Volume | None:
    if docker is None:
        raise NotFoundError(f"The volume {name} needs Docker", "It does not answer", "Start Docker, or use --to DIR")
    try:
        return docker.volume(name)
    except NotFoundError:
        return None


def _inner_place(root: str, path: str, above: Place | None, kept_out: Sequence[str]) -> Place:
    """The place of a path below `root`, one of the backup's own, which is `above` if it is a volume.

    It changes places as a whole, in a volume too. What comes and goes is beside the root, where nobody stumbles over
    it, if that is on the same file system.
    """
    live = path if above is None else above.live + path[len(root) :]
    inner = path_place(live, kept_out)
    outer = Place(path, live, os.path.dirname(root) if above is None else above.base)
    beside = os.path.isdir(outer.base) and outer.device == inner.device
    return outer if beside else Place(path, live, inner.base)


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


def path_place(path: str, kept_out: Sequence[str]) -> Place:
    """The place of a path on this machine, which changes places as a whole. BackupError when it cannot."""
    base = nearest(os.path.dirname(path))
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
    """Fill in what comes to each place. CorruptError when the index has paths that belong to none.

    NotFoundError when a path that was asked for is not in it.
    """
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    tops = [os.fsencode(root.path.lstrip("/")) for root in manifest.roots]
    live = {place.source: place.live for place in files.places}
    absent = set(files.absent.values())
    sources = sorted({*live, *absent} if files.partial else {root.path for root in manifest.roots})
    found = {source: [0, 0, 0] for source in sources}
    below, wanted = Below(tops), Below([os.fsencode(source.lstrip("/")) for source in sources])
    kinds: dict[str, str] = {}
    with trusted(index), records(index, manifest.paths) as lines:
        for record in checked(lines, len(manifest.archives)):
            path = record.path
            if not below(path):
                raise CorruptError(
                    f"{index} is damaged",
                    f"It has /{os.fsdecode(path)}, which is below none of the backup's own paths",
                    "Verify the backups of the job",
                )
            if not wanted(path):
                continue
            source = "/" + os.fsdecode(wanted.last)
            if path == wanted.last:
                kinds[source] = record.type
            counts = found[source]
            size = record.size // max(record.nlink, 1) if record.type == "f" else 0
            counts[0] += 1
            counts[1] += size
            counts[2] += _BLOCK + (_on_disk(live.get(source, ""), source, path, size) if size > _LARGE else size)
    missing = [source for source in sources if source not in kinds]
    if files.partial and missing:
        raise NotFoundError(
            f"{', '.join(missing)} is not in {manifest.job}/{manifest.id}",
            "It has nothing of that name",
            f"List its paths: hiveden-backup show {manifest.job}/{manifest.id} --files",
        )
    for source, kind in kinds.items():
        with files.noted():
            _check_kind(source, kind, live.get(source, ""), files)
    files.places = [place for place in files.places if place.source in kinds]
    files.absent = {name: source for name, source in files.absent.items() if source in kinds}
    files.coming = {
        source: Coming(paths, size, room, kinds[source])
        for source, (paths, size, room) in found.items()
        if source in kinds
    }


class Below:
    """Whether a path is one of `tops` or lies below one; most often below the same as the last one asked for.

    `last` is the one that it was.
    """

    def __init__(self, tops: Sequence[bytes]) -> None:
        self._tops = tops
        self.last = tops[0] if tops else b""

    def __call__(self, path: bytes) -> bool:
        """Whether `path` is."""
        for top in (self.last, *self._tops):
            if path == top or path.startswith(top + b"/"):
                self.last = top
                return True
        return False


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
        free = mounts.free_bytes(bases[device])
        if room + _SPARE > free:
            raise StorageError(
                f"{backup} does not fit beside what it replaces",
                f"It needs about {size(room)} on {device[0]}, where {size(free)} are free",
                "Free some space; or restore with --to DIR to another disk, and copy from there",
            )
