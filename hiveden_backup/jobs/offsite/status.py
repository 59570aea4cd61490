"""How it stands with each offsite: what is there, what waits, what is wrong. One listing a place at most."""

from collections.abc import Iterator, Sequence
from typing import Any

from hiveden_backup.core.config.values import Job, Offsite
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.names import iso
from hiveden_backup.core.offsite.layout import status_object
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.state.offsites import Offsites
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite.choice import jobs_there
from hiveden_backup.jobs.offsite.place import host_of
from hiveden_backup.jobs.schedule.offsite_status import OffsiteStatus
from hiveden_backup.jobs.schedule.status import job_status


@dataclass(frozen=True, slots=True)
class Row:
    """A job at an offsite. `versions` is whether the place keeps what is overwritten; None where nothing tells."""

    job: str
    status: OffsiteStatus
    versions: bool | None

    def table(self) -> dict[str, Any]:
        """Ready for JSON."""
        facts = self.status.facts
        return {
            "offsite": self.status.name,
            "job": self.job,
            **{key: value for key, value in self.status.table().items() if key not in ("name", "damaged")},
            "backups": self.status.backups,
            "bytes": self.status.bytes,
            "pushed": iso(facts.pushed) if facts.pushed is not None else None,
            "failures": facts.failures,
            "error": facts.error,
            "next_try": iso(facts.next_try) if facts.next_try is not None else None,
            "damaged": list(facts.damaged),
            "unlisted": self.status.unlisted,
            "versions": self.versions,
        }


def rows(installation: Installation, offsites: Sequence[Offsite], jobs: Sequence[Job]) -> Iterator[Row]:
    """Of each of these offsites and jobs. What a place does not answer is left open."""
    for offsite in offsites:
        some = jobs_there(installation, offsite, jobs)
        versions = _keeps_versions(installation, offsite) if some else None
        for job in some:
            (status,) = (each for each in job_status(installation, job).offsite if each.name == offsite.name)
            yield Row(job.name, status, versions)


def _keeps_versions(installation: Installation, offsite: Offsite) -> bool | None:
    """By what this host tells there of itself, over what it told before."""
    try:
        host = host_of(installation, offsite)
        if host is None or Offsites(installation.state).told(offsite.name) is None:
            return None
        return Remote(offsite, installation.state).keeps_versions(status_object(host))
    except BackupError:  # the last push has told already when the place is away
        return None
