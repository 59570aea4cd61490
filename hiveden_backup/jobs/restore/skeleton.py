"""The directories of a restore: made before anything else, and as the index says after everything else.

tar gives them owners, modes and attributes; for their times it would have to come back once all is in them. Each has a
guard, an empty file of a name that nobody knows, since what is not empty cannot be replaced: a forged archive must not
put a link where the index has a directory, through which another tar that works at the same time would write.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

from hiveden_backup.core.backup.extraction import Losses
from hiveden_backup.core.paths import above
from hiveden_backup.host.disk.descent import Descent
from hiveden_backup.jobs.restore.chosen import Chosen, chosen

_ABOVE = b"-"
"""A directory that the index does not have, and something in it."""
NOT_KEPT = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What a place says that does not keep owners, modes or times."""


class Skeleton:
    """The directories to restore, spooled in the index's order."""

    def __init__(self, spool: Path) -> None:
        self._place = spool / "directories"
        self._file: IO[bytes] = self._place.open("wb")
        self._known: list[bytes] = []  # those of the last path, and some beside them
        self._last = b""
        self._guard = os.fsencode(f".hiveden-backup-{secrets.token_hex(8)}")

    def add(self, path: bytes) -> None:
        """What is above a path that is restored is needed. Paths come in the index's order."""
        directory = path[: max(path.rfind(b"/"), 0)]
        if directory == self._last:
            return
        self._last = directory
        # in bytewise order all that comes between a/ and a/b begins with a: what does not is done with
        self._known = [each for each in self._known if path.startswith(each)]
        for missing in reversed([each for each in above(path) if each not in self._known]):
            self.write(Chosen(_ABOVE, 0, 0, 0, 0, 0, 0, missing))

    def write(self, each: Chosen) -> None:
        """A directory that is restored, after `add`."""
        self._known.append(each.path)
        self._file.write(each.line)

    def close(self) -> None:
        """No more directories are added."""
        self._file.close()

    def make(self, target: int, *, guarded: bool) -> None:
        """Make all of them below a directory that is empty, and that nobody else can enter.

        A place that holds upper and lower case for one may have some already.
        """
        with Descent(target) as way:
            for each in chosen(self._place):
                above, name = way.parent(each.path)
                try:
                    os.mkdir(name, 0o777 if each.kind == _ABOVE else 0o700, dir_fd=above)
                except FileExistsError:
                    if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                        raise
                if guarded and each.kind == b"d":
                    with suppress(FileExistsError):
                        os.mknod(b"%b/%b" % (name, self._guard), stat.S_IFREG | 0o600, dir_fd=above)

    def finish(self, target: int, losses: Losses) -> None:
        """Give those that stay their times, and look at what else the place keeps of them. CorruptError as `insist`."""
        narrow: list[Chosen] = []  # what is below them is out of reach once they are so
        with Descent(target) as way:
            for each in chosen(self._place):
                if each.kind != b"d":
                    continue
                found = each.insist(way.find(each.path))
                above, name = way.parent(each.path)
                with suppress(FileNotFoundError):
                    os.unlink(b"%b/%b" % (name, self._guard), dir_fd=above)
                try:
                    os.utime(name, ns=(found.st_atime_ns, each.mtime_ns), dir_fd=above, follow_symlinks=False)
                except OSError as error:
                    if error.errno not in NOT_KEPT:
                        raise
                if os.geteuid() != 0 and each.mode & stat.S_IRWXU != stat.S_IRWXU:
                    narrow.append(each)
                else:
                    each.compare(each.insist(way.find(each.path)), way, losses)
        with Descent(target) as way:
            for each in reversed(narrow):
                above, name = way.parent(each.path)
                os.chmod(name, each.mode, dir_fd=above)
                each.compare(each.insist(way.find(each.path)), way, losses)
