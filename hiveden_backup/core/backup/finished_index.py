"""The end of a pass: its draft held against what tar says is in the archives, which makes it a finished index."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from hiveden_backup.core.backup.index import is_directory, line_weight, path_of
from hiveden_backup.core.backup.moved import Moved
from hiveden_backup.core.backup.tar_listing import Contents, Member, Metadata, escape, members, quoted
from hiveden_backup.core.dataclass import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """What a pass asked tar to put into one archive, and tar's answer.

    `names` are the paths, in the index's order. `listing` None: tar did not come to its end. `torn` are the names, as
    messages quote them, of files that changed under tar's hands, `moved` directories that moved until it had ended.
    """

    names: Iterable[bytes]
    listing: Iterable[bytes] | None
    torn: Collection[bytes] = ()
    moved: Collection[bytes] = ()


@dataclass(slots=True)
class FinishedIndex:
    """A draft held against tar's listings, which makes it a finished index.

    `answers` are those for the archives of the pass, and `order` tells for the draft's paths that were asked for, in
    order, for which of these archives: runs of (position in `answers`, how many). `numbers` maps older archive numbers
    to new ones; the archives that were finished are numbered on from `first`.
    The index has nothing of an archive that was not finished. Once `records` is exhausted, `struck` has the other paths
    that are in no archive: a name that is no member, a member of another type, and a hard-link member whose record has
    one link only or whose target is struck, absent or another inode (with `-T`, tar links even single files when a
    rename shows it the same inode twice). `struck_weights` are what they weigh, by answer.

    `unsure` are paths that changed under tar's hands, or that it read as something else than the scan saw: another size
    or mtime. The file changed in between, or a directory above it changed places with another one for a moment, which
    leaves no trace in the file.
    The index says of them what the archive holds, with a ctime of 0, so that the next pass takes them again; so it does
    of paths with other owners or permissions, and of directories, whose entries are paths of their own. But all else
    that tar read in a directory that moved, or is struck, is struck as well: a link may have been in its place, and
    what lies behind that is nobody's to have under this name. `disturbed` are the topmost of these directories.
    """

    draft: Iterable[bytes]
    order: Iterable[tuple[int, int]]
    answers: Sequence[Answer]
    numbers: Mapping[bytes, bytes]
    first: int
    entries: int = 0
    struck: list[bytes] = field(default_factory=list)
    struck_weights: Counter[int] = field(default_factory=Counter)
    unsure: list[bytes] = field(default_factory=list)
    disturbed: set[bytes] = field(default_factory=set)
    _gone: Moved = field(default_factory=Moved)

    def records(self) -> Iterator[bytes]:
        """The finished index."""
        asked = self._asked()
        number, name, reading = next(asked, _NOTHING)
        moved = any(old != new for old, new in self.numbers.items())
        for line in self.draft:
            if name is None or not line.endswith(name) or path_of(line) != name:
                self.entries += 1
                if moved:
                    older, _, rest = line.partition(b"\t")
                    yield self.numbers[older] + b"\t" + rest
                else:
                    yield line
                continue
            record = self._held(reading, line) if reading is not None else None
            if record is not None and reading is not None:
                self.entries += 1
                yield reading.number + record
            elif reading is not None:  # else nobody has looked for it
                self.struck.append(name)
                self.struck_weights[number] += line_weight(line)
                if is_directory(line):
                    self._gone.directories.add(name)
            number, name, reading = next(asked, _NOTHING)
        if name is not None:
            raise ValueError(f"{name!r} was archived and is not in the draft")

    def _asked(self) -> Iterator[tuple[int, bytes | None, "_Reading | None"]]:
        """The paths that were asked for, in the draft's order: of which answer, and how far that has been read."""
        names: dict[int, Iterator[bytes]] = {}
        readings: dict[int, _Reading | None] = {}
        finished = (number for number, answer in enumerate(self.answers) if answer.listing is not None)
        numbers = {number: b"%d\t" % new for new, number in enumerate(finished, self.first)}
        for number, count in self.order:
            if number not in names:
                answer = self.answers[number]
                names[number] = iter(answer.names)
                readings[number] = _Reading(answer, numbers[number]) if number in numbers else None
            for _ in range(count):
                name = next(names[number], None)
                if name is None:
                    raise ValueError("there are fewer names than were asked for")
                yield number, name, readings[number]

    def _held(self, reading: "_Reading", line: bytes) -> bytes | None:
        """The record of a path as the archive has it; None when it does not have it."""
        _, kind, mode, uid, gid, nlink, size, mtime, _, inode, path = line.split(b"\t", 10)
        member = reading.member_of(path)
        above = self._gone.above(path) or reading.moved.above(path)
        if above is not None:
            self.disturbed.add(above)
            if kind != b"d":
                return None  # nor are links to it
        if member is None:
            return None
        expected = Metadata(mode, uid, gid, size, mtime)
        linked = nlink not in {b"0", b"1"}
        found = reading.contents.held(member, expected, kind=kind, linked=linked, inode=int(inode))
        if found is None:
            return None
        torn = bool(reading.torn) and kind == b"f" and quoted(path) in reading.torn
        if found == expected and not torn and above is None:
            return line.partition(b"\t")[2]
        if kind != b"d" and (torn or (found.size, found.mtime) != (size, mtime)):
            self.unsure.append(path)
        return b"\t".join((kind, *found[:3], nlink, *found[3:], b"0", inode, path))


class _Reading:
    """How far the listing of one archive has been read. `number` is the new one, with the tab behind it."""

    def __init__(self, answer: Answer, number: bytes) -> None:
        self.number = number
        self.torn = answer.torn
        self.moved = Moved(set(answer.moved))
        self.contents = Contents()
        self._members = members(answer.listing or ())
        self._member = next(self._members, None)

    def member_of(self, path: bytes) -> Member | None:
        """What the archive has of the next path that was asked for; None when it has nothing of it."""
        member = self._member
        if member is None or member.name != escape(path):
            return None
        self._member = next(self._members, None)
        return member


_NOTHING: tuple[int, None, None] = (-1, None, None)
