"""The way from `/` to a directory, without following links; and whether names can go from one directory to another."""

import os
import secrets
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from hiveden_backup.core.holder_places import Directory, Spot
from hiveden_backup.core.paths import inside
from hiveden_backup.host.disk import beneath, mounts


def way(path: str, table: Iterable[mounts.Mount]) -> tuple[Directory, ...]:
    """Every directory from `/` to `path` (absolute and normalized). OSError where one is a link, or none."""
    known = tuple(table)
    found: list[Directory] = []
    with ExitStack() as stack:
        descriptor = stack.enter_context(beneath.opened("/"))
        for name in _names(path):
            if name != "/":
                descriptor = stack.enter_context(beneath.opened(os.path.basename(name), descriptor))
            status, mount = os.fstat(descriptor), mounts.number_of(descriptor)
            spot = mounts.place(name, known)
            found.append(Directory(name, mount, status.st_dev, status.st_uid, status.st_mode, spot))
    return tuple(found)


def _names(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: number + 1]) for number in range(len(parts)))]


def spots(source: str, table: Iterable[mounts.Mount]) -> tuple[Spot, ...]:
    """What a bind mount of `source` shows: that place, and what is mounted below it."""
    known = tuple(table)
    below = [(mount.device, mount.root) for mount in known if mount.point != source and inside(mount.point, source)]
    return (mounts.place(source, known), *below)


def try_renames(directory: str, target: str, name: str) -> None:
    """OSError unless what is made in `directory` can be renamed into `target`, and back again. It leaves nothing.

    Others may write to `target`: what they put into the place of our empty directory, or into that, goes back to them.
    Who is killed in here leaves it in one of the two, for `remove_trial`.
    """
    with beneath.opened(directory) as ours, beneath.opened(target) as theirs:
        with beneath.made(ours, name) as made:
            wanted = _identity(made)
        try:
            if _identity(ours) != _identity(theirs):
                beneath.rename(ours, name, theirs, name)
                with suppress(FileNotFoundError):  # somebody took it: that it went there is what was asked
                    beneath.rename(theirs, name, ours, name)
                    if not _is(ours, name, wanted):
                        _give_back(ours, theirs, name)
        finally:
            try:
                _remove(ours, name)
            except OSError:  # it came back with something in it
                _give_back(ours, theirs, name)
            with suppress(OSError):
                _remove(theirs, name)


def _is(directory: int, name: str, wanted: tuple[int, int]) -> bool:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return (status.st_dev, status.st_ino) == wanted


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _give_back(ours: int, theirs: int, name: str) -> None:
    beneath.rename(ours, name, theirs, f"{name}-{secrets.token_hex(8)}")


def remove_trial(target: str, name: str) -> None:
    """Remove what `try_renames` left in `target` when it was killed. What is not empty is not that."""
    with suppress(OSError), beneath.opened(target) as theirs:
        _remove(theirs, name)


def _remove(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=directory)


def nearest(path: str) -> str:
    """The directory `path` (absolute and normalized), or the first one above it that is there."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path
