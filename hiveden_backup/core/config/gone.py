"""Keys of a job that older versions knew. A person who wrote one is told; where this program did, it goes by itself."""

from collections.abc import Mapping

from hiveden_backup.core.config.keys import Key
from hiveden_backup.core.config.layers import without

GONE = {"max_archives": "archives have a bounded size now, and small ones are put together by themselves"}
"""Why each of them is gone."""


def leftovers(table: Mapping[str, object]) -> dict[Key, object]:
    """What a configuration's table has of them."""
    jobs = table.get("jobs")
    found = jobs.items() if isinstance(jobs, Mapping) else ()
    tables = {name: job for name, job in found if isinstance(job, Mapping)}
    return {("jobs", name, key): job[key] for name, job in tables.items() for key in GONE if key in job}


def without_leftovers(table: Mapping[str, object]) -> Mapping[str, object]:
    """The configuration's table without them."""
    for key in leftovers(table):
        table = without(table, key)
    return table
