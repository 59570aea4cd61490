"""What a restore may change: what today's job has. What a backup says of itself beyond that is no more than a wish.

A backup directory is data. Who can write there can let a manifest name any path, container or server of this machine.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum

from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BeyondError
from hiveden_backup.core.model import Artifact, ArtifactType, Manifest, SourceKind
from hiveden_backup.core.names import server_names
from hiveden_backup.core.paths import inside
from hiveden_backup.core.postgres.values import is_ours

_TEMPLATES = frozenset({"template0", "template1"})


class Kind(StrEnum):
    """What a manifest may name."""

    PATH = "path"
    VOLUME = "volume"
    CONTAINER = "container"
    SERVER = "server"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Beyond:
    """Something that a manifest names, and today's job does not have. `leads` is where it would lead us."""

    kind: Kind
    name: str
    leads: str = ""

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}{f' ({self.leads})' if self.leads else ''}"

    def table(self) -> dict[str, str]:
        """Ready for JSON."""
        return {"kind": self.kind, "name": self.name, "leads": self.leads}


@dataclass(frozen=True, slots=True)
class Scope:
    """What may change: of `today`, the job as it is configured, None if there is none of that name.

    `paths` are where its paths lead on this machine. `then` is the job as the manifest has it.
    """

    today: Job | None
    then: Job | None = None
    paths: Collection[str] = ()

    @property
    def jobs(self) -> tuple[Job | None, Job | None]:
        """The job as it is configured, and as the manifest has it."""
        return self.today, self.then

    def files(self, manifest: Manifest, wanted: Sequence[str] = ()) -> Iterator[Beyond]:
        """What of a backup's files, or of these paths of it, is beyond; and the containers that are stopped for it."""
        volumes = dict(volumes_of(manifest))
        for root in manifest.roots:
            below = [path for path in wanted if inside(path, root.path)] if wanted else [root.path]
            name = volumes.get(root.path)
            if name is None:
                yield from (Beyond(Kind.PATH, path) for path in below if not self._has_path(path))
            elif below and (self.today is None or name not in self.today.volumes):
                yield Beyond(Kind.VOLUME, name)

    def containers(self) -> Iterator[Beyond]:
        """What would be stopped because a manifest says so."""
        if self.today is None and self.then is not None:
            yield from (Beyond(Kind.CONTAINER, name) for name in self.then.containers)

    def databases(self, wanted: Iterable[Artifact]) -> Iterator[Beyond]:
        """What of these databases is beyond, servers first."""
        wanted = tuple(wanted)
        yield from self.servers(wanted)
        for artifact in wanted:
            source = self.source(artifact.server)
            if source is None or not _dumps(source, artifact.target):
                yield Beyond(Kind.DATABASE, artifact.target, f"on {artifact.server}")

    def servers(self, wanted: Iterable[Artifact]) -> Iterator[Beyond]:
        """Which servers of these databases only the manifest knows, and where it leads."""
        for name in dict.fromkeys(artifact.server for artifact in wanted):
            told = self.told(name)
            if self.source(name) is None and told is not None:
                yield Beyond(Kind.SERVER, name, where(told))

    def source(self, server: str) -> PostgresSource | None:
        """How today's job reaches a server."""
        return _named(self.today, server)

    def told(self, server: str) -> PostgresSource | None:
        """How the manifest would have it reached."""
        return _named(self.then, server)

    def _has_path(self, path: str) -> bool:
        return any(inside(path, known) for known in self.paths)


def volumes_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The paths of a backup that are volumes' roots, and these volumes."""
    for artifact in manifest.artifacts:
        if artifact.type is ArtifactType.APPLICATION:
            yield from ((each.path, each.name) for each in artifact.sources if each.kind is SourceKind.VOLUME)


def where(source: PostgresSource) -> str:
    """All that following a source would use: the container, or what the connection string says, file and account."""
    said = source.parameters
    told: dict[str, str | None] = {"container": source.container}
    if source.dsn is not None and not {"host", "hostaddr", "service"} & said.keys():
        told["host"] = "of this machine"
    told |= {**said, "user": source.user or said.get("user"), "os_user": source.os_user}
    told["passfile"] = source.passfile or said.get("passfile")
    return ", ".join(f"{name} {value}" for name, value in told.items() if value)


def refuse(backup: str, job: str, found: Sequence[Beyond], *, here: bool) -> None:
    """BeyondError that names each, if there are any. `here` is whether the job is configured."""
    if found:
        why = "Today's job does not have them" if here else f"The configuration has no job {job}"
        raise BeyondError(
            f"{backup} would have these used or changed: {', '.join(map(str, found))}",
            f"{why}, and who can write to the backup directory can write anything there",
            "Where each of them is meant, add --allow-beyond; files can be restored with --to DIR",
        )


def _named(job: Job | None, server: str) -> PostgresSource | None:
    sources = job.postgres if job is not None else ()
    return next((each for each, name in zip(sources, server_names(sources), strict=True) if name == server), None)


def _dumps(source: PostgresSource, database: str) -> bool:
    """Whether a job dumps it from a server. Templates and what is ours are no part of all."""
    if source.databases:
        return database in source.databases
    return database not in _TEMPLATES and not is_ours(database)
