"""What tar may open: the job's paths, or a restore's target, and what it is made of. The kernel sees to it by Landlock.

tar opens its names as paths, so somebody who puts a link in a directory's place shows it whatever root can read. Under
these bounds, that is "Permission denied".
"""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.host import landlock
from hiveden_backup.host.disk.walk import GONE, Way
from hiveden_backup.host.process import find_program

_SYSTEM = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr/bin", "/usr/sbin"),
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/local/bin", "/usr/local/lib"),
    *("/etc/ld.so.cache", "/etc/ld.so.preload"),
)
"""Where programs and libraries are. All of it is public."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be opened below `roots`; `ruleset` None: everything, and `missing` says why."""

    roots: tuple[bytes, ...]
    ruleset: int | None
    missing: tuple[str, ...] = ()

    def still_denied(self, paths: Collection[bytes]) -> frozenset[bytes]:
        """Those of the paths that cannot be opened within these bounds, now that no link is followed.

        The others went, or are there: what was denied was something else, in their place.
        """
        if not paths:
            return frozenset()
        with bounds(self.roots) as fresh:  # a root may have been replaced meanwhile, by an editor for one
            if fresh.ruleset is None:
                return frozenset(_denied(paths))
            thread = landlock.Confined(fresh.ruleset, lambda: frozenset(_denied(paths)))
            thread.end()
            return thread.result


def _denied(paths: Iterable[bytes]) -> Iterator[bytes]:
    with Way() as way:
        for path in paths:
            try:
                os.close(way.file(path))
            except OSError as error:
                if error.errno not in GONE:
                    yield path


@contextmanager
def bounds(roots: Iterable[bytes]) -> Iterator[Bounds]:
    """The bounds for a job's roots as they are now, for the block."""
    roots = tuple(roots)
    ruleset, missing = _ruleset()
    if ruleset is None:
        yield Bounds(roots, None, missing)
        return
    try:
        _allow(ruleset, roots)
        yield Bounds(roots, ruleset)
    finally:
        os.close(ruleset)


@contextmanager
def of_extraction(target: int, lists: Path) -> Iterator[int | None]:
    """A ruleset for who writes below `target`, a descriptor, and nowhere else, and reads the directory `lists`.

    None where there is no Landlock, or one that would deny hard links too (before Linux 5.19).
    """
    ruleset, _ = _ruleset()
    if ruleset is not None and not landlock.may_link():
        os.close(ruleset)
        ruleset = None
    if ruleset is None:
        yield None
        return
    try:
        _allow(ruleset, ())
        _rule(ruleset, os.open(lists, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC), landlock.READ)
        landlock.allow(ruleset, target, landlock.everything())
        yield ruleset
    finally:
        os.close(ruleset)


def _ruleset() -> tuple[int | None, tuple[str, ...]]:
    """A ruleset that can be followed, or why there is none."""
    ruleset = None
    try:
        ruleset = landlock.new_ruleset()
        landlock.Confined(ruleset, lambda: None).end()  # a sandbox may let us make rules, and not follow them
    except OSError as error:
        if ruleset is not None:
            os.close(ruleset)
        return None, (_told(error),)
    return ruleset, ()


def _allow(ruleset: int, roots: Iterable[bytes]) -> None:
    for path in (*_SYSTEM, find_program("setpriv"), find_program("tar")):
        with suppress(FileNotFoundError):
            _rule(ruleset, os.open(path, os.O_PATH | os.O_CLOEXEC), landlock.READ | landlock.Right.EXECUTE)
    with Way() as way:
        for root in roots:
            try:
                _rule(ruleset, way.place(root), landlock.READ)
            except OSError as error:
                if error.errno not in GONE:  # else tar will say so
                    raise


def _rule(ruleset: int, descriptor: int, right: landlock.Right) -> None:
    try:
        landlock.allow(ruleset, descriptor, right)
    finally:
        os.close(descriptor)


def _told(error: OSError) -> str:
    return (
        f"tar could not be confined to the job's paths (Landlock: {error.strerror}): whoever puts a link in the place "
        "of a directory that is being read may get other files of this machine into an archive"
    )
