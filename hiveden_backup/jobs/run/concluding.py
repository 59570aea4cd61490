"""The last step of a pass: what tar says is in its archives decides, and makes the draft a finished index."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hiveden_backup.core.backup.creation import torn
from hiveden_backup.core.backup.finished_index import Answer, FinishedIndex
from hiveden_backup.core.backup.index import renumbering
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import Archive
from hiveden_backup.host.disk import stream, tar
from hiveden_backup.host.disk.durable import fsync_file, translated
from hiveden_backup.host.disk.index_files import spooled, write_records
from hiveden_backup.host.disk.name_lists import NameLists
from hiveden_backup.jobs.run.passes import State
from hiveden_backup.jobs.run.taking import Part, Take


@dataclass(frozen=True, slots=True)
class Passed:
    """A concluded pass.

    `struck` are the paths that the new index leaves out because no archive holds them, `unsure` those that changed
    between the scan and the end of their reading, `disturbed` directories in which tar may have read another one's.
    """

    state: State
    struck: tuple[bytes, ...]
    unsure: tuple[bytes, ...]
    disturbed: tuple[bytes, ...]

    @property
    def exact(self) -> bool:
        """Whether the index is what the scan saw."""
        return not (self.struck or self.unsure or self.disturbed)


@dataclass(frozen=True, slots=True)
class Made:
    """What a pass that ended, or was broken off, has made of its draft.

    `archives` are those it built upon, `live` what stays live in them; `lists` has the names for `count` archives of
    its own, of which `parts` are complete.
    """

    draft: Path
    archives: tuple[Archive, ...]
    live: Mapping[bytes, int]
    lists: NameLists
    count: int
    parts: Sequence[Part]


def conclude(taken: Take, index: Path, level: int) -> Passed:
    """Write the finished index to the new file `index`; it and the archives are durable then."""
    selected = taken.selected
    looked = selected.look
    made = Made(
        looked.draft, looked.base.archives, selected.extent.live, selected.lists, selected.archives, taken.parts
    )
    for part in taken.parts if not taken.durable else ():
        with translated(f"writing {part.path}"):
            fsync_file(part.path)
    archives, finished = write_index(made, index, level)
    state = State(
        index,
        archives,
        looked.taken_ns,
        finished.entries,
        views=looked.views,
        fresh=looked.base.fresh + selected.extent.names,
    )
    return Passed(state, tuple(finished.struck), tuple(finished.unsure), tuple(sorted(finished.disturbed)))


def write_index(made: Made, index: Path, level: int) -> tuple[tuple[Archive, ...], FinishedIndex]:
    """Write the index of what is in complete archives to the new file `index`; the archives in their new order."""
    numbers = renumbering(Counter(made.live), len(made.archives))
    kept = [
        replace(archive, live_bytes=made.live[b"%d" % number], added=False)
        for number, archive in enumerate(made.archives)
        if b"%d" % number in numbers
    ]
    parts = {part.number: part for part in made.parts}
    finished = FinishedIndex(
        draft=spooled(made.draft),
        order=made.lists.order(),
        answers=[_answer(made.lists, number, parts.get(number)) for number in range(made.count)],
        numbers=numbers,
        first=len(kept),
    )
    with translated(f"writing {index}"), stream.compressing(index, level) as compressed:
        write_records(compressed, finished.records())
    for number, part in sorted(parts.items()):
        weight = part.archive.content_bytes - finished.struck_weights[number]
        kept.append(replace(part.archive, live_bytes=weight, content_bytes=weight))
    return tuple(kept), finished


def _answer(lists: NameLists, number: int, part: Part | None) -> Answer:
    if part is None:
        return Answer(lists.read(number), None)
    return Answer(lists.read(number), tar.lines_of(lists.listing(number)), torn(part.changed), part.moved)
