"""What validation finds: the findings, and the plan that a run executes when none of them prevents it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, common_exit_code
from hiveden_backup.core.model import Check, Finding, Manifest, NamedVolume, Root, Source, SourceKind, Status
from hiveden_backup.core.postgres.values import Endpoint, PgTools, ServerFacts
from hiveden_backup.core.shown import printable
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.state.records import Accepted
from hiveden_backup.jobs.run.passes import Look, State, Trees


class ValidationError(BackupError):
    """A job cannot run. `findings` has every check's outcome."""

    def __init__(self, job: str, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        failed = [finding for finding in findings if finding.status is Status.FAIL]
        self.exit_code = common_exit_code(finding.exit_code for finding in failed)
        lines = (printable(f"{each.name}: {' '.join(_sentences(each))}") for each in failed)
        super().__init__("\n  ".join([f"The job {job} did not pass validation:", *lines]))

    def __str__(self) -> str:
        return self.what


def _sentences(finding: Finding) -> Iterator[str]:
    return (text if text.endswith((".", "?")) else f"{text}." for text in (finding.message, finding.hint) if text)


@dataclass(slots=True)
class Findings:
    """Collects what the checks of one job say."""

    job: str
    all: list[Finding] = field(default_factory=list)

    def ok(self, name: Check, message: str) -> None:
        """A check that passed."""
        self.all.append(Finding(self.job, name, Status.OK, message))

    def warn(self, name: Check, message: str, hint: str = "") -> None:
        """Something that a person should look at; the run goes on."""
        self.all.append(Finding(self.job, name, Status.WARN, message, hint))

    def fail(self, name: Check, error: BackupError) -> None:
        """Something that prevents the run."""
        why = f"{error.what}. {error.why}" if error.why else error.what
        self.all.append(Finding(self.job, name, Status.FAIL, why, error.hint, error.exit_code))

    @contextmanager
    def check(self, name: Check) -> Iterator[None]:
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


@dataclass(frozen=True, slots=True)
class Server:
    """A server that a job dumps, as validation found it. `names` are its databases; so many are `dumps_at_once`."""

    source: PostgresSource
    endpoint: Endpoint
    facts: ServerFacts
    names: tuple[str, ...]
    tool: PgTools
    dumps_at_once: int

    @property
    def artifact_source(self) -> Source:
        """Where its artifacts come from."""
        if self.source.container is not None:
            return Source(SourceKind.CONTAINER, self.source.container)
        return Source(SourceKind.DSN, self.endpoint.name, self.endpoint.place)


@dataclass(frozen=True, slots=True)
class PlannedFiles:
    """The files of a run. `look` is the hot pass's comparison, taken while validating: its base is built upon."""

    trees: Trees
    sources: tuple[Source, ...]
    volumes: tuple[NamedVolume, ...]
    look: Look

    @property
    def roots(self) -> tuple[Root, ...]:
        """What the manifest says of the job's paths."""
        return tuple(
            Root(view.path, view.device, view.mount.filesystem, view.mount_points, view.lies_on)
            for view in self.look.views.values()
        )


@dataclass(frozen=True, slots=True)
class PlannedStop:
    """The containers that a run stops for its cold pass, in that order."""

    docker: "Docker"
    containers: tuple[Container, ...]

    @property
    def running(self) -> tuple[str, ...]:
        """The names of those that are up, and will be down."""
        return tuple(each.name for each in self.containers if each.goes_down)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do. There is one only of a job that passed its validation.

    `history` is what all kept backups say of themselves, newest first, `accepted` what of them a person said is meant.
    `full` is whether everything is archived again.
    """

    job: Job
    spool: Path
    directory: BackupDirectory
    files: PlannedFiles | None
    stop: PlannedStop | None
    servers: tuple[Server, ...]
    warnings: tuple[str, ...]
    history: tuple[Manifest, ...]
    accepted: Accepted
    full: bool


@dataclass(slots=True)
class Draft:
    """A plan that is being checked: each check adds what it found, and says what is wrong.

    `everything` are all containers of this machine, None until somebody asked.
    """

    job: Job
    findings: Findings
    spool: Path
    full: bool = False
    directory: BackupDirectory | None = None
    history: tuple[Manifest, ...] = ()
    accepted: Accepted = field(default_factory=Accepted)
    docker: Docker | None = None
    everything: tuple[Container, ...] | None = None
    containers: tuple[Container, ...] = ()
    trees: Trees | None = None
    sources: tuple[Source, ...] = ()
    volumes: tuple[NamedVolume, ...] = ()
    base: State = field(default_factory=State)
    looked: Look | None = None
    servers: list[Server] = field(default_factory=list)

    def passed(self) -> Plan:
        """The plan to carry out. ValidationError when a check failed."""
        if self.findings.failed or self.directory is None:
            raise ValidationError(self.job.name, tuple(self.findings.all))
        files = stop = None
        if self.trees is not None and self.looked is not None:
            files = PlannedFiles(self.trees, self.sources, self.volumes, self.looked)
        if self.docker is not None and self.containers:
            stop = PlannedStop(self.docker, self.containers)
        return Plan(
            self.job,
            self.spool,
            self.directory,
            files,
            stop,
            tuple(self.servers),
            self.findings.warnings,
            self.history,
            self.accepted,
            self.full,
        )
