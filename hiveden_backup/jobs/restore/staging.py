"""The files of an in-place restore, complete before they replace anything; and the exact list of names that change."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hiveden_backup.core.backup.extraction import Losses
from hiveden_backup.core.backup.index import Record, parse
from hiveden_backup.core.backup.layout import INDEX
from hiveden_backup.core.backup.selection import checked
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.errors import CorruptError, StorageError
from hiveden_backup.core.model import Manifest
from hiveden_backup.core.paths import inside
from hiveden_backup.core.restore_record import HOLDER_PREFIX, Act, Dress, Replaced, Swap
from hiveden_backup.host import process
from hiveden_backup.host.disk import beneath, swaps
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.ground import Ground
from hiveden_backup.host.disk.index_files import records
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.spool import temporary_spool
from hiveden_backup.host.disk.tree import Scan, census
from hiveden_backup.jobs.backups.catalog import show_path
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.recovery import holders as holders_of
from hiveden_backup.jobs.restore.chosen import COARSE_NS
from hiveden_backup.jobs.restore.places import Below, Place, excluded_below
from hiveden_backup.jobs.restore.unpack import select, trusted, unpack


@dataclass(slots=True)
class Holder:
    """A directory of ours on the file system of some places, for what comes and what goes."""

    path: str
    places: list[Place] = field(default_factory=list)


def stage(
    installation: Installation, directory: BackupDirectory, manifest: Manifest, act: Act, found: Sequence[Holder]
) -> Losses:
    """Restore into each holder what belongs to its places, compare that with the index, and make it durable.

    Returns attributes that the file systems do not have at all: what is there now cannot have had any either.
    StorageError when a file system does not keep something else. Directories that were made above restored paths get
    the owners and modes that they had, if the backup knows them.
    """
    lost = Losses()
    index = directory.backup_path(manifest.job, manifest.id) / INDEX
    for holder in found:
        tops = [os.fsencode(place.source.lstrip("/")) for place in holder.places]
        wanted = Below(tops) if len(found) > 1 or act.paths else None
        with (
            temporary_spool() as spool,
            holders_of.held(act) as ground,
            translated(f"restoring to {holder.path}", unwritable=StorageError),
        ):
            plan = select(directory, manifest, wanted, spool)
            room = ground.directory(holder.path)
            with beneath.opened("new", room) as new:
                _, losses = unpack(installation, manifest, plan, new)
                _refuse_losses(holder, losses)
                _dress_made(manifest, holder, act.made, ground)
                lost.merge(losses)
                with trusted(index), records(index, manifest.paths) as lines:
                    compare(_of(checked(lines, len(manifest.archives)), tops), new, tops)
            process.run(process.Command(("sync", "-f", "--", beneath.through(room)), descriptors=(room,)))
    return lost


def _dress_made(manifest: Manifest, holder: Holder, made: Sequence[str], ground: Ground) -> None:
    roots = [root.path for root in manifest.roots]
    for place in holder.places:
        for path in made:
            tail = place.live[len(path) :]
            source = place.source.removesuffix(tail)
            if inside(place.live, path) and place.source.endswith(tail) and any(inside(source, root) for root in roots):
                swaps.dress_root(f"{holder.path}/new{source}", path, ground)


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


def compare(expected: Iterable[Record], place: int, tops: Sequence[bytes]) -> None:
    """CorruptError when what lies below a directory that is held is not exactly what the index says, path by path."""
    scan = Scan(roots=tuple(sorted(tops)), top=place)
    found = (parse(b"0\t" + entry[1]) for entry in scan.entries())
    links: dict[int, tuple[Record, int]] = {}
    for record in expected:
        other = next(found, None)
        if other is None or other.path != record.path or not _alike(record, other):
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
            f"{show_path(more.path)} was restored and is not in the index",
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
    with holders_of.held(act) as ground, translated("looking at what is replaced", unwritable=StorageError):
        for place in act.places:
            left_out = left_out_of(act, place)
            if not place.volume:
                swap, others = _swap(place.live, place.old, place.new, left_out, ground)
                changing.append(replace(swap, comes=True))
                lost.extend(others)
                continue
            dresses.append(_dress(place, ground))
            coming, there = (beneath.listed(ground.directory(path)) for path in (place.new, place.live))
            for name in sorted({*coming, *_entries(there)}):
                if name in left_out and name not in coming:
                    continue
                inner = [path[len(name) + 1 :] for path in left_out if path.startswith(f"{name}/")]
                live, old, new = (f"{path}/{name}" for path in (place.live, place.old, place.new))
                swap, others = _swap(live, old, new, inner, ground)
                changing.append(swap)
                lost.extend(others)
    return replace(act, swaps=tuple(changing), dresses=tuple(dresses)), tuple(lost)


def _swap(live: str, old: str, new: str, left_out: Sequence[str], ground: Ground) -> tuple[Swap, list[str]]:
    """What changes places there, as things are now; and what of `left_out` is not carried over."""
    ground.rest()
    here, comes = ground.end(live), ground.end(new)
    carried = tuple(path for path in left_out if swaps.may_carry(path, here, comes))
    lost = [f"{live}/{path}" for path in left_out if path not in carried]
    return Swap(live, old, new, here.there(), comes.there(), carried), lost


def with_swaps_back(act: Act) -> Act:
    """The act with what must change places to reverse it now: what came into being since goes along.

    Entries that are new in a volume's root go to where the restored ones go; what a backup leaves out stays in place.
    """
    act = holders_of.remember(act)
    changing = list(act.swaps)
    known = {swap.live for swap in act.swaps}
    with holders_of.ground(act) as ground, translated("looking at what is put back", unwritable=StorageError):
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
                for name in _entries(beneath.listed(ground.directory(place.live))):
                    if f"{place.live}/{name}" not in known and name not in left_out:
                        live, old, new = (f"{path}/{name}" for path in (place.live, place.old, place.new))
                        changing.append(Swap(live, old, new, had=False, comes=True))
    return replace(act, swaps=tuple(changing))


def left_out_of(act: Act, place: Replaced) -> list[str]:
    """What of a place as it is now a backup would leave out, the topmost of it, relative to the place."""
    if not act.exclude:
        return []
    found = census(place.live, excluded_below(place.source, act.exclude))
    return found.left_out if found is not None else []


def _entries(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(HOLDER_PREFIX)]


def _dress(place: Replaced, ground: Ground) -> Dress:
    """Two empty directories that remember what the volume's root is to look like, before and after."""
    holder = os.path.dirname(os.path.dirname(place.old))
    number = os.path.basename(place.old)
    dress = Dress(place.live, f"{holder}/roots/{number}.old", f"{holder}/roots/{number}.new")
    for path, source in ((place.old, ""), (dress.old, place.live), (dress.new, place.new)):
        above = ground.directory(os.path.dirname(path))
        with beneath.made(above, os.path.basename(path)) as made:
            if source:
                swaps.dress(ground.directory(source), made)
            beneath.sync(made)  # durable before the record, which may be on another disk
        beneath.sync(above)
    return dress
