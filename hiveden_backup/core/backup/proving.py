"""What is in question, and when it pays to compare it with the archives that may hold it: pure rules.

After an in-place restore, an undo, `cp -a`, a move to another disk, a chown there and back, all paths have another
inode or ctime, and are what the archives hold. To read an archive takes less than to write one, and adds nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hiveden_backup.core.backup.index import TAKEN, Comparison, line_weight
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.model import Archive

LEAST = 64 << 20
_SHARE = 4


def paying(
    in_question: Mapping[bytes, int], archives: Sequence[Archive], away: Collection[int], least: int = LEAST
) -> dict[int, int]:
    """The archives to read, by number, and the weight in question in each; none that is `away` from this machine.

    At least a quarter of what was live in an archive must be in question, and `least` bytes in all of these.
    """
    asked = {int(number): weight for number, weight in in_question.items() if int(number) not in away}
    worth = {number: asked[number] for number in sorted(asked) if _SHARE * asked[number] >= archives[number].live_bytes}
    return worth if sum(worth.values()) >= least else {}


class Question(NamedTuple):
    """A path in question: the older index's archive and inode, and the record that was scanned.

    `group` is the inode of a hard link with other names, else 0.
    """

    archive: int
    older: int
    record: bytes
    group: int


def question_of(line: bytes) -> Question:
    """A question from its line."""
    archive, older, record = line.split(b"\t", 2)
    return Question(int(archive), int(older), record, _group(record))


def _group(record: bytes) -> int:
    """The inode of a file that has other names as well; else 0."""
    kind, _, _, _, nlink, _ = record.split(b"\t", 5)
    return int(record.split(b"\t", 9)[8]) if kind == b"f" and nlink != b"1" else 0


@dataclass(slots=True)
class Groups:
    """The hard links among the questions. A group is in question as a whole only, and if its names are the same.

    `sizes` has the names of each group that is, by the inode that they have now.
    """

    sizes: Counter[int] = field(default_factory=Counter)
    _origins: defaultdict[int, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))

    def add(self, question: Question) -> None:
        """One question."""
        if question.group:
            self.sizes[question.group] += 1
            self._origins[question.group].add((question.archive, question.older))

    def settle(self, candidates: Iterable[bytes], lost: Collection[int]) -> None:
        """Drop the groups that are not what they were. `candidates` are a draft's, `lost` as in a Comparison."""
        if not self.sizes:
            return
        older = Counter(inode for origins in self._origins.values() for _, inode in origins)
        names, stayed = Counter[int](), set[int]()
        for line in candidates:
            number, _, record = line.partition(b"\t")
            if group := _group(record):
                names[group] += 1
                if number != TAKEN:
                    stayed.add(group)
        for group, origins in self._origins.items():
            (_, inode), *others = origins
            if others or older[inode] > 1 or inode in lost or inode in stayed or names[group] != self.sizes[group]:
                del self.sizes[group]

    def admits(self, question: Question) -> bool:
        """Whether a question is to be answered."""
        return not question.group or question.group in self.sizes


@dataclass(slots=True)
class Answers:
    """The draft of a look once some of its `questions` are `proved`, which tells by their numbers.

    What is proved keeps its archive, with the record that was scanned. `comparison` is set right in the course of
    `draft`, which comes before `candidates`.
    """

    comparison: Comparison
    paths: int = 0
    weight: int = 0

    def draft(self, lines: Iterable[bytes], questions: Iterable[bytes], proved: Sequence[int]) -> Iterator[bytes]:
        """The new draft's lines."""
        comparison = self.comparison
        for line, question in _answered(lines, questions, proved):
            if question is None:
                yield line
                continue
            number, weight = b"%d" % question.archive, line_weight(line)
            self.paths += 1
            self.weight += weight
            comparison.taken -= 1
            comparison.taken_weight -= weight
            comparison.live[number] += weight
            if question.group:
                comparison.dirty.discard(question.group)
            yield number + b"\t" + question.record

    def candidates(self, lines: Iterable[bytes], questions: Iterable[bytes], proved: Sequence[int]) -> Iterator[bytes]:
        """The new candidates: of what is proved, hard links alone."""
        for line, question in _answered(lines, questions, proved):
            if question is None:
                yield line
            elif question.group:
                yield b"%d\t%s" % (question.archive, question.record)


def _answered(
    lines: Iterable[bytes], questions: Iterable[bytes], proved: Sequence[int]
) -> Iterator[tuple[bytes, Question | None]]:
    """Each line, with the question that was answered of it. Both are in the order of their paths."""
    answered = (question_of(line) for line, yes in zip(questions, proved, strict=True) if yes)
    question = next(answered, None)
    expected = TAKEN + b"\t" + question.record if question is not None else b""
    for line in lines:
        if question is None or line != expected:
            yield line, None
            continue
        yield line, question
        question = next(answered, None)
        expected = TAKEN + b"\t" + question.record if question is not None else b""
    if question is not None:
        raise ValueError("what was proved is not in the draft")
