"""What is at the offsites, by the journals: no request is made."""

from collections.abc import Iterator, Sequence
from typing import Any

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.names import iso, newest_first
from hiveden_backup.core.offsite.journal import Line, There
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.place import moved_from


@dataclass(frozen=True, slots=True)
class Row:
    """A backup that is complete at an offsite, with all archives that it needs. `bytes` is what these weigh there."""

    offsite: str
    job: str
    id: str
    line: Line
    bytes: int

    def table(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "offsite": self.offsite,
            "job": self.job,
            "id": self.id,
            "sent": iso(self.line.at),
            "bytes": self.bytes,
            "archives": len(self.line.needs),
        }


def rows(installation: Installation, offsites: Sequence[Offsite], jobs: Sequence[Job]) -> Iterator[Row]:
    """What is complete there, newest first, and not known to be damaged. StorageError when that cannot be told.

    With no `jobs` given, also of jobs that are no longer configured.
    """
    known = Offsites(installation.state)
    for offsite in offsites:
        if moved_from(installation, offsite):
            continue  # what is known is of another place
        for name in [job.name for job in jobs] or known.jobs(offsite.name):
            there = known.there(offsite.name, name)
            weights = _weights(there)
            whole = there.whole(known.facts(offsite.name, name).damaged)
            for backup in newest_first(whole, installation.now()):
                line = whole[backup]
                size = weights[backup] + sum(weights[each] for each in line.needs)
                yield Row(offsite.name, name, backup, line, size)


def _weights(there: There) -> dict[str, int]:
    return {owner: sum(line.bytes for line in lines.values()) for owner, lines in there.by_owner().items()}
