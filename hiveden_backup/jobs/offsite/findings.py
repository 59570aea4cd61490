"""What was found wrong at an offsite, and what becomes of it: it is sent again by the next push, or it is damaged."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.compare import Wrong, unsent
from hiveden_backup.core.offsite.journal import Line, There
from hiveden_backup.jobs.offsite.visit import Here, Visit


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an object of a job. `sent_again` says whether the next push mends it; else it is damaged."""

    object: str
    wrong: Wrong
    sent_again: bool = False

    def table(self) -> dict[str, Any]:
        """As it is printed as JSON."""
        return {"object": self.object, "wrong": self.wrong.value, "sent_again": self.sent_again}


def settle(
    visit: Visit,
    there: There,
    at_hand: Here,
    wrong: Mapping[str, Wrong],
    *,
    learned: Iterable[Line] = (),
    good: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Have journal and state say what is wrong; `good` are objects that were read, and are as they were sent.

    What is here leaves the journal, so that it is sent again; what is not stays in it, and is damaged until it is read
    well. `there` is the journal with `learned`, lines that it has not yet.
    """
    findings = tuple(Finding(name, each, at_hand.has(layout.owner(name))) for name, each in sorted(wrong.items()))
    again = {each.object for each in findings if each.sent_again}
    lost = {each.object for each in findings if not each.sent_again and each.object in there.objects}
    facts = visit.facts()
    waiting = {name for name in facts.doubted if name not in there.objects} | again
    damaged = {name for name in facts.damaged if name in there.objects} | lost
    visit.change(  # first: what has left the journal is not learned again from sums that are there
        damaged=tuple(sorted(damaged - waiting - set(good))), doubted=tuple(sorted(waiting - lost - set(good)))
    )
    lines = [*learned, *unsent(there, again, visit.installation.now())]
    if lines:
        visit.offsites.note(visit.locked, visit.job, lines)
    return findings
