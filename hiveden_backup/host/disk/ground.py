"""The directories that an in-place restore works in: opened without links, known by what its record says, and held."""

import errno
import os
from collections.abc import Collection, Mapping
from typing import Self

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.identity import Identity
from hiveden_backup.core.paths import inside
from hiveden_backup.host.disk import beneath

_HELD = 300
_ELSEWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class End:
    """A name in a directory that is held, and the path that this was asked for by.

    The directory is None where that is not there: what nobody is to find there, is not there then.
    """

    directory: int | None
    name: str
    path: str

    def there(self) -> bool:
        """Whether something has this name, be it a link to nowhere. OSError when that cannot be told."""
        return self.directory is not None and beneath.exists(self.directory, self.name)

    def move(self, target: "End", name: str = "") -> None:
        """Rename what is here to another end, or to another name beside that, where nothing is yet."""
        if self.directory is None or target.directory is None:
            gone = self if self.directory is None else target
            raise FileNotFoundError(errno.ENOENT, "The directory that it is in is gone", gone.path)
        beneath.rename(self.directory, self.name, target.directory, name or target.name)


class Ground:
    """A way to what an act changes, for a block. `holders` are its directories of ours, which must be there.

    `known` has what each directory was when the act began. What is another one now is refused, and nothing that stands
    in its place is touched: whoever owns what is above it may have put that there. Records of older versions know none.
    """

    def __init__(self, holders: Collection[str], known: Mapping[str, Identity], *, same_boot: bool) -> None:
        self._holders = holders
        self._known = known
        self._same_boot = same_boot
        self._held: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._release(self._held)

    def _release(self, paths: Collection[str]) -> None:
        for path in list(paths):
            os.close(self._held.pop(path))

    def hold(self) -> None:
        """Open all holders. StorageError when one is not there: what is in it would seem to have moved already."""
        for holder in self._holders:
            self.directory(holder)

    def rest(self) -> None:
        """Between two steps: give back what is held, where that became much, but for the holders."""
        if len(self._held) > _HELD:
            self._release(self._held.keys() - set(self._holders))

    def directory(self, path: str) -> int:
        """A descriptor of a directory. StorageError for one that is not what it was; OSError for one that is gone."""
        if path not in self._held:
            holder = next((each for each in self._holders if inside(path, each) and path != each), None)
            if path in self._holders:
                descriptor = _open_holder(path)
            elif holder is not None:
                descriptor = _open_inner(path, holder, self.directory(holder))
            else:
                descriptor = beneath.open_directory(path)
            try:
                self._check(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._held[path] = descriptor
        return self._held[path]

    def _check(self, path: str, descriptor: int) -> None:
        known = self._known.get(path)
        if known is None and path in self._holders:
            met = not self._known and beneath.is_ours(descriptor)  # else it was never made
        else:
            met = known is None or known.is_met(beneath.identity(descriptor), same_boot=self._same_boot)
        if not met:
            raise StorageError(
                f"{path} is not the directory that it was",
                "Somebody has put another one in its place, or another disk is mounted there",
                "Put the right one back there: nothing is moved before that",
            )

    def end(self, path: str) -> End:
        """The name that a path ends with, in its directory."""
        above, _, name = path.rpartition("/")
        try:
            return End(self.directory(above or "/"), name, path)
        except (FileNotFoundError, NotADirectoryError):
            return End(None, name, path)


def _open_holder(path: str) -> int:
    try:
        return beneath.open_directory(path)
    except OSError as error:
        if error.errno not in _ELSEWHERE:
            raise
        raise StorageError(
            f"{path} is not there",
            f"It holds what comes and goes: perhaps its disk is not mounted ({error.strerror}: {error.filename})",
            "Mount it",
        ) from error


def _open_inner(path: str, holder: str, descriptor: int) -> int:
    try:
        return beneath.open_directory(path[len(holder) + 1 :], descriptor)
    except OSError as error:
        if error.errno not in _ELSEWHERE:
            raise
        raise StorageError(
            f"{path} is not there",
            "It is one of those that the restore made for what comes and goes, and somebody has removed it",
            "Look into what is beside it, and put it back",
        ) from error
