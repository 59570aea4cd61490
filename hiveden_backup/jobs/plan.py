"""Validation: everything a run needs is looked at before anything is touched, and all problems are said at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hiveden_backup.core.containers import Container
from hiveden_backup.core.errors import BackupError, common_exit_code
from hiveden_backup.core.model import Finding, Job, Source, Status
from hiveden_backup.host.directory import BackupDirectory
from hiveden_backup.jobs.context import Context
from hiveden_backup.jobs.passes import Look, State, Trees

if TYPE_CHECKING:
    from hiveden_backup.host.containers import Docker
    from hiveden_backup.jobs.databases import Server


class ValidationError(BackupError):
    """A job cannot run. `findings` has every check's outcome."""

    def __init__(self, job: str, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        failed = [finding for finding in findings if finding.status is Status.FAIL]
        self.exit_code = common_exit_code(finding.exit_code for finding in failed)
        lines = "".join(f"\n  {each.name}: {' '.join(_sentences(each))}" for each in failed)
        super().__init__(f"The job {job} did not pass validation:{lines}")

    def __str__(self) -> str:
        return self.what


def _sentences(finding: Finding) -> Iterator[str]:
    return (text if text.endswith((".", "?")) else f"{text}." for text in (finding.message, finding.hint) if text)


@dataclass(slots=True)
class Findings:
    """Collects what the checks of one job say."""

    job: str
    all: list[Finding] = field(default_factory=list)

    def ok(self, name: str, message: str) -> None:
        """A check that passed."""
        self.all.append(Finding(self.job, name, Status.OK, message))

    def warn(self, name: str, message: str, hint: str = "") -> None:
        """Something that a person should look at; the run goes on."""
        self.all.append(Finding(self.job, name, Status.WARN, message, hint))

    def fail(self, name: str, error: BackupError) -> None:
        """Something that prevents the run."""
        why = f"{error.what}. {error.why}" if error.why else error.what
        self.all.append(Finding(self.job, name, Status.FAIL, why, error.hint, error.exit_code))

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """A check that fails when its block raises one of our errors."""
        try:
            yield
        except BackupError as error:
            self.fail(name, error)

    @property
    def failed(self) -> bool:
        """Whether anything prevents the run."""
        return any(finding.status is Status.FAIL for finding in self.all)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings, a sentence each."""
        return tuple(finding.message for finding in self.all if finding.status is Status.WARN)


@dataclass(slots=True)
class Plan:
    """What a run will do, as validation found it. `looked` is the hot pass's comparison, taken while validating."""

    job: Job
    findings: Findings
    spool: Path
    directory: BackupDirectory | None = None
    docker: "Docker | None" = None
    containers: tuple[Container, ...] = ()
    trees: Trees | None = None
    sources: tuple[Source, ...] = ()
    base: State = field(default_factory=State)
    looked: Look | None = None
    servers: "list[Server]" = field(default_factory=list)


@contextmanager
def planned(context: Context, job: Job, spool: Path, *, full: bool = False) -> Iterator[Plan]:
    """Validate a job. What the plan refers to (connections, the comparison in `spool`) lives as long as the block.

    Nothing is changed but the spool, an empty directory.
    """
    from hiveden_backup.jobs import checks  # noqa: PLC0415 - the checks use the values above

    plan = Plan(job, Findings(job.name), spool)
    with ExitStack() as stack:
        checks.check_tools(plan)
        checks.check_directory(plan, Path(context.config.directory))
        checks.check_docker(plan, context, stack)
        checks.check_containers(plan)
        checks.check_trees(plan, context)
        checks.check_servers(plan)
        checks.look_at_trees(plan, context, full=full)
        checks.check_mounted_by_others(plan)
        checks.check_space(plan)
        yield plan


def validate(context: Context, job: Job) -> tuple[Finding, ...]:
    """What `check` prints of one job."""
    with TemporaryDirectory(prefix="hiveden-backup-") as spool, planned(context, job, Path(spool)) as plan:
        return tuple(plan.findings.all)
