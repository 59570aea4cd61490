"""What this host remembers of a job's backups, so that one which vanishes, changes or comes back older is noticed.

A chain changes by what is said here; each change is durable before the backup directory changes. Whoever was killed in
between has left an entry that says more than there is, never one that makes a false alarm.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from hiveden_backup.core.backup.signature import How, Known, Lying
from hiveden_backup.core.dataclass import dataclass, field

_SHOWN = 5
_DIRECTORIES = 16
Published = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Chain:
    """The backups of a job that are in one backup directory, by their ids."""

    backups: Mapping[str, Known] = field(default_factory=dict)

    def known(self, backup: str) -> Known | None:
        """What is remembered of one backup."""
        return self.backups.get(backup)

    def counts(self, backup: str, found: Lying) -> bool:
        """Whether decisions may count on a backup: it is known, and what lies there is what is known."""
        known = self.backups.get(backup)
        return known is not None and bool(found.sums) and _changed(known, found) is None

    @property
    def signer(self) -> str:
        """The key that signed the newest backup which is signed, "" where none is."""
        return next((known.key for _, known in sorted(self.backups.items(), reverse=True) if known.key), "")

    def making(self, backup: str, sums: str, key: str) -> "Chain":
        """With a backup that is about to be visible."""
        return Chain({**self.backups, backup: Known(sums, key, How.MAKING)})

    def going(self, backups: Collection[str]) -> "Chain":
        """With backups that are about to be removed."""
        gone = {name: replace(self.backups[name], going=True) for name in backups if name in self.backups}
        return Chain({**self.backups, **gone})

    def adopted(self, backup: str, key: str) -> "Chain":
        """With an old backup that was verified, and is signed."""
        return Chain({**self.backups, backup: replace(self.backups[backup], key=key, how=How.ADOPTED)})

    def settled(self, there: Collection[str], published: Published) -> "Chain":
        """Without what was only begun, or is gone as it was meant to; `published` tells of a run that ended well."""
        kept = {}
        for name, known in self.backups.items():
            if name not in there and (known.going or (known.how is How.MAKING and not published(name))):
                continue
            kept[name] = replace(known, how=How.MADE) if known.how is How.MAKING else known
        return Chain(kept)

    def accepted(self, lying: Mapping[str, Lying]) -> "Chain":
        """As a person says that it is meant: what lies there now. What this host had not made so is not its own."""
        return Chain(
            {
                name: known
                if (known := self.backups.get(name)) is not None and _changed(known, found) is None
                else Known(found.sums, how=How.FOUND)
                for name, found in lying.items()
            }
        )

    def changes(self, lying: Mapping[str, Lying], newest: str, published: Published) -> tuple[str, ...]:
        """What is not as it was left, a sentence each; `newest` is the newest of those that lie there, "" for none."""
        found = [*self._gone(lying, newest, published), *self._other(lying)]
        if len(found) > _SHOWN:
            return (*found[: _SHOWN - 1], f"So it is with {len(found) - _SHOWN + 1} more backups")
        return tuple(found)

    def _gone(self, lying: Mapping[str, Lying], newest: str, published: Published) -> Iterator[str]:
        appeared = {each.sums: name for name, each in lying.items() if name not in self.backups}
        for name, known in sorted(self.backups.items(), reverse=True):
            if name in lying or known.going or (known.how is How.MAKING and not published(name)):
                continue
            if known.sums in appeared:
                yield f"The backup {name} is called {appeared[known.sums]} now, which this program did not do"
            elif name > newest:
                yield f"The newest backup, {name}, is gone, and this program did not remove it"
            else:
                yield f"The backup {name} is gone, and this program did not remove it"

    def _other(self, lying: Mapping[str, Lying]) -> Iterator[str]:
        gone = {each.sums for name, each in self.backups.items() if name not in lying}
        for name, found in sorted(lying.items(), reverse=True):
            known = self.backups.get(name)
            if known is None and found.sums not in gone:
                yield f"The backup {name} has appeared, and this host did not make it"
            elif known is not None and (how := _changed(known, found)) is not None:
                yield f"The backup {name} is not what it was: {how}"


@dataclass(frozen=True, slots=True)
class Chains:
    """The chains of a job, by the ids of the backup directories that it has been backed up to."""

    directories: Mapping[str, Chain] = field(default_factory=dict)

    def put(self, directory: str, chain: Chain) -> "Chains":
        """With this chain; the ones of directories that were used longest ago go, when there are very many."""
        others = [(name, each) for name, each in self.directories.items() if name != directory]
        return Chains(dict([*others[-_DIRECTORIES:], (directory, chain)]))


def _changed(known: Known, found: Lying) -> str | None:
    if not found.sums and known.sums:
        return "its SHA256SUMS is gone, or cannot be read"
    if known.sums != found.sums:
        return "its SHA256SUMS is another one"
    if known.key and not found.signed:
        return "its signature is gone"
    return None


def begun(lying: Mapping[str, Lying], how: How) -> Chain:
    """The first chain of a job, with what lies there."""
    return Chain({name: Known(each.sums, how=how) for name, each in lying.items()})
