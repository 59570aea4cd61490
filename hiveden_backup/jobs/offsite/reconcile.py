"""What lies at an offsite, listed and held against the journal: what is gone is sent again, or is damaged.

A listing may be old, so nothing is believed to be gone before some of it was looked for by itself, and nothing that the
journal or any sums name is ever removed. A journal that was lost is made again from the sums there that this host has
signed; no key of age is needed for that.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import DeniedError, UnreachableError
from hiveden_backup.core.offsite.compare import Wrong, compare, fault, lines_of, removable, summed
from hiveden_backup.core.offsite.journal import Line, There
from hiveden_backup.host.offsite.listing import Object
from hiveden_backup.jobs.offsite.findings import Finding, settle
from hiveden_backup.jobs.offsite.proving import Proven, proven
from hiveden_backup.jobs.offsite.visit import Visit, here

_LOOKED_FOR = 8


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of it, for one job. `learned` are objects that the journal did not know, and does now.

    `strays` are what uploads that were broken off have left, `removed` those of them that nothing will need any more,
    `foreign` what none of ours is called.
    """

    job: str
    objects: int
    bytes: int
    findings: tuple[Finding, ...] = ()
    learned: int = 0
    strays: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    def table(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "job": self.job,
            "objects": self.objects,
            "bytes": self.bytes,
            "findings": [each.table() for each in self.findings],
            "learned": self.learned,
            "strays": list(self.strays),
            "removed": list(self.removed),
            "foreign": list(self.foreign),
        }


def reconcile(visit: Visit) -> Reconciled:
    """List what lies there, and make journal and state say so. UnreachableError when the listing is not true."""
    there, facts = visit.there(), visit.facts()
    was_known = bool(there.objects)
    listed = visit.listed()
    _insist_on_listing(visit, there, compare(there, listed).wrong)
    learned, wrong = _learn(visit, there, compare(there, listed).unknown, listed)
    found = compare(there, listed)
    wrong.update(found.wrong)
    wrong.update(_forged(visit, found.wrong, listed))
    doubted = {name for name in facts.doubted if name not in there.objects or name in {line.object for line in learned}}
    for name in (*facts.damaged, *doubted):
        if name in there.objects:
            wrong.setdefault(name, Wrong.DOUBTED)
    at_hand = here(visit.installation, visit.job)  # now, and not before the listing: archives leave meanwhile
    findings = settle(visit, there, at_hand, wrong, learned=learned)
    visit.change(reconciled=visit.installation.now())
    trusted = was_known and not learned and Wrong.FORGED not in wrong.values()
    removed = _removed(visit, removable(found.strays, there, at_hand.knows)) if trusted else ()
    strays = tuple(name for name in found.strays if name not in removed)
    size = sum(each.bytes for each in listed.values())
    return Reconciled(visit.job, len(listed), size, findings, len(learned), strays, removed, found.foreign)


def _insist_on_listing(visit: Visit, there: There, wrong: Collection[str]) -> None:
    """UnreachableError when something of what a listing has wrong is there as it was sent: nothing of it is true then.

    Looked for are what was sent last, which an old listing lacks, and some of the rest.
    """
    newest = sorted(wrong, key=lambda name: there.objects[name].at, reverse=True)
    step = max(1, len(newest) // _LOOKED_FOR)
    for name in dict.fromkeys([*newest[:_LOOKED_FOR], *newest[::step]]):
        try:
            seen = visit.stat(name)
        except DeniedError:
            return  # a key that may list, and not read
        if seen is not None and fault(there.objects[name], seen) is None:
            raise UnreachableError(
                f"The listing of the offsite {visit.locked.name} is not to be believed",
                f"{visit.at(name)} is there, and the listing says otherwise",
                "Nothing was changed by it; reconcile again later",
            )


def _learn(
    visit: Visit, there: There, unknown: Collection[str], listed: Mapping[str, Object]
) -> tuple[list[Line], dict[str, Wrong]]:
    """The lines for what the journal does not know, by its sums; and what is wrong with sums. `there` has them then."""
    learned: list[Line] = []
    wrong: dict[str, Wrong] = {}
    for name in unknown:
        found = proven(visit, name, partial(_size, listed))
        if not isinstance(found, Proven):
            wrong[name] = found
            continue
        lines = lines_of(found.sums, name, found.contents, listed, visit.installation.now())
        known = there.objects
        if all(known[line.object].sha256 == line.sha256 for line in lines if line.object in known):  # else they are old
            learned += [line for line in lines if line.object not in known]
    for line in learned:
        there.note(line)
    return learned, wrong


def _size(listed: Mapping[str, Object], name: str) -> int | None:
    return listed[name].bytes if name in listed else None


def _forged(visit: Visit, wrong: Mapping[str, Wrong], listed: Mapping[str, Object]) -> Iterator[tuple[str, Wrong]]:
    """Of the sums that are not those that were sent, those that somebody else has signed."""
    for name, each in wrong.items():
        is_other = summed(name) is not None and each is not Wrong.MISSING
        if is_other and proven(visit, name, partial(_size, listed)) is Wrong.FORGED:
            yield name, Wrong.FORGED


def _removed(visit: Visit, strays: Collection[str]) -> tuple[str, ...]:
    """Remove strays; those that went, which are none where the key may not."""
    try:
        visit.remote.remove(visit.at(name) for name in strays)
    except DeniedError:
        return ()
    return tuple(strays)
