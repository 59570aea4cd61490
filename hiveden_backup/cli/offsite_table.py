"""How it stands with jobs at offsites, as `status` and `offsite status` show it: 80 columns, unless names are long."""

from collections.abc import Sequence

from hiveden_backup.cli import output
from hiveden_backup.jobs.schedule.offsite_status import OffsiteStatus

_HEAD = ("OFFSITE", "JOB", "STATE", "NEWEST THERE", "BEHIND", "TO SEND", "COMPARED")


def print_offsites(rows: Sequence[tuple[str, OffsiteStatus]]) -> None:
    """A line for each job at an offsite."""
    output.print_table(_HEAD, [_cells(job, status) for job, status in rows], right=(4, 5))


def _cells(job: str, status: OffsiteStatus) -> tuple[str, ...]:
    compared = status.facts.reconciled
    return (
        status.name,
        job,
        status.state,
        status.newest or "-",
        output.roughly(status.lag_seconds) if status.lag_seconds else "-",
        output.size(status.lag_bytes) if status.lag_bytes else "-",
        output.day(compared) if compared is not None else "never",
    )
