"""Where an act keeps what comes and what goes: by the rule first, then by a rename of an empty directory both ways."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, StorageError
from hiveden_backup.core.holder_places import Candidate, Directory, Writer, beside, reaching, rooted
from hiveden_backup.core.restore_record import Act, holder_name, trial_name
from hiveden_backup.host.disk import mounts, ways
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.log import log
from hiveden_backup.jobs.restore.places import Place
from hiveden_backup.jobs.restore.staging import Holder, with_places


@dataclass(frozen=True, slots=True)
class Room:
    """Places on one file system, and which directories there can have their holder, the best one first."""

    places: tuple[Place, ...]
    candidates: tuple[Candidate, ...]


@dataclass(slots=True)
class Outlook:
    """What can be said without trying. `down` are containers that have to be down before files are staged."""

    down: list[Container]
    obstacles: list[BackupError]


def rooms(places: Iterable[Place], containers: Iterable[Container]) -> list[Room]:
    """One for each file system that places lie on: a hard link between two of them keeps its names together.

    `containers` are all that there are; those that run count.
    """
    table = mounts.mounts()
    known = _writers(containers, table)
    found: dict[tuple[int, int], list[tuple[Place, tuple[Directory, ...]]]] = {}
    for place in places:
        with translated(f"looking at what is above {place.live}", unwritable=StorageError):
            way = ways.way(place.base, table)
        found.setdefault((way[-1].mount, way[-1].device), []).append((place, way))
    return [_room(each, known) for each in found.values()]


def _room(found: Sequence[tuple[Place, tuple[Directory, ...]]], writers: Sequence[Writer]) -> Room:
    best = {each.path: each for _, way in found for each in rooted(way, writers)}
    last = {way[-1].path: beside(way, writers) for _, way in found}
    ordered = sorted(best.values(), key=lambda each: each.path.rstrip("/").count("/"))
    others = [each for path, each in last.items() if path not in best]
    return Room(tuple(place for place, _ in found), (*ordered, *others))


def _writers(containers: Iterable[Container], table: Sequence[mounts.Mount]) -> list[Writer]:
    found: list[Writer] = []
    for container in containers:
        for mount in container.mounts if container.running else ():
            if mount.writable and mount.source:
                source = os.path.realpath(mount.source)
                found.append(Writer(container.id, container.name, source, ways.spots(source, table)))
    return found


def outlook(
    found: Iterable[Room], everything: Sequence[Container], stopped: Collection[str], known: Collection[str] = ()
) -> Outlook:
    """Which containers have to be down before files are staged, and which prevent the restore.

    `stopped` are the ids of those that it stops, `known` of those that prevent it already.
    """
    down: set[str] = set()
    obstacles: list[BackupError] = []
    for room in found:
        reached = [{writer.id for writer in each.writers} for each in room.candidates]
        if set() in reached:
            continue
        if enough := next((ids for ids in reached if ids <= set(stopped)), None):
            down |= enough
        elif writer := next((each for each in room.candidates[0].writers if each.id not in {*stopped, *known}), None):
            obstacles.append(_reached(room, writer))
    return Outlook([each for each in everything if each.id in down], obstacles)


def refuse_reached(path: str, containers: Iterable[Container]) -> None:
    """BackupError when a running container can write to a directory that is to be made or filled, or above it."""
    table = mounts.mounts()
    with translated(f"looking at what is above {path}", unwritable=StorageError):
        way = ways.way(ways.nearest(path), table)
    for writer in reaching(way, _writers(containers, table)):
        raise BackupError(
            f"Files cannot be restored to {path} now",
            f"The container {writer.name} runs and can write to {writer.source}: it could meddle with what is restored",
            f"Give a directory out of its reach, or stop it (docker stop {writer.name})",
        )


def _reached(room: Room, writer: Writer) -> BackupError:
    return BackupError(
        f"{room.places[0].live} cannot be replaced now",
        f"The container {writer.name} runs and can write to {writer.source}, and no directory of that file system is "
        "out of its reach: it could meddle with what is restored",
        f"Stop it (docker stop {writer.name}), or add it to the job's `containers`; or restore with --to DIR",
    )


def reaching_holders(act: Act, containers: Iterable[Container], known: Collection[str]) -> Iterator[BackupError]:
    """What is to be said of running containers that can write to where an act keeps what comes and goes.

    Those whose ids are `known` prevent it already.
    """
    table = mounts.mounts()
    writers = _writers((each for each in containers if each.id not in known), table)
    for holder in act.holders if writers else ():
        with translated(f"looking at {holder}", unwritable=StorageError):
            way = ways.way(holder, table)
        for writer in reaching(way, writers):
            why = f"The container {writer.name} runs and can write to {writer.source}, where {holder} lies"
            hint = f"Stop it (docker stop {writer.name}), or add it to the job's `containers`"
            yield BackupError(f"The files of {act.job} cannot be replaced now", why, hint)


# ---- trying ----------------------------------------------------------------------------------------------------------


def reserve(act: Act, found: Iterable[Room], put: Callable[[Act], None]) -> tuple[list[Holder], list[Room]]:
    """Where the holders are to be, which are not made yet; and what is left, for which all places are within reach.

    `put` writes down what is tried. StorageError when it is the disk that has no place.
    """
    chosen: list[Holder] = []
    left: list[Room] = []
    for room in found:
        waiting, reason = list(room.places), ""
        for candidate in room.candidates:
            if candidate.writers or not waiting:
                continue
            path = f"{candidate.path.rstrip('/')}/{holder_name(act.job, act.id)}"
            put(holding(act, [*chosen, Holder(path, waiting)]))
            fits, reason = _try(act, candidate.path, waiting)
            waiting = [place for place in waiting if place not in fits]
            if fits:
                chosen.append(Holder(path, fits))
        if waiting and not any(candidate.writers for candidate in room.candidates):
            raise StorageError(
                f"{waiting[0].live} cannot be replaced by a rename",
                f"There is no directory from which one goes through: {reason}",
                "Restore with --to DIR, and copy from there",
            )
        if waiting:
            left.append(replace(room, places=tuple(waiting)))
    return chosen, left


def holding(act: Act, found: Sequence[Holder]) -> Act:
    """The act with these holders."""
    return with_places(replace(act, holders=tuple(holder.path for holder in found)), found)


def _try(act: Act, directory: str, places: Iterable[Place]) -> tuple[list[Place], str]:
    """For which places a directory can have the holder; and why not for the others."""
    fits: list[Place] = []
    reason = ""
    for place in places:
        try:
            ways.try_renames(directory, place.target, trial_name(act.job, act.id))
            fits.append(place)
        except OSError as error:
            reason = str(error)
            log.debug(f"{directory} cannot have what comes to {place.live}: {error}", job=act.job)
    return fits, reason
