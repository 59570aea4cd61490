"""The directories of ours that hold what comes and goes: made, known again by what the record says, and removed."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from hiveden_backup.core.errors import NotFoundError, StorageError
from hiveden_backup.core.identity import Identity
from hiveden_backup.core.paths import inside
from hiveden_backup.core.restore_record import Act, Known, trial_name
from hiveden_backup.host.disk import beneath, mounts, ways
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.ground import Ground
from hiveden_backup.host.state.ledger import boot_id

_PARTS = ("new", "old", "roots")


def ground(act: Act) -> Ground:
    """The directories that an act works in, by what its record knows of them."""
    return Ground(act.holders, _known(act), same_boot=act.boot == boot_id())


@contextmanager
def held(act: Act) -> Iterator[Ground]:
    """As `ground`, with all holders open. StorageError when one of them is not there, or is another directory."""
    with ground(act) as found:
        with translated(f"opening what holds the files of {act.job}", unwritable=StorageError):
            found.hold()
        yield found


def _known(act: Act) -> dict[str, Identity]:
    return {each.path: each.identity for each in act.known}


def _knowing(act: Act, known: Mapping[str, Identity]) -> Act:
    return replace(act, known=tuple(Known(path, what) for path, what in known.items()), boot=boot_id())


# ---- made ------------------------------------------------------------------------------------------------------------


def prepared(act: Act) -> Act:
    """The act with what the directories are in which its holders will be made. That these are not, it tells so, too."""
    return _knowing(act, _looked_at(os.path.dirname(holder) for holder in act.holders))


def make(act: Act) -> Act:
    """Make the holders, and the directories that are missing above restored paths; the act with what they are.

    Its record, which has all of their names, is to be written before, and again. OSError when somebody is in the way.
    """
    ours: dict[str, Identity] = {}
    for path in act.made:
        with beneath.parent(path) as (above, name), beneath.made(above, name, 0o755):
            beneath.sync(above)
    for path in act.holders:
        with beneath.parent(path) as (above, name), beneath.made(above, name) as room:
            os.chmod(beneath.through(room), 0o700)  # it gets some bits from the one above it
            for part in _PARTS:
                with beneath.made(room, part):
                    pass
            beneath.sync(room)
            beneath.sync(above)
            ours[path] = beneath.identity(room)
    return _knowing(act, {**_looked_at(_changing(act)), **ours})


def remember(act: Act) -> Act:
    """The act with what its directories are now. StorageError when a holder is not what its record says."""
    with held(act) as found, translated(f"looking at what holds the files of {act.job}", unwritable=StorageError):
        ours = {path: beneath.identity(found.directory(path)) for path in act.holders}
        return _knowing(act, {**_looked_at(_changing(act)), **ours})


def _changing(act: Act) -> Iterable[str]:
    """The directories whose entries change places, and those that were made."""
    above = (place.live if place.volume else os.path.dirname(place.live) for place in act.places)
    return dict.fromkeys((*act.made, *above))


def _looked_at(paths: Iterable[str]) -> dict[str, Identity]:
    found: dict[str, Identity] = {}
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError), beneath.opened(path) as directory:
            found[path] = beneath.identity(directory).of_others
    return found


# ---- looked for ------------------------------------------------------------------------------------------------------


def check_kept(act: Act) -> None:
    """NotFoundError when something that an act replaced is not in its holders any more."""
    with translated(f"looking for what the restore of {act.backup} replaced", unwritable=StorageError):
        gone = _gone(act)
    if gone:
        raise NotFoundError(
            f"{gone} is not there",
            f"It held what the restore of {act.job}/{act.backup} replaced, and its disk may not be mounted",
            "Mount it; if it was removed, there is nothing to put back",
        )


def _gone(act: Act) -> str:
    with ground(act) as found:
        paths = [swap.old for swap in act.swaps if swap.had] + [dress.old for dress in act.dresses]
        for holder in act.holders:
            if not found.end(holder).there():
                return holder
        found.hold()
        for path in paths:
            found.rest()
            if not found.end(path).there():
                return path
    return ""


# ---- removed ---------------------------------------------------------------------------------------------------------


def take_back(act: Act) -> None:
    """Remove all that an act, of which nothing is in place, has made among files. StorageError as of `clear`."""
    clear(act)
    unmake(act)
    remove_trials(act)


def clear(act: Act) -> None:
    """Remove the holders with all that is in them, as far as they are there. StorageError when one is another one."""
    if gone := away(act):
        raise StorageError(
            f"{gone} is not there", "Another disk is mounted where it was, or none", "Mount the right one"
        )
    table = mounts.mounts()
    for holder in act.holders:
        mounted = [mount.point for mount in table if inside(mount.point, holder)]
        if mounted:
            raise StorageError(
                f"{holder} cannot be removed", f"{mounted[0]} is mounted in it", f"Unmount it: umount {mounted[0]}"
            )
        with translated(f"removing {holder}", unwritable=StorageError):
            _clear(act, holder)


def _clear(act: Act, holder: str) -> None:
    with ground(act) as found:
        end = found.end(holder)
        if end.directory is None or not end.there():
            return
        if act.known and holder not in _known(act):  # it was being made: as far as that came, it is empty
            with suppress(OSError), beneath.opened(end.name, end.directory) as room:
                for part in _PARTS:
                    with suppress(FileNotFoundError):
                        os.rmdir(part, dir_fd=room)
                os.rmdir(end.name, dir_fd=end.directory)
        else:
            beneath.empty(found.directory(holder))
            os.rmdir(end.name, dir_fd=end.directory)
        beneath.sync(end.directory)


def unmake(act: Act) -> None:
    """Remove the directories that were made above restored paths, as far as they are empty, and are still those."""
    with suppress(OSError, StorageError), ground(act) as found:  # used by now, never made, or others
        for path in reversed(act.made):
            found.directory(path)
            end = found.end(path)
            if end.directory is not None:
                os.rmdir(end.name, dir_fd=end.directory)


def remove_trials(act: Act) -> None:
    """Remove what the trial of its renames left, if that was broken off."""
    targets = [place.live if place.volume else os.path.dirname(place.live) for place in act.places]
    for target in dict.fromkeys((*map(os.path.dirname, act.holders), *map(ways.nearest, targets))):
        ways.remove_trial(target, trial_name(act.job, act.id))


def away(act: Act) -> str:
    """A holder that is not there since its disk is not mounted, for another file system is where it was; else ""."""
    known = _known(act)
    for holder in act.holders:
        was = known[holder].filesystem if holder in known else 0
        with suppress(FileNotFoundError, NotADirectoryError), beneath.parent(holder) as (above, name):
            if was and not beneath.exists(above, name) and beneath.identity(above).filesystem not in (0, was):
                return holder
    return ""
