"""Which archives to compact: pure rule over what is live in them.

Compacting an archive means that a hot pass takes its live paths along; nothing then names it, and it becomes garbage.
"""

from collections.abc import Iterable, Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import Archive

_LEAST_BUDGET = 4 << 30
_BUDGET_PART = 50
_ALMOST_DEAD_PART = 4
_SMALL_PART = 4
_FEW = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archive as compaction sees it: weights in bytes of tar stream.

    `live` is what the draft still has in it: so much is copied. `recorded` is the most that any kept backup has in it.
    """

    number: int
    live: int
    recorded: int
    content: int


def recorded(backups: Iterable[Iterable[Archive]]) -> dict[str, int]:
    """By its path, the most that any of these backups records as live in an archive.

    What is live in an archive only shrinks from backup to backup, so this is what all of them together need of it.
    """
    most: dict[str, int] = {}
    for archives in backups:
        for archive in archives:
            if archive.live_bytes > most.get(archive.path, 0):
                most[archive.path] = archive.live_bytes
    return most


def budget(live: int) -> int:
    """How many bytes a run may rewrite at most, where so many are live."""
    return max(_LEAST_BUDGET, live // _BUDGET_PART)


def choose(candidates: Sequence[Candidate], *, compact_ratio: float, size: int) -> tuple[int, ...]:
    """The numbers of the archives to compact in this run, where those that it writes are closed at `size`.

    First the dead ones, deadest first: those of which all kept backups together need less than `compact_ratio`, since
    a copy made while older ones need the rest would free nothing for long; and those of which the draft has less than a
    quarter of that share, since so little is copied soon, before more backups name the archive that it lies in. Then
    small ones, as `_merged` says, all within one budget. Archives in which the draft has nothing need no compaction.
    """
    alive = [candidate for candidate in candidates if candidate.live > 0]
    left = budget(sum(candidate.live for candidate in alive))
    chosen: set[int] = set()
    for candidate in sorted(alive, key=lambda each: (each.live / max(each.content, 1), each.number)):
        if _dead(candidate, compact_ratio) and candidate.live <= left:
            chosen.add(candidate.number)
            left -= candidate.live
    small = [each for each in alive if each.number not in chosen and each.recorded < size / _SMALL_PART]
    return tuple(sorted((*chosen, *_merged(small, left))))


def _dead(candidate: Candidate, compact_ratio: float) -> bool:
    wanted = compact_ratio * candidate.content
    return candidate.recorded < wanted or candidate.live < wanted / _ALMOST_DEAD_PART


def _merged(small: Sequence[Candidate], left: int) -> Sequence[int]:
    """Which of these small archives to put together now, copying no more than `left`; none while they are few.

    The smallest, as many as can be without one that is more than half of all: whatever is copied is in an archive of
    twice the size then, so that it is copied some times at most until that one is not small any more. Were it the
    oldest, or all of them, a large one would be copied each time for the sake of the few bytes that join it.
    """
    if len(small) <= _FEW:
        return ()
    count = total = 0
    ordered = sorted(small, key=lambda each: (each.live, each.number))
    for number, candidate in enumerate(ordered, 1):
        total += candidate.live
        if total > left:
            break
        if number > 1 and 2 * candidate.live <= total:
            count = number
    return [candidate.number for candidate in ordered[:count]]
