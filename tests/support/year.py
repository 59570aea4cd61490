"""A year of nightly runs, computed: what they write, and what lies on the disk, by the program's own rules.

No file is read or written. A machine is a set of files with sizes, each run takes what changed, and compaction, the
split into archives and retention are the real ones.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hiveden_backup.core.backup import compaction, retention
from hiveden_backup.core.backup.bounded import Split, archive_bytes
from hiveden_backup.core.backup.index import HEADER_BYTES
from hiveden_backup.core.config.values import Job, Retention
from hiveden_backup.core.model import Archive
from hiveden_backup.core.names import backup_id, backup_time

DAYS = 365
MB, GB = 10**6, 10**9
_BEGAN = datetime(2026, 1, 1, 1, 30, tzinfo=UTC)

Files = Mapping[tuple[str, int], int]
"""Sizes by places in the order of paths."""
Daily = Callable[[int], Files]


def files(name: str, whole: int, count: int) -> Files:
    """So many files of one folder that are `whole` together."""
    return {(name, number): whole // count for number in range(count)}


@cache
def kept_each_day(policy: Retention) -> Sequence[frozenset[int]]:
    """For each day of a year of daily backups, the days whose backups are kept when it is over."""
    days = {backup_id(_BEGAN + timedelta(days=day)): day for day in range(DAYS)}
    kept: list[str] = []
    found = []
    for backup in days:
        decisions = retention.decide([*kept, backup], policy, backup_time(backup), ZoneInfo("Europe/Berlin"))
        kept = [decision.id for decision in decisions if decision.keep]
        found.append(frozenset(days[each] for each in kept))
    return found


@dataclass
class Year:
    """What the runs so far have made. Sizes are bytes of content.

    `written` is what went into archives, `changed` what of it had to, since it was new or changed. `copied` says how
    often a file was copied by compaction since it changed, `most_copied` the most of that, and `most_named` of how many
    archives a backup consisted at most. `stored` is what lies on the disk, `most_stored` the most of that after a run.
    """

    files: dict[tuple[str, int], int] = field(default_factory=dict)
    archives: dict[str, Archive] = field(default_factory=dict)
    members: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    holder: dict[tuple[str, int], str] = field(default_factory=dict)
    live: Counter[str] = field(default_factory=Counter)
    backups: dict[int, tuple[Archive, ...]] = field(default_factory=dict)
    copied: Counter[tuple[str, int]] = field(default_factory=Counter)
    written: int = 0
    changed: int = 0
    stored: int = 0
    most_stored: int = 0
    most_named: int = 0
    most_copied: int = 0

    def run(self, day: int, hot: Files, cold: Files) -> None:
        """One run: `hot` is new or changed then, and `cold` again, when the containers are down."""
        hot_part = self._changed(hot)
        size = archive_bytes(sum(self.files.values()))
        compacted = self._compacted(size) - hot_part
        self._archive(f"{day}.hot", hot_part | compacted, hot_part, size)
        cold_part = self._changed(cold)
        self._archive(f"{day}.cold", cold_part, cold_part, size)
        self.archives = {
            path: archive if archive.live_bytes == self.live[path] else replace(archive, live_bytes=self.live[path])
            for path, archive in self.archives.items()
            if self.live[path]
        }
        self.backups[day] = tuple(self.archives.values())
        self.most_named = max(self.most_named, len(self.archives))

    def prune(self, kept: Collection[int]) -> None:
        """Keep the backups of these days only."""
        self.backups = {day: backup for day, backup in self.backups.items() if day in kept}
        named = {archive.path: archive.content_bytes for backup in self.backups.values() for archive in backup}
        self.stored = sum(named.values())
        self.most_stored = max(self.most_stored, self.stored)

    def _changed(self, changed: Files) -> set[tuple[str, int]]:
        for file, size in changed.items():
            self._leave(file)
            self.files[file] = size
            self.changed += size
            del self.copied[file]
        return set(changed)

    def _leave(self, file: tuple[str, int]) -> None:
        if file in self.holder:
            path = self.holder.pop(file)
            self.members[path].discard(file)
            self.live[path] -= self.files[file]

    def _compacted(self, size: int) -> set[tuple[str, int]]:
        recorded = compaction.recorded(self.backups.values())
        archives = list(self.archives.values())
        candidates = [
            compaction.Candidate(number, self.live[each.path], recorded.get(each.path, 0), each.content_bytes)
            for number, each in enumerate(archives)
        ]
        chosen = compaction.choose(candidates, compact_ratio=Job("").compact_ratio, size=size)
        found = {file for number in chosen for file in self.members[archives[number].path]}
        self.copied.update(found)
        self.most_copied = max(self.most_copied, *(self.copied[file] for file in found), 0)
        return found

    def _archive(self, name: str, taken: set[tuple[str, int]], changed: set[tuple[str, int]], size: int) -> None:
        split = Split(size)
        for file in sorted(taken):
            number = b"+" if file in changed else b"0"
            line = b"%b\tf\t644\t0\t0\t1\t%d\t0\t0\t0\t" % (number, self.files[file] - HEADER_BYTES)
            path = f"{name}-{split.number(line):04}"
            self._leave(file)
            self.holder[file] = path
            self.live[path] += self.files[file]
            self.members.setdefault(path, set()).add(file)
        for part, content in split.weights.items():
            path = f"{name}-{part:04}"
            self.archives[path] = Archive(path, content, "", content, content, added=True)
            self.written += content


def _nothing(_day: int) -> Files:
    return {}


def year(first: Files, daily: Daily, kept: Sequence[Collection[int]], late: Daily = _nothing) -> Year:
    """A year in which `first` was there when it began, and each day `daily` is new or changed."""
    made = Year()
    for day in range(DAYS):
        made.run(day, daily(day) if day else first, late(day))
        made.prune(kept[day])
    return made
