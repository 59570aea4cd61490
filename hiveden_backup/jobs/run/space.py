"""How much room a run needs, estimated from what changed and from the last dumps; measured where that is not enough.

What certainly does not fit is refused before anything is touched; what may not is tried, with a warning.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from hiveden_backup.core.backup.index import HEADER_BYTES, path_of
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DirectoryError, StorageError
from hiveden_backup.core.model import ArtifactType, Check, Manifest
from hiveden_backup.core.sizes import text as size
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import spooled
from hiveden_backup.host.disk.mounts import UNTOLD, free_bytes
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.sample import compressed_size, piece
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.broken_off import begun_here
from hiveden_backup.jobs.run.passes import Look
from hiveden_backup.jobs.run.plan import Draft, Plan
from hiveden_backup.jobs.run.proving import provable
from hiveden_backup.jobs.run.room import SPARE, for_a_few, leaves, spare

_BEGIN_ANEW = ". What a run that was broken off left goes with `run --full`, which archives everything again"
_BLOCK = 512
_LEAST_FILES = 0.1
_LEAST_DUMPS = 0.5
"""What each may shrink to against all likelihood: a run that would not fit even so is refused without measuring."""
_SAMPLES = 8
_SAMPLE_BYTES = 8 << 20  # longer than what zstd looks back
_SURE = 0.9


@dataclass(frozen=True, slots=True)
class Need:
    """What a run needs, in bytes: at `least` surely, and `likely`."""

    least: int
    likely: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """Bytes of a run whose archives leave this machine: those that are `here` already, and can; those to `spare`."""

    here: int
    spare: int


def leaving(installation: Installation, directory: BackupDirectory, job: Job) -> Leaving | None:
    """For a job whose archives leave this machine; None for any other."""
    offsites = installation.config.offsites_of(job)
    if not leaves(offsites):
        return None
    here = sum(each.bytes for each in begun_here(installation, directory, job.name))
    return Leaving(here, spare(installation.state, directory.path, offsites))


def check_room(draft: Draft, directory: BackupDirectory, leaving: Leaving | None) -> None:
    """DirectoryError when the run cannot fit, a WARN when it may not."""
    free, dumps = free_bytes(directory.path), _last_dumps(draft)
    need = _need(draft, dumps, free)
    if draft.looked is not None and leaving is not None and not draft.full and need.likely + SPARE > free:
        free += leaving.here if free != UNTOLD else 0
        need = _need_at_a_time(draft, draft.looked, dumps, need)
        need = Need(need.least, need.likely + leaving.spare - SPARE)
    if not free or need.least > free:
        anew = draft.base.is_checkpoint and leaving is None
        raise DirectoryError(
            f"The backup directory has {size(free)} free, and the run needs about {size(need.likely)}",
            "",
            "Free some space, prune, or exclude something" + _BEGIN_ANEW * anew,
        )
    if free == UNTOLD:
        what = f"How much is free cannot be seen: its file system does not say. About {size(need.likely)} needed"
        draft.findings.ok(Check.SPACE, what)
    elif need.likely + SPARE > free:
        draft.findings.warn(Check.SPACE, f"{size(free)} free, and the run may need {size(need.likely)}")
    else:
        draft.findings.ok(Check.SPACE, f"{size(free)} free, about {size(need.likely)} needed")


def check_spool(looked: Look, state: Path) -> None:
    """StorageError when the state directory's disk has no room for the second draft, which is made of the same paths.

    It is written while the containers are down.
    """
    while not state.exists():
        state = state.parent
    with translated(f"looking at {state}", unwritable=StorageError):
        free, needed = free_bytes(state), looked.draft.stat().st_size
    if needed > free:
        raise StorageError(
            f"The state directory {state} has {size(free)} free, and the cold pass needs {size(needed)} for its lists",
            "",
            "Free some space there",
        )


def _need(draft: Draft, dumps: int, free: int) -> Need:
    """Content that would fit as it is, is not looked at; else some of it is compressed, to see what becomes of it."""
    if draft.looked is None:
        return Need(int(dumps * _LEAST_DUMPS), dumps)
    content = draft.looked.comparison.taken_weight
    certain = 1 - provable(draft.looked) / content if content else 1.0  # the rest may be in archives already
    tight = content + dumps + SPARE > free
    if tight:
        content = sum(HEADER_BYTES + occupied for _, occupied in _taken(draft.looked))
    files = content * _ratio(draft)
    need = Need(int(dumps * _LEAST_DUMPS + files * _LEAST_FILES * certain), dumps + int(files))
    if not tight or need.least > free:
        return need
    data = sum(occupied for _, occupied in _taken(draft.looked))
    ratios = [
        compressed_size(sample, draft.job.compression_level) / len(sample)
        for sample in _samples(draft.looked, data)
        if sample
    ]
    if not ratios:
        return need
    least = int(dumps * _LEAST_DUMPS + data * min(ratios) * _SURE * certain)
    likely = dumps + int(data * sum(ratios) / len(ratios) + (content - data) * _ratio(draft))
    return Need(max(need.least, least), max(least, likely))


def _need_at_a_time(draft: Draft, looked: Look, dumps: int, need: Need) -> Need:
    """The same where archives leave while the run goes on: for a few, and a large file that is one by itself."""
    few, largest = for_a_few(looked.archive_bytes), max((occupied for _, occupied in _taken(looked)), default=0)
    least = int(dumps * _LEAST_DUMPS) + int(max(looked.archive_bytes, largest) * _LEAST_FILES)
    return Need(min(need.least, least), min(need.likely, dumps + few + int(largest * _ratio(draft))))


def _samples(looked: Look, data: int) -> Iterator[bytes]:
    """Pieces of what will be archived, in the order in which it will be: evenly spread, or all where it is little."""
    windows = [(number * data // _SAMPLES, number * data // _SAMPLES + _SAMPLE_BYTES) for number in range(_SAMPLES)]
    if data <= _SAMPLES * _SAMPLE_BYTES:
        windows = [(0, data)]
    at, pieces = 0, list[bytes]()
    for path, occupied in _taken(looked):
        end = at + occupied
        while windows and windows[0][0] < end:
            first, last = windows[0]
            pieces.append(piece(path, max(first - at, 0), min(last, end) - max(first, at)))
            if last > end:
                break  # it goes on in the next file
            yield b"".join(pieces)
            pieces.clear()
            del windows[0]
        at = end
    yield b"".join(pieces)


def _ratio(draft: Draft) -> float:
    """How much of its content an archive of the job takes on disk: what the older ones tell."""
    written = [archive for archive in draft.base.archives if archive.content_bytes]
    content = sum(archive.content_bytes for archive in written)
    return min(sum(archive.bytes for archive in written) / content, 1.0) if content else 1.0


def compaction_fits(directory: BackupDirectory, taken: int, rewritten: int) -> bool:
    """Whether there is room for compaction besides what changed, in bytes of content."""
    return taken + rewritten + SPARE <= free_bytes(directory.path)


def expected_lists(plan: Plan) -> int:
    """What the index of a run takes at most."""
    with translated("looking at the draft index"):
        return plan.files.look.draft.stat().st_size if plan.files is not None else 0


def expected_dumps(plan: Plan) -> int:
    """What the dumps of a run may take: what the last ones took, else half of what the databases do."""
    sizes = (each.size or 0 for server in plan.servers for each in server.facts.databases if each.name in server.names)
    return _dumped(plan.history) if plan.history else sum(sizes) // 2


def _last_dumps(draft: Draft) -> int:
    return _dumped(draft.history) if draft.servers else 0


def _dumped(history: Sequence[Manifest]) -> int:
    artifacts = history[0].artifacts if history else ()
    return sum(file.bytes for each in artifacts if each.type is ArtifactType.DATABASE for file in each.files)


def _taken(looked: Look) -> Iterator[tuple[bytes, int]]:
    """The changed paths, and what those that are files occupy: sparse ones weigh less than their size says."""
    with translated("reading the draft index"):
        for line in spooled(looked.candidates):
            if not line.startswith(b"+\t"):
                continue
            path, occupied = b"/" + path_of(line), 0
            if line.startswith(b"+\tf"):
                try:
                    found = os.lstat(path)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if stat.S_ISREG(found.st_mode):
                    occupied = min(found.st_blocks * _BLOCK, found.st_size) // max(found.st_nlink, 1)
            yield path, occupied
