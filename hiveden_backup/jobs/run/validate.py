"""Validation: everything a run needs is looked at before anything is touched, and all problems are said at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hiveden_backup.core.model import Finding, Job
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run import checks
from hiveden_backup.jobs.run.plan import Findings, Plan


@contextmanager
def planned(installation: Installation, job: Job, spool: Path, *, full: bool = False) -> Iterator[Plan]:
    """Validate a job. What the plan refers to (connections, the comparison in `spool`) lives as long as the block.

    Nothing is changed but the spool, an empty directory.
    """
    plan = Plan(job, Findings(job.name), spool)
    with ExitStack() as stack:
        checks.check_tools(plan)
        checks.check_directory(plan, Path(installation.config.directory))
        checks.check_docker(plan, installation, stack)
        checks.check_containers(plan)
        checks.check_trees(plan, installation)
        checks.check_servers(plan)
        checks.look_at_trees(plan, installation, full=full)
        checks.check_mounted_by_others(plan)
        checks.check_host_servers(plan)
        checks.check_space(plan)
        yield plan


def validate(installation: Installation, job: Job) -> tuple[Finding, ...]:
    """What `check` prints of one job."""
    with TemporaryDirectory(prefix="hiveden-backup-") as spool, planned(installation, job, Path(spool)) as plan:
        checks.check_schedule(plan, installation.now())
        return tuple(plan.findings.all)
