"""Which archives to compact: pure rule over what is live in them.

Compacting an archive means that a hot pass takes its live paths along; nothing then names it, and it becomes garbage.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archive as compaction sees it: weights in bytes of tar stream."""

    number: int
    live: int
    content: int


_SMALLEST_AT_ONCE = 8


def choose(candidates: Sequence[Candidate], *, compact_ratio: float, max_archives: int, adding: int) -> tuple[int, ...]:
    """The numbers of the archives to compact in this run.

    First those of which less than `compact_ratio` is live, deadest first, until a quarter of all that is live has been
    taken along (the deadest always). Then the smallest, a few at a time, while more than `max_archives` would remain
    once this run has added `adding` of its own: without that a job that changes a little each day would collect
    archives for ever. Archives with nothing live need no compaction: nothing names them any more.
    """
    alive = [candidate for candidate in candidates if candidate.live > 0]
    budget = sum(candidate.live for candidate in alive) / 4
    chosen: set[int] = set()
    spent = 0
    for candidate in sorted(alive, key=lambda each: (each.live / max(each.content, 1), each.number)):
        if candidate.live >= compact_ratio * candidate.content or (chosen and spent + candidate.live > budget):
            break
        chosen.add(candidate.number)
        spent += candidate.live
    remaining = sorted((each for each in alive if each.number not in chosen), key=lambda each: (each.live, each.number))
    excess = min(len(remaining) + adding - max_archives, _SMALLEST_AT_ONCE)
    chosen.update(candidate.number for candidate in remaining[: max(excess, 0)])
    return tuple(sorted(chosen))
