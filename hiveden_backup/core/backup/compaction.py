"""Which archives to compact: pure rule over what is live in them.

Compacting an archive means that a hot pass takes its live paths along; nothing then names it, and it becomes garbage.
"""

from collections.abc import Sequence

from hiveden_backup.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An archive as compaction sees it: weights in bytes of tar stream."""

    number: int
    live: int
    content: int


def choose(candidates: Sequence[Candidate], *, compact_ratio: float, max_archives: int, adding: int) -> tuple[int, ...]:
    """The numbers of the archives to compact in this run.

    First those of which less than `compact_ratio` is live, deadest first, until a quarter of all that is live has been
    taken along (the deadest always). Then, if more than `max_archives` would remain once this run has added `adding` of
    its own, the smallest: a quarter of `max_archives` at once, so that it is not done again soon. Each compaction
    costs space as long as older backups name what it copied; one archive a day would copy the same data over and over.
    Archives with nothing live need no compaction: nothing names them any more.
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
    if len(remaining) + adding > max_archives:
        chosen.update(candidate.number for candidate in remaining[: max(adding + 1, max_archives // 4)])
    return tuple(sorted(chosen))
