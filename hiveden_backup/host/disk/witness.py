"""The witness: it sees which directories move while tar reads what lies in them.

Two directories that change places for a moment, and back, with files of equal name, size and time, leave no trace in
any record. inotify tells of their renames; it is called by ctypes, since Python's library does not have it.
"""

import errno
import os
import stat
import struct
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hiveden_backup.core.backup.moved import Identity, Ways, parse_directory
from hiveden_backup.host.disk.walk import GONE, Way
from hiveden_backup.host.later import Later
from hiveden_backup.host.signals import begin

if TYPE_CHECKING:
    import ctypes
else:
    ctypes = Later("ctypes")

_MOVE_SELF, _DELETE_SELF, _UNMOUNT, _OVERFLOW = 0x800, 0x400, 0x2000, 0x4000
_ONLYDIR, _ONESHOT = 0x01000000, 0x80000000
_WATCHED = _MOVE_SELF | _DELETE_SELF | _ONLYDIR | _ONESHOT  # one event says it: many would run over
_STRIKES = _MOVE_SELF | _DELETE_SELF | _UNMOUNT
_EVENT = struct.Struct("iIII")
_BUFFER = 1 << 16
_MIXED = "one that moved while it was read may be in this backup under another one's name"


def load() -> None:
    """Import what it needs, which must not happen while containers are down."""
    ctypes.CDLL  # noqa: B018 - that it is asked for imports it


@contextmanager
def witness(
    ways: Ways, scanned: Iterable[bytes], loose: Mapping[int, str], renumbered: Collection[int] = ()
) -> Iterator["Witness"]:
    """A witness for the block, in which tar reads; its findings are complete behind it.

    `scanned` is the scan's list of directories: one that is not what it was then has moved. `loose` has the device
    numbers of network and FUSE file systems, with their mount points. Of those that are `renumbered`, directories have
    another inode number when they are met again, as in overlays: there, only what moves from now on is seen.
    """
    found = Witness(loose, renumbered)
    try:
        found.watch(ways, scanned)
        yield found
        found.hear()
    finally:
        found.close()


class Witness:
    """`moved` are the directories (relative to `/`) that moved or went; `blind` says what was not seen.

    Nothing here fails: where there is no inotify, or too little of it, or no use in it, `blind` says so.
    """

    def __init__(self, loose: Mapping[int, str], renumbered: Collection[int] = ()) -> None:
        self.moved: set[bytes] = set()
        self.blind: list[str] = []
        self._loose = loose
        self._renumbered = frozenset(renumbered)
        self._paths: dict[int, list[bytes]] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watching = self._descriptor >= 0
        if not self._watching:
            self._miss(f"inotify: {os.strerror(ctypes.get_errno())}")

    def watch(self, ways: Ways, scanned: Iterable[bytes]) -> None:
        """Begin with the directories of `ways`, each before those below it, so that no change of a way is missed."""
        ahead = set(ways.directories)
        with Way() as way:
            for path, identity in map(parse_directory, scanned):
                if path in ahead:
                    ahead.remove(path)
                    self._watch(path, identity, way)
        self.moved |= ahead  # the scan did not meet them

    def _watch(self, path: bytes, identity: Identity, way: Way) -> None:
        if identity[0] in self._loose:
            self._say(f"Renames on {self._loose[identity[0]]}, a network or FUSE file system, cannot be seen: {_MIXED}")
            return
        try:
            found = way.directory(path)
            there = self._is(os.fstat(found), identity)
            if there and self._watching:
                self._add(path, found)
            # again: it may have moved before it was watched
            there = there and self._is(way.status(path), identity)
        except OSError as error:
            if error.errno not in GONE:
                self._miss(f"/{os.fsdecode(path)}: {error.strerror}")
                return
            there = False
        if not there:
            self.moved.add(path)

    def _is(self, status: os.stat_result, identity: Identity) -> bool:
        return (status.st_dev, status.st_ino) == identity or (
            status.st_dev == identity[0] and status.st_dev in self._renumbered and stat.S_ISDIR(status.st_mode)
        )

    def _add(self, path: bytes, descriptor: int) -> None:
        watch = self._libc.inotify_add_watch(self._descriptor, b"/proc/self/fd/%d" % descriptor, _WATCHED)
        if watch >= 0:
            self._paths.setdefault(watch, []).append(path)  # bind mounts show one directory at several places
            return
        error = ctypes.get_errno()
        if error != errno.ENOSPC:
            raise OSError(error, os.strerror(error))
        self._watching = False
        self._miss("there are more than fs.inotify.max_user_watches, which sysctl can raise")

    def hear(self) -> None:
        """What moved until now."""
        for watch, mask in self._events():
            if mask & _OVERFLOW:
                self._miss("more moved than fs.inotify.max_queued_events, which sysctl can raise")
            elif mask & _STRIKES:
                self.moved.update(self._paths.get(watch, ()))

    def _events(self) -> Iterator[tuple[int, int]]:
        with suppress(BlockingIOError):  # there are no more
            while self._descriptor >= 0:
                data = os.read(self._descriptor, _BUFFER)
                at = 0
                while at < len(data):
                    watch, mask, _, length = _EVENT.unpack_from(data, at)
                    yield watch, mask
                    at += _EVENT.size + length

    def close(self) -> None:
        """Give the watches back, beside what goes on: it takes the kernel 10 ms, and the containers may be down."""
        if self._descriptor >= 0:
            begin(threading.Thread(target=os.close, args=(self._descriptor,), name="end of a witness"))

    def _miss(self, why: str) -> None:
        self._say(f"Not all directories could be watched ({why}): {_MIXED}")

    def _say(self, sentence: str) -> None:
        if sentence not in self.blind:
            self.blind.append(sentence)
