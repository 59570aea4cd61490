"""Bounded archives: how large one may be, and which paths of a pass share one."""

from collections import Counter

from hiveden_backup.core.backup.index import HEADER_BYTES, TAKEN
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

    What compaction takes along shares no archive with what changed: most likely it stays as it is, and beside a file
    that is another one each night it would be taken along again and again.
    """

    size: int
    weights: Counter[int] = field(default_factory=Counter)
    _last: int = -1
    _open: dict[bool, tuple[int, int]] = field(default_factory=dict)
    _groups: dict[int, int] = field(default_factory=dict)

    def number(self, line: bytes) -> int:
        """The archive, counted from 0, for the path of a record or draft line."""
        archive, kind, _, _, _, nlink, size, _, _, inode, _ = line.split(b"\t", 10)
        content = HEADER_BYTES + (int(size) if kind == b"f" else 0)
        if nlink in {b"0", b"1"}:
            number = self._place(content, changed=archive == TAKEN)
            self.weights[number] += content
            return number
        found = self._groups.get(int(inode))
        number = found if found is not None else self._place(content, changed=archive == TAKEN)
        self._groups[int(inode)] = number
        self.weights[number] += HEADER_BYTES + (content - HEADER_BYTES) // int(nlink)
        return number

    def _place(self, content: int, *, changed: bool) -> int:
        number, filled = self._open.get(changed, (-1, self.size))
        if content > self.size or filled + content > self.size:
            self._last += 1
            number, filled = self._last, 0
        if content <= self.size:
            self._open[changed] = number, filled + content
        return number
