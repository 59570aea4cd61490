"""Between look and take of a first hot pass: what is in question is compared with the archives that may hold it.

What is proved to be there keeps its place, and adds nothing to the backup. All else is archived as ever, so that a kill
in the middle loses nothing but the time.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hiveden_backup.core.backup.proving import LEAST, Answers, Groups, paying, question_of
from hiveden_backup.core.config.values import Job
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, CorruptError, StorageError
from hiveden_backup.core.progress import Progress, Step
from hiveden_backup.host.disk import proof
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.index_files import append_records, spooled, write_records
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.log import log
from hiveden_backup.jobs.run.passes import Look, Trees, look

_BATCH = 4096


def provable(looked: Look) -> int:
    """The weight of what will be compared, and may turn out to be archived already."""
    return sum(paying(looked.comparison.in_question, looked.base.archives, looked.base.away).values())


@dataclass(frozen=True, slots=True)
class Proving:
    """What proving needs besides a look: `folder` has the archives' paths below it, `spool` the working lists.

    `warn` is told what a person should know. At `least` so much must be in question.
    """

    job: Job
    trees: Trees
    folder: Path
    spool: Path
    progress: Progress
    warn: Callable[[str], None]
    least: int = LEAST

    def proved(self, looked: Look) -> Look:
        """The look without what is proved; another one, which trusts less, where an archive was found damaged."""
        while worth := paying(looked.comparison.in_question, looked.base.archives, looked.base.away, self.least):
            began = time.monotonic()
            self.progress.begin(Step.PROVE)
            proved, damaged = self._read(looked, worth)
            if not damaged:
                answers, looked = self._answered(looked, proved)
                log.info(
                    f"Proved that {answers.paths} of {len(proved)} paths in question are what the archives hold",
                    job=self.job.name,
                    bytes=answers.weight,
                    seconds=time.monotonic() - began,
                )
                break
            broken = looked.base.broken | damaged
            base = replace(looked.base, broken=broken, views=looked.views)
            looked = look(self.trees, base, self.spool, looked.draft.stem)
        return looked

    def _read(self, looked: Look, worth: Mapping[int, int]) -> tuple[bytearray, frozenset[int]]:
        """Which questions are proved, by their numbers; and which archives are damaged."""
        damaged = set[int]()
        with translated(f"writing the spool {self.spool}", unwritable=StorageError):
            lists, groups, proved = self._sorted_out(looked, worth)
        for number, questions in lists.items():
            archive = looked.base.archives[number]
            try:
                found = proof.proved(
                    self.folder / archive.path, archive.bytes, _numbered(questions), groups.sizes, self.progress.advance
                )
            except CorruptError as error:
                damaged.add(number)
                self.warn(f"{archive.path} is damaged ({error.what}): what it held is archived again")
            except BackupError as error:
                log.warning(f"What is in {archive.path} is archived again: {error}", job=self.job.name)
            else:
                for each in found:
                    proved[each] = 1
            questions.unlink()
            failpoint("prove")
        return proved, frozenset(damaged)

    def _sorted_out(self, looked: Look, worth: Mapping[int, int]) -> tuple[dict[int, Path], Groups, bytearray]:
        """A list of questions for each archive that is read, the groups among them; and a place for each answer."""
        groups, count, waiting = Groups(), 0, 0
        for line in spooled(looked.questions):
            groups.add(question_of(line))
            count += 1
        groups.settle(spooled(looked.candidates), looked.comparison.lost)
        lists = {number: self.spool / f"{looked.draft.stem}-{number}.questions" for number in worth}
        for path in lists.values():
            path.write_bytes(b"")
        pending: dict[int, list[bytes]] = {number: [] for number in worth}
        for at, line in enumerate(spooled(looked.questions)):
            question = question_of(line)
            lines = pending.get(question.archive)
            if lines is not None and groups.admits(question):
                lines.append(b"%d\t%s" % (at, question.record))
                waiting += 1
            if waiting == _BATCH:
                _append(lists, pending)
                waiting = 0
        _append(lists, pending)
        return lists, groups, bytearray(count)

    def _answered(self, looked: Look, proved: bytearray) -> tuple[Answers, Look]:
        found = looked.comparison
        answers = Answers(replace(found, live=found.live.copy(), dirty=set(found.dirty)))
        if any(proved):
            with translated(f"writing the spool {self.spool}", unwritable=StorageError):
                for path, answered in ((looked.draft, answers.draft), (looked.candidates, answers.candidates)):
                    _rewrite(path, answered(spooled(path), spooled(looked.questions), proved))
        return answers, replace(looked, comparison=answers.comparison)


def _numbered(path: Path) -> Iterator[proof.Wanted]:
    for line in spooled(path):
        number, _, record = line.partition(b"\t")
        yield int(number), record


def _append(lists: Mapping[int, Path], pending: Mapping[int, list[bytes]]) -> None:
    """Write what waits to the list of its archive."""
    for number, lines in pending.items():
        if lines:
            append_records(lists[number], lines)
            lines.clear()


def _rewrite(path: Path, lines: Iterator[bytes]) -> None:
    """Put lines in the place of a list that they are made of."""
    other = path.with_name(f"{path.name}.new")
    with other.open("wb") as file:
        write_records(file, lines)
    os.replace(other, path)
