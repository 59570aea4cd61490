"""Bounded archives: how large one may be, and which paths of a pass share one."""

from collections import Counter

from hiveden_backup.core.backup.index import HEADER_BYTES
from hiveden_backup.core.dataclass import dataclass, field

_LEAST, _MOST = 256 << 20, 4 << 30
_PARTS = 512


def archive_bytes(live: int) -> int:
    """The bytes of content at which an archive is closed, where a job's files weigh `live` in all.

    A power of two, so that it stays the same while a job grows. So there are a few hundred archives at most, and one
    file of a terabyte comes back by reading four gibibytes.
    """
    size = _LEAST
    while size < _MOST and size * _PARTS < live:
        size *= 2
    return size


@dataclass(slots=True)
class Split:
    """Tells of each path that a pass archives, which come in the index's order, in which of its archives it goes.

    An archive is closed before it would have more than `size` bytes of content. A file that is larger has an archive of
    its own. All names of an inode are in the archive of the first of them: nothing else could link them. `weights` are
    what the paths of each archive weigh, in the sense of `line_weight`.
    """

    size: int
    weights: Counter[int] = field(default_factory=Counter)
    _last: int = -1
    _current: int = -1
    _filled: int = 0
    _groups: dict[int, int] = field(default_factory=dict)

    def number(self, line: bytes) -> int:
        """The archive, counted from 0, for the path of a record or draft line."""
        _, kind, _, _, _, nlink, size, _, _, inode, _ = line.split(b"\t", 10)
        content = HEADER_BYTES + (int(size) if kind == b"f" else 0)
        if nlink in {b"0", b"1"}:
            number = self._place(content)
            self.weights[number] += content
            return number
        found = self._groups.get(int(inode))
        number = self._groups[int(inode)] = found if found is not None else self._place(content)
        self.weights[number] += HEADER_BYTES + (content - HEADER_BYTES) // int(nlink)
        return number

    def _place(self, content: int) -> int:
        if content > self.size:
            self._last += 1
            return self._last
        if self._current < 0 or self._filled + content > self.size:
            self._last += 1
            self._current, self._filled = self._last, 0
        self._filled += content
        return self._current
