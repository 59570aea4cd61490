"""Names that change places: a restored path for the one that is there, and back.

Every step looks at what is there and does what is left to do, so it may be broken off anywhere and done again. Nothing
is deleted here but by `clear`. Only renames within one file system: nothing is copied.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from hiveden_backup.core.restore_record import Dress, Swap
from hiveden_backup.host.disk.durable import fsync_directory

_TRIES = 10_000


def forward(swap: Swap) -> None:
    """What is live goes to `old`, what waits at `new` becomes live."""
    if not swap.comes:
        if not there(swap.old) and there(swap.live):
            os.rename(swap.live, swap.old)
        return
    if not there(swap.new):
        return
    if swap.had and not there(swap.old):
        _carry(swap.live, swap.new, swap.carried)
        if there(swap.live):
            os.rename(swap.live, swap.old)
    _set_aside(swap)
    os.rename(swap.new, swap.live)


def backward(swap: Swap) -> None:
    """What is live goes back to `new`, what was there before comes back."""
    if swap.comes and not there(swap.new) and there(swap.live) and (there(swap.old) or not swap.had):
        os.rename(swap.live, swap.new)
    if there(swap.old):
        _set_aside(swap)
        os.rename(swap.old, swap.live)
    if swap.comes:
        _carry(swap.new, swap.live, swap.carried)


def dress(source: str, target: str) -> None:
    """Give the directory or file `target` the owner, mode, attributes and times of `source`.

    What is so already is left alone: some file systems refuse even that.
    """
    status, now = os.stat(source, follow_symlinks=False), os.stat(target, follow_symlinks=False)
    wanted = {name: os.getxattr(source, name, follow_symlinks=False) for name in _attributes(source)}
    if (now.st_uid, now.st_gid) != (status.st_uid, status.st_gid):
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    for name in _attributes(target):
        if name not in wanted:
            os.removexattr(target, name, follow_symlinks=False)
    if os.stat(target, follow_symlinks=False).st_mode != status.st_mode:
        os.chmod(target, stat.S_IMODE(status.st_mode))
    for name, value in wanted.items():  # an ACL is one, and says more than the mode
        os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _attributes(path: str) -> list[str]:
    """The names of a path's extended attributes; none where the file system has no such thing."""
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []


def make_durable(swaps: Iterable[Swap], dresses: Iterable[Dress]) -> None:
    """Make what `forward` or `backward` did durable."""
    places = {os.path.dirname(path) for swap in swaps for path in (swap.live, swap.old, swap.new)}
    places |= {dress.live for dress in dresses}
    for place in sorted(places):
        with contextlib.suppress(FileNotFoundError):
            fsync_directory(Path(place))


def clear(holder: str) -> None:
    """Remove a directory of ours with all in it, if it is there. It must not have anything mounted in it."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(holder)
        fsync_directory(Path(holder).parent)


def there(path: str) -> bool:
    """Whether something has this name, be it a link to nowhere. OSError when that cannot be told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def may_carry(path: str, source: str, target: str) -> bool:
    """Whether what is at `path` below `source` can go to the same place below `target`.

    Both lie in real directories, so that no link leads elsewhere, and `target` has nothing of that name.
    """
    here, place = f"{source}/{path}", f"{target}/{path}"
    parents = os.path.dirname(here), os.path.dirname(place)
    plain = all(os.path.isdir(parent) and os.path.realpath(parent) == parent for parent in parents)
    return plain and there(here) and not there(place)


def _carry(source: str, target: str, paths: Iterable[str]) -> None:
    for path in paths:
        if may_carry(path, source, target):
            parents = os.path.dirname(f"{source}/{path}"), os.path.dirname(f"{target}/{path}")
            times = [os.stat(parent) for parent in parents]
            os.rename(f"{source}/{path}", f"{target}/{path}")
            for parent, status in zip(parents, times, strict=True):
                os.utime(parent, ns=(status.st_atime_ns, status.st_mtime_ns))


def _set_aside(swap: Swap) -> None:
    """Something that appeared where the other one is to come goes to where replaced trees are kept."""
    if not there(swap.live):
        return
    for number in range(1, _TRIES):
        place = f"{swap.old}.appeared-{number}"
        if not there(place):
            os.rename(swap.live, place)
            return
