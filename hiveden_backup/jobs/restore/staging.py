"""The files of an in-place restore, complete beside what they replace; and the exact list of names that change."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hiveden_backup.core.backup.extraction import Losses
from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.selection import checked
from hiveden_backup.core.errors import CorruptError, StorageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.paths import inside
from hiveden_backup.core.progress import Advance
from hiveden_backup.core.restore_record import HOLDER_PREFIX, Act, Dress, Replaced, Swap, holder_name
from hiveden_backup.host import process
from hiveden_backup.host.disk import swaps
from hiveden_backup.host.disk.durable import fsync_directory, translated
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.spool import temporary_spool
from hiveden_backup.host.disk.tree import Scan, census
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.restore.places import Below, Files, Place, excluded_below
from hiveden_backup.jobs.restore.unpack import COARSE_NS, check_digests, closed, select, trusted, unpack


@dataclass(slots=True)
class Holder:
    """A directory of ours on the file system of some places, for what comes and what goes."""

    path: str
    places: list[Place] = field(default_factory=list)


def holders(act: Act, files: Files) -> list[Holder]:
    """One for each file system. A hard link between two places of one keeps its names together."""
    found: dict[tuple[str, int], Holder] = {}
    for place in files.places:
        holder = found.setdefault(place.device, Holder(f"{place.base}/{holder_name(act.job, act.id)}"))
        holder.places.append(place)
    return list(found.values())


def make(act: Act) -> None:
    """Make the holders, and the directories that are missing above restored paths. The act's record has them all."""
    with translated("making room beside what is replaced", unwritable=StorageError):
        for path in act.made:
            os.mkdir(path, 0o755)
            fsync_directory(Path(path).parent)
        for path in act.holders:
            os.mkdir(path, 0o700)
            with closed(Path(path)) as room:
                for name in ("new", "old", "roots"):
                    (room / name).mkdir(0o700)
                fsync_directory(room)
            fsync_directory(Path(path).parent)


def stage(
    directory: BackupDirectory, manifest: Manifest, act: Act, found: Sequence[Holder], progress: Advance
) -> Losses:
    """Restore into each holder what belongs to its places, compare that with the index, and make it durable.

    Returns attributes that the file systems do not have at all: what is there now cannot have had any either.
    StorageError when a file system does not keep something else. Directories that were made above restored paths get
    the owners and modes that they had, if the backup knows them.
    """
    lost = Losses()
    home = directory.job_path(manifest.job)
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    for holder in found:
        tops = [os.fsencode(place.source.lstrip("/")) for place in holder.places]
        wanted = Below(tops) if len(found) > 1 or act.paths else None
        new = Path(holder.path) / "new"
        with (
            temporary_spool() as spool,
            translated(f"restoring to {holder.path}", unwritable=StorageError),
        ):
            plan = select(directory, manifest, wanted, spool)
            check_digests(home, manifest, plan, progress)
            with closed(Path(holder.path)) as room:
                _, losses = unpack(home, manifest, plan, room / "new")
            _refuse_losses(holder, losses)
            _dress_made(manifest, holder, act.made)
            lost.merge(losses)
            with trusted(index), records(index, manifest.paths) as lines:
                compare(_of(checked(lines, len(manifest.archives)), tops), new, tops)
            process.run(process.Command(("sync", "-f", "--", str(new))))
    return lost


def _dress_made(manifest: Manifest, holder: Holder, made: Sequence[str]) -> None:
    roots = [root.path for root in manifest.roots]
    for place in holder.places:
        for path in made:
            tail = place.live[len(path) :]
            source = place.source.removesuffix(tail)
            if inside(place.live, path) and place.source.endswith(tail) and any(inside(source, root) for root in roots):
                swaps.dress(f"{holder.path}/new{source}", path)


def _refuse_losses(holder: Holder, losses: Losses) -> None:
    if not losses.only_unsupported:
        raise StorageError(
            f"The disk of {holder.places[0].live} would not keep everything",
            f"Of what was staged, it did not take {losses}",
            "Nothing was replaced: restore with --to DIR, and copy from there",
        )


def _of(found: Iterable[Record], tops: Sequence[bytes]) -> Iterator[Record]:
    wanted = Below(tops)
    return (record for record in found if wanted(record.path))


def compare(expected: Iterable[Record], place: Path, tops: Sequence[bytes]) -> None:
    """CorruptError when what lies below `place` is not exactly what the index says, path by path."""
    prefix = os.fsencode(str(place).lstrip("/")) + b"/"
    scan = Scan(roots=tuple(prefix + top for top in sorted(tops)))
    found = (parse(b"0\t" + entry[1]) for entry in scan.entries())
    links: dict[int, tuple[Record, int]] = {}
    for record in expected:
        other = next(found, None)
        if other is None or other.path != prefix + record.path or not _alike(record, other):
            raise CorruptError(
                f"{show_path(record.path)} was not restored as the index says",
                f"It says {_shown(record)}, and there is {_shown(other) if other is not None else 'nothing'}",
                "Nothing was replaced: verify the backup, and restore another one",
            )
        if record.nlink > 1 and record.type != "d":
            first, inode = links.setdefault(record.inode, (record, other.inode))
            if inode != other.inode and _alike(first, record):
                raise CorruptError(
                    f"{show_path(record.path)} and {show_path(first.path)} were not restored as one file",
                    "They are hard links of each other",
                    "Nothing was replaced: verify the backup, and restore another one",
                )
    if (more := next(found, None)) is not None:
        raise CorruptError(
            f"{show_path(more.path[len(prefix) :])} was restored and is not in the index",
            "",
            "Nothing was replaced: verify the backup, and restore another one",
        )


def _alike(record: Record, other: Record) -> bool:
    same = record[1:5] == other[1:5] and record.size == other.size  # type, mode, owner and group
    return same and abs(record.mtime_ns - other.mtime_ns) < COARSE_NS


def _shown(record: Record) -> str:
    return (
        f"type {record.type}, mode {record.mode:o}, owner {record.uid}:{record.gid}, "
        f"{record.size} bytes, time {record.mtime_ns}"
    )


# ---- the names -------------------------------------------------------------------------------------------------------


def with_places(act: Act, found: Sequence[Holder]) -> Act:
    """The act with where each of its places goes to and comes from."""
    places = tuple(
        Replaced(
            place.source, place.live, f"{holder.path}/old/{number}", f"{holder.path}/new{place.source}", place.volume
        )
        for holder in found
        for number, place in enumerate(holder.places)
    )
    return replace(act, places=places)


def with_swaps(act: Act) -> tuple[Act, tuple[str, ...]]:
    """The act with every name that changes, as things are now; and what of the live paths cannot be carried over.

    The containers are down. What it makes in the holders is removed with them.
    """
    changing: list[Swap] = []
    dresses: list[Dress] = []
    lost: list[str] = []
    with translated("looking at what is replaced", unwritable=StorageError):
        for place in act.places:
            left_out = left_out_of(act, place)
            if not place.volume:
                carried, others = _carried(place.live, place.new, left_out)
                had = swaps.there(place.live)
                changing.append(Swap(place.live, place.old, place.new, had, comes=True, carried=carried))
                lost.extend(others)
                continue
            dresses.append(_dress(place))
            for name in sorted({*os.listdir(place.new), *_entries(place.live)}):
                comes = swaps.there(f"{place.new}/{name}")
                if name in left_out and not comes:
                    continue
                live, old, new = (f"{path}/{name}" for path in (place.live, place.old, place.new))
                inner = [path[len(name) + 1 :] for path in left_out if path.startswith(f"{name}/")]
                carried, others = _carried(live, new, inner)
                changing.append(Swap(live, old, new, swaps.there(live), comes, carried))
                lost.extend(others)
    return replace(act, swaps=tuple(changing), dresses=tuple(dresses)), tuple(lost)


def with_swaps_back(act: Act) -> Act:
    """The act with what must change places to reverse it now: what came into being since goes along.

    Entries that are new in a volume's root go to where the restored ones go; what a backup leaves out stays in place.
    """
    changing = list(act.swaps)
    known = {swap.live for swap in act.swaps}
    with translated("looking at what is put back", unwritable=StorageError):
        for place in act.places:
            left_out = left_out_of(act, place)
            for number, swap in enumerate(changing):
                if swap.live == place.live:
                    inner = left_out
                elif os.path.dirname(swap.live) == place.live:
                    name = os.path.basename(swap.live)
                    inner = [path[len(name) + 1 :] for path in left_out if path.startswith(f"{name}/")]
                else:
                    continue
                changing[number] = replace(swap, carried=tuple(dict.fromkeys((*swap.carried, *inner))))
            if place.volume:
                fresh = [name for name in _entries(place.live) if f"{place.live}/{name}" not in known]
                for name in fresh:
                    if name not in left_out:
                        live, old, new = (f"{path}/{name}" for path in (place.live, place.old, place.new))
                        changing.append(Swap(live, old, new, had=False, comes=True))
    return replace(act, swaps=tuple(changing))


def left_out_of(act: Act, place: Replaced) -> list[str]:
    """What of a place as it is now a backup would leave out, the topmost of it, relative to the place."""
    if not act.exclude:
        return []
    found = census(place.live, excluded_below(place.source, act.exclude))
    return found.left_out if found is not None else []


def _carried(live: str, new: str, left_out: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    carried = tuple(path for path in left_out if swaps.may_carry(path, live, new))
    return carried, [f"{live}/{path}" for path in left_out if path not in carried]


def _entries(path: str) -> list[str]:
    return [name for name in os.listdir(path) if not name.startswith(HOLDER_PREFIX)]


def _dress(place: Replaced) -> Dress:
    """Two empty directories that remember what the volume's root is to look like, before and after."""
    os.mkdir(place.old, 0o700)
    holder = os.path.dirname(os.path.dirname(place.old))
    number = os.path.basename(place.old)
    dress = Dress(place.live, f"{holder}/roots/{number}.old", f"{holder}/roots/{number}.new")
    for source, target in ((place.live, dress.old), (place.new, dress.new)):
        os.mkdir(target, 0o700)
        swaps.dress(source, target)
    for made in (place.old, dress.old, dress.new):  # durable before the record, which may be on another disk
        fsync_directory(Path(made))
        fsync_directory(Path(made).parent)
    return dress
