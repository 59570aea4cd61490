"""Landlock: the kernel lets a thread, and what it starts, open only what rules name. It is called by ctypes.

Rules are laid on files and directories by descriptor, so they hold for what was looked at, whatever its path leads to
later. Whoever is confined stays so: hence a thread of its own for everything that is.
"""

import errno
import os
import stat
import struct
import threading
from collections.abc import Callable
from enum import IntFlag
from typing import TYPE_CHECKING, Generic, TypeVar

from hiveden_backup.host.later import Later
from hiveden_backup.host.signals import begin, deferred

if TYPE_CHECKING:
    import ctypes
else:
    ctypes = Later("ctypes")

T = TypeVar("T")

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # on every architecture
_VERSION, _BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
_LINKS = 2
_HANDLED = struct.Struct("=Q")
_RULE = struct.Struct("=Qi")
_SINCE = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""What each version of the interface learned to deny."""


class Right(IntFlag):
    """What a rule gives."""

    EXECUTE = 1 << 0
    READ_FILE = 1 << 2
    READ_DIRECTORY = 1 << 3


READ = Right.READ_FILE | Right.READ_DIRECTORY
_OF_FILES = Right.EXECUTE | Right.READ_FILE


def handled(version: int) -> int:
    """All that a kernel with this version of the interface can deny."""
    return sum(bits for since, bits in _SINCE.items() if since <= version)


def everything() -> Right:
    """All that this kernel can deny. OSError where there is no Landlock."""
    return Right(handled(_call(_CREATE, None, 0, _VERSION)))


def may_link() -> bool:
    """Whether a rule can give hard links from one directory to another. Where none can, all of them are denied."""
    return bool(everything() & _SINCE[_LINKS])


def granted(right: Right, mode: int) -> Right:
    """What of it a rule for something of this mode can give: nothing for what is neither a file nor a directory."""
    if stat.S_ISDIR(mode):
        return right
    return right & _OF_FILES if stat.S_ISREG(mode) else Right(0)


def new_ruleset() -> int:
    """A ruleset without rules, which denies everything. OSError where there is no Landlock, or we may not use it."""
    attributes = _HANDLED.pack(everything())
    return _call(_CREATE, attributes, len(attributes), 0)


def allow(ruleset: int, descriptor: int, right: Right) -> None:
    """Add a rule for what a descriptor stands for, and for all below it."""
    given = granted(right, os.fstat(descriptor).st_mode)
    if given:
        _call(_ADD, ruleset, _BENEATH, _RULE.pack(given, descriptor), 0)


def _restrict(ruleset: int) -> None:
    if _libc().prctl(*(ctypes.c_ulong(each) for each in (_NO_NEW_PRIVILEGES, 1, 0, 0, 0))) < 0:
        raise _error()
    _call(_RESTRICT, ruleset, 0)


class Confined(Generic[T]):
    """A thread that a ruleset confines. It does one act, and then stands still until its `end`.

    What the act starts is confined as well, and may be tied to the thread's life. Begin it within `deferred`, and note
    it there: nobody else ends it.
    """

    def __init__(self, ruleset: int, act: Callable[[], T]) -> None:
        """OSError when the kernel does not confine it; and whatever the act raises."""
        self._over = threading.Event()
        self._done = threading.Event()
        self._results: list[T] = []
        self._trouble: list[BaseException] = []
        self._thread = threading.Thread(target=self._live, args=(ruleset, act), name="confined", daemon=True)
        with deferred():
            begin(self._thread)
            self._done.wait()
        if self._trouble:
            self.end()
            raise self._trouble[0]
        self.result = self._results[0]

    def _live(self, ruleset: int, act: Callable[[], T]) -> None:
        try:
            _restrict(ruleset)
            self._results.append(act())
        except BaseException as error:  # noqa: BLE001 - it is raised where the act was asked for
            self._trouble.append(error)
        self._done.set()
        self._over.wait()

    def end(self) -> None:
        """Let the thread end, and with it what is tied to its life."""
        self._over.set()
        self._thread.join()


def _call(number: int, *arguments: int | bytes | None) -> int:
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc().syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise _error()
    return result


def _libc() -> "ctypes.CDLL":
    return ctypes.CDLL(None, use_errno=True)


def _error() -> OSError:
    number = ctypes.get_errno() or errno.EIO
    return OSError(number, os.strerror(number))
