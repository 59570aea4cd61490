"""Names that change places: a restored path for the one that is there, and back.

Every step looks at what is there and does what is left to do, so it may be broken off anywhere and done again. Nothing
is deleted here. Only renames within one file system, from one directory that is held to another: nothing is copied, and
nothing is replaced, so that what others put in the way meanwhile stays whole.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.restore_record import Dress, Swap
from hiveden_backup.host.disk import beneath
from hiveden_backup.host.disk.ground import End, Ground

_TRIES = 100
_APPEARED = 10_000
_NO_WAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def forward(swap: Swap, ground: Ground) -> None:
    """What is live goes to `old`, what waits at `new` becomes live. StorageError when nothing of it is there."""
    ground.rest()
    live, old, new = ground.end(swap.live), ground.end(swap.old), ground.end(swap.new)
    if not swap.comes:
        if not old.there() and live.there():
            live.move(old)
        return
    if not new.there():
        if swap.had and not live.there() and not old.there():
            raise _nowhere(swap)
        return
    if swap.had and not old.there():
        _carry(live, new, swap.carried)
        if live.there():
            live.move(old)
    _put(new, live, old)


def backward(swap: Swap, ground: Ground) -> None:
    """What is live goes back to `new`, what was there before comes back. StorageError when nothing of it is there.

    Where somebody removed what is live, an empty directory stands for it at `new`: it tells that `old` came back.
    """
    ground.rest()
    live, old, new = ground.end(swap.live), ground.end(swap.old), ground.end(swap.new)
    if swap.comes and not new.there():
        if swap.had and not old.there():
            raise _nowhere(swap)
        if live.there():
            live.move(new)
        elif swap.had and new.directory is not None:
            with beneath.made(new.directory, new.name):
                pass
    if old.there():
        _put(old, live, old)
    if swap.comes:
        _carry(new, live, swap.carried)


def _nowhere(swap: Swap) -> StorageError:
    return StorageError(
        f"{swap.live} cannot change places",
        f"Neither {swap.old} nor {swap.new} is there any more: somebody has removed what was kept there",
        "If it was moved, move it back",
    )


def _put(source: End, live: End, old: End) -> None:
    """What waits at `source` becomes live. What appeared there goes to where replaced trees are kept."""
    for _ in range(_TRIES):
        if live.there():
            _set_aside(live, old)
        try:
            return source.move(live)
        except FileExistsError:
            continue
    return source.move(live)


def _set_aside(live: End, old: End) -> None:
    for number in range(1, _APPEARED):
        try:
            return live.move(old, f"{old.name}.appeared-{number}")
        except FileExistsError:
            continue
        except FileNotFoundError:
            if live.there():
                raise
            return None
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), live.path)


def dress_root(source: str, live: str, ground: Ground) -> None:
    """Give a directory that stays the owner, mode, attributes and times of `source`, which is one in a holder."""
    dress(ground.directory(source), ground.directory(live))


def dress(source: int, target: int) -> None:
    """Give a directory or file the owner, mode, attributes and times of another one, by descriptors of both.

    What is so already is left alone: some file systems refuse even that.
    """
    this, that = beneath.through(source), beneath.through(target)
    status, now = os.fstat(source), os.fstat(target)
    wanted = {name: os.getxattr(this, name) for name in _attributes(this)}
    if (now.st_uid, now.st_gid) != (status.st_uid, status.st_gid):
        os.chown(that, status.st_uid, status.st_gid)
    for name in _attributes(that):
        if name not in wanted:
            os.removexattr(that, name)
    if os.fstat(target).st_mode != status.st_mode:
        os.chmod(that, stat.S_IMODE(status.st_mode))
    for name, value in wanted.items():  # an ACL is one, and says more than the mode
        os.setxattr(that, name, value)
    os.utime(that, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attributes(path: str) -> list[str]:
    """The names of extended attributes; none where the file system has no such thing."""
    try:
        return os.listxattr(path)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []


def make_durable(swaps: Iterable[Swap], dresses: Iterable[Dress], ground: Ground) -> None:
    """Make what `forward` or `backward` did durable."""
    places = {os.path.dirname(path) for swap in swaps for path in (swap.live, swap.old, swap.new)}
    places |= {dress.live for dress in dresses}
    for place in sorted(places):
        ground.rest()
        directory = ground.end(f"{place}/.").directory
        if directory is not None:
            beneath.sync(directory)


def may_carry(path: str, source: End, target: End) -> bool:
    """Whether what is at `path` below `source` can go to the same place below `target`.

    Both lie in real directories, so that no link leads elsewhere, and `target` has nothing of that name.
    """
    with _ways(path, source, target) as ways:
        return ways is not None


def _carry(source: End, target: End, paths: Iterable[str]) -> None:
    for path in paths:
        with _ways(path, source, target) as ways:
            if ways is not None:
                here, place = ways
                times = [(way, os.fstat(way)) for way in ways]
                beneath.rename(here, os.path.basename(path), place, os.path.basename(path))
                for way, status in times:
                    os.utime(beneath.through(way), ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def _ways(path: str, source: End, target: End) -> Iterator[tuple[int, int] | None]:
    """For the block, the two directories between which `path` is carried; None where it cannot be."""
    above, name = os.path.split(path)
    with ExitStack() as stack:
        found = []
        for tree in (source, target):
            try:
                if tree.directory is not None:
                    found.append(stack.enter_context(beneath.opened(f"{tree.name}/{above}", tree.directory)))
            except OSError as error:
                if error.errno not in _NO_WAY:
                    raise
        plain = len(found) == 2 and beneath.exists(found[0], name) and not beneath.exists(found[1], name)  # noqa: PLR2004
        yield (found[0], found[1]) if plain else None
