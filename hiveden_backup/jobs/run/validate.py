"""Validation: everything a run needs is looked at before anything is touched, and all problems are said at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hiveden_backup.core.config.values import Job
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run import checks
from hiveden_backup.jobs.run.excludes import check_excludes
from hiveden_backup.jobs.run.plan import Draft, Findings


@contextmanager
def drafted(
    installation: Installation, job: Job, spool: Path, *, full: bool = False, thorough: bool = False
) -> Iterator[Draft]:
    """Validate a job. What the draft refers to (connections, the comparison in `spool`) lives as long as the block.

    With `thorough`, hints are looked for longer than a run would. Nothing is changed but the spool, an empty directory.
    """
    draft = Draft(job, Findings(job.name), spool, full)
    with ExitStack() as stack:
        checks.check_tools(draft)
        checks.check_directory(draft, installation)
        checks.check_docker(draft, installation, stack)
        checks.check_containers(draft, installation.now())
        checks.check_trees(draft, installation)
        checks.check_mounts(draft, installation)
        checks.check_servers(draft)
        checks.look_at_trees(draft, installation)
        check_excludes(draft, thorough=thorough)
        checks.check_mounted_by_others(draft)
        checks.check_host_servers(draft)
        checks.check_space(draft, installation)
        yield draft
