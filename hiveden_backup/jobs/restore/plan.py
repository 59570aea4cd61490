"""The plan of an in-place restore: which files and databases, which containers are stopped, what speaks against it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from hiveden_backup.core.backup.scope import Beyond, Kind, Scope, refuse
from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.docker.containers import Container, Volume
from hiveden_backup.core.docker.volumes import usable
from hiveden_backup.core.errors import (
    BackupError,
    BeyondError,
    ContainerError,
    CorruptError,
    NotFoundError,
    raise_all,
)
from hiveden_backup.core.globs import real_patterns
from hiveden_backup.core.model import Artifact, ArtifactType, DatabaseFacts, Manifest, SourceKind
from hiveden_backup.core.names import iso
from hiveden_backup.core.paths import outermost
from hiveden_backup.core.postgres.values import Endpoint, PgTools, major_of
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.disk.tree import Census
from hiveden_backup.host.docker.engine import Docker, connect
from hiveden_backup.host.log import log
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.tools import restore_tool
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore import holding, in_use
from hiveden_backup.jobs.restore import places as replacing
from hiveden_backup.jobs.restore.database import find_artifact, find_server, scope_of
from hiveden_backup.jobs.restore.files import has_files
from hiveden_backup.jobs.restore.places import Files
from hiveden_backup.jobs.restore.trust import Consent, believed
from hiveden_backup.jobs.services.docker import check_all_stoppable, docker_may_be_there, existing


@dataclass(frozen=True, slots=True)
class Database:
    """A database to restore, with what is needed for it. `size` is the live one's in bytes, `exists` whether it is."""

    artifact: Artifact
    facts: DatabaseFacts
    source: PostgresSource
    endpoint: Endpoint
    tool: PgTools
    exists: bool
    size: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """What of a backup is to be replaced: all of it, one database, only files, or of these only some paths.

    `server` tells databases of one name apart. Paths are absolute, as the backup has them or as they are here.
    `consent` is what a person answers for.
    """

    database: str | None = None
    server: str | None = None
    files_only: bool = False
    paths: tuple[str, ...] = ()
    consent: Consent = Consent()

    @property
    def without_databases(self) -> bool:
        """Whether its databases are left alone."""
        return self.files_only or bool(self.paths)


@dataclass(slots=True)
class Replacement:
    """What an in-place restore will do. `servers` are containers of databases that are down for the files alone.

    `beyond` is what the backup names outside of its `scope`. `unasked` are databases on servers that are among that:
    nothing is asked of them before. `data` is where servers have data of theirs that the backup leaves out.
    `obstacles` are what prevents it, `absent` containers of the job that are not on this machine. `skipped` says of
    databases whose server's container is not there why they are not restored. `around` are all containers that there
    are, `down_first` those that must be down before files are staged: they could write to where that is done.
    """

    backup: Backup
    manifest: Manifest
    sums: bytes
    directory: BackupDirectory
    job: Job
    kept_out: tuple[str, ...]
    part: Part
    scope: Scope
    beyond: tuple[Beyond, ...] = ()
    unasked: list[Artifact] = field(default_factory=list)
    docker: Docker | None = None
    containers: tuple[Container, ...] = ()
    servers: tuple[Container, ...] = ()
    data: tuple[str, ...] = ()
    around: tuple[Container, ...] = ()
    down_first: tuple[Container, ...] = ()
    absent: tuple[str, ...] = ()
    files: Files | None = None
    censuses: dict[str, Census | None] = field(default_factory=dict)
    databases: list[Database] = field(default_factory=list)
    skipped: list[BackupError] = field(default_factory=list)
    obstacles: list[BackupError] = field(default_factory=list)

    @property
    def stopped(self) -> frozenset[str]:
        """The ids of the containers that go down for it."""
        return frozenset(each.id for each in (*self.containers, *self.servers) if each.goes_down)

    def add_beyond(self, found: Iterable[Beyond]) -> None:
        """Note what is beyond the scope; it is an obstacle, unless it has been allowed."""
        more = tuple(found)
        self.beyond += more
        if not self.part.consent.beyond:
            with self.noted():
                refuse(str(self.backup), self.backup.job, more, here=self.scope.today is not None)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What our errors in the block say is an obstacle, and the next ones are looked for. Damage ends it at once."""
        try:
            yield
        except CorruptError:
            raise
        except BackupError as error:
            self.obstacles.append(error)

    def table(self) -> dict[str, Any]:
        """What would be replaced, ready for JSON."""
        files = self.files or Files(())
        return {
            "job": self.backup.job,
            "id": self.backup.id,
            "created": iso(self.manifest.finished),
            "files": [
                {
                    "path": place.live,
                    "volume": place.volume or None,
                    "now": _now(place.live, self.censuses[place.source]),
                    "then": _then(files, place.source),
                }
                for place in files.places
            ]
            + [
                {"path": None, "volume": name, "now": None, "then": _then(files, source)}
                for name, source in files.absent.items()
            ],
            "databases": [
                {
                    "database": each.artifact.target,
                    "server": each.endpoint.name,
                    "asked": True,
                    "now": {"bytes": each.size} if each.exists else None,
                    "then": _dumped(each.facts),
                }
                for each in self.databases
            ]
            + [
                {"database": each.target, "server": each.server, "asked": False, "now": None, "then": _dumped(facts)}
                for each in self.unasked
                if (facts := each.database) is not None
            ],
            "containers": [container.name for container in self.containers if container.running],
            "servers": [container.name for container in self.servers],
            "down_first": [container.name for container in self.down_first],
            "absent": list(self.absent),
            "skipped": [str(error) for error in self.skipped],
            "beyond": [each.table() for each in self.beyond],
        }


def _now(live: str, found: Census | None) -> dict[str, Any] | None:
    if found is None:
        return None
    changed = datetime.fromtimestamp(found.newest_ns / 10**9, UTC)
    kept = [f"{live}/{path}" for path in found.left_out]
    return {"paths": found.paths, "bytes": found.bytes, "changed": iso(changed), "kept": kept}


def _dumped(facts: DatabaseFacts) -> dict[str, Any]:
    return {"tables": len(facts.tables), "rows": _rows(facts)}


def _rows(facts: DatabaseFacts) -> int | None:
    """How many rows a dump has; None when some of its tables were not counted."""
    counted = [table.rows for table in facts.tables if table.rows is not None]
    return sum(counted) if len(counted) == len(facts.tables) else None


def _then(files: Files, source: str) -> dict[str, Any]:
    coming = files.coming[source]
    return {"paths": coming.paths, "bytes": coming.bytes}


@contextmanager
def replacement(installation: Installation, backup: Backup, part: Part, *, act: bool) -> Iterator[Replacement]:
    """Plan to restore a backup, or a part of it, in place; connections live as long as the block.

    Nothing is changed. BackupError with all reasons why it cannot be done; to `act` on what is beyond the job's scope
    without having been allowed to is one, a BeyondError. No server that only a manifest names is asked before that, nor
    for who just wants to see the plan.
    """
    directory = installation.directory
    found = believed(installation, directory, backup, part.consent)
    manifest, scope = found.manifest, scope_of(installation, found.manifest)
    kept_out = tuple(os.path.realpath(path) for path in (installation.config.directory, installation.state))
    plan = Replacement(backup, manifest, found.sums, directory, _job(scope, backup), kept_out, part, scope)
    with ExitStack() as stack:
        with plan.noted():
            _fill(installation, plan, stack, act=act)
        if act or any(not isinstance(each, BeyondError) for each in plan.obstacles):
            raise_all(f"{backup} cannot be restored in place now", plan.obstacles)
        if plan.skipped and not plan.databases and plan.files is None:
            raise plan.skipped[0]
        yield plan


def _fill(installation: Installation, plan: Replacement, stack: ExitStack, *, act: bool) -> None:
    """Look at all that the plan needs, for to `act` on it or not."""
    plan.add_beyond(_beyond(plan))
    _find_docker(installation, plan, stack)
    _find_containers(plan)
    if plan.part.without_databases and not has_files(plan.manifest):
        raise NotFoundError(f"{plan.backup} has no files", "Its job backs up databases only")
    if plan.part.database is None and has_files(plan.manifest):
        _find_files(plan, ask=act and plan.part.consent.beyond)
    for artifact in _wanted(plan):
        if _may_ask(plan, artifact, act=act):
            _add_database(installation, plan, artifact, stack)
        else:
            plan.unasked.append(artifact)


def _may_ask(plan: Replacement, artifact: Artifact, *, act: bool) -> bool:
    """Whether a database's server may be asked: a configured one, unless it is refused already; others with consent."""
    if plan.scope.source(artifact.server) is None and plan.scope.told(artifact.server) is not None:
        return act and plan.part.consent.beyond
    return not act or plan.part.consent.beyond or not plan.beyond


def _job(scope: Scope, backup: Backup) -> Job:
    """The job to restore by; of one that is not configured here, the manifest tells no more than it must.

    How long what is replaced is kept, for one, is not for the backup to say.
    """
    if scope.today is not None:
        return scope.today
    then = scope.then or Job(name=backup.job)
    return Job(name=backup.job, exclude=then.exclude, containers=then.containers, postgres=then.postgres)


def _beyond(plan: Replacement) -> Iterator[Beyond]:
    scope, part = plan.scope, plan.part
    if part.database is None and has_files(plan.manifest):
        yield from scope.files(plan.manifest, outermost(part.paths))
    yield from scope.databases(_wanted(plan))
    yield from scope.containers()


def _wanted(plan: Replacement) -> list[Artifact]:
    """The databases to restore."""
    part, manifest = plan.part, plan.manifest
    if part.without_databases:
        return []
    if part.database is not None:
        return [find_artifact(manifest, part.database, part.server)]
    return [each for each in manifest.artifacts if each.type is ArtifactType.DATABASE]


def _add_database(installation: Installation, plan: Replacement, artifact: Artifact, stack: ExitStack) -> None:
    with plan.noted():
        try:
            plan.databases.append(_find_database(installation, plan, artifact, stack))
        except NotFoundError as error:
            if plan.part.database is not None or not _is_absent(plan, artifact):
                raise
            plan.skipped.append(error)


def _find_docker(installation: Installation, plan: Replacement, stack: ExitStack) -> None:
    volumes = any(source.kind is SourceKind.VOLUME for source in replacing.sources_of(plan.manifest))
    if plan.job.containers or volumes or docker_may_be_there(installation.docker):
        try:
            plan.docker = stack.enter_context(connect(installation.docker))
        except BackupError:
            if docker_may_be_there(installation.docker):  # containers may use what is to be replaced
                raise


def _find_containers(plan: Replacement) -> None:
    if plan.docker is None:
        plan.absent = plan.job.containers
        return
    found, absent = existing(plan.docker, plan.job.containers)
    with plan.noted():
        check_all_stoppable(plan.job, found)
    plan.containers, plan.absent = tuple(found), tuple(absent)


def _find_files(plan: Replacement, *, ask: bool) -> None:
    """What of the files changes places, who uses that, and whether there is room.

    What a backup left out only its manifest knows. That decides which entries of the job's own places stay, never what
    goes there: those that the backup has come, whatever its manifest says.
    """
    patterns = plan.scope.then.exclude if plan.scope.then is not None else plan.job.exclude
    exclude = tuple(dict.fromkeys(real_patterns(patterns, replacing.sources_of(plan.manifest))))
    files = replacing.Files(exclude, plan.kept_out, noted=plan.noted)
    replacing.find_places(plan.manifest, plan.part.paths, plan.docker, files)
    replacing.look_at_index(plan.directory, plan.manifest, files)
    for place in files.places:
        with plan.noted():
            plan.censuses[place.source] = files.census(place)
            replacing.check_left_out(place, plan.censuses[place.source])
    if plan.docker is not None:
        ours, told = (in_use.server_sources([job] if job is not None else []) for job in plan.scope.jobs)
        servers = in_use.Servers((told if ask else dict.fromkeys(told)) | ours, plan.docker, though_down=True)
        plan.around = tuple(plan.docker.containers())
        users = in_use.find_users(plan.around, plan.stopped, files, servers)
        plan.obstacles.extend(users.obstacles)
        plan.servers, plan.data = tuple(users.servers), tuple(users.data)
        stopped_too = [each.name for each in users.servers if each.name in told and each.name not in ours]
        plan.add_beyond(Beyond(Kind.CONTAINER, name) for name in stopped_too)
        rooms = holding.rooms(files.places, plan.around)
        found = holding.outlook(rooms, plan.around, plan.stopped, users.blocking)
        plan.obstacles.extend(found.obstacles)
        plan.down_first = tuple(found.down)
    with plan.noted():
        replacing.check_room(plan.backup, files)
    plan.files = files


def _find_database(installation: Installation, plan: Replacement, artifact: Artifact, stack: ExitStack) -> Database:
    if artifact.database is None:
        raise NotFoundError(f"{plan.backup} does not say what the database {artifact.target} was made with")
    source, endpoint = find_server(installation, plan.scope, plan.manifest, artifact, stack)
    facts = inspect(endpoint)
    tool = restore_tool(endpoint, major_of(artifact.database.server_version), facts.major)
    live = next((each for each in facts.databases if each.name == artifact.target), None)
    size = live.size if live is not None else None
    return Database(artifact, artifact.database, source, endpoint, tool, live is not None, size)


def _is_absent(plan: Replacement, artifact: Artifact) -> bool:
    """Whether a database cannot be restored because the container of its server is not on this machine."""
    names = [source.name for source in artifact.sources if source.kind is SourceKind.CONTAINER]
    return bool(names) and (plan.docker is None or bool(existing(plan.docker, names)[1]))


def create_volumes(plan: Replacement) -> Sequence[str]:
    """Make the volumes that are not on this machine, as the backup says they were made; what is to be told of it."""
    if plan.files is None or plan.docker is None:
        return ()
    told: list[str] = []
    for name, source in plan.files.absent.items():
        volume, missing = _create_volume(plan.docker, plan.manifest, name)
        log.info(f"Created the volume {name}", job=plan.job.name)
        told.extend(missing)
        plan.files.places.append(replacing.volume_place(source, volume, plan.kept_out))
    plan.files.absent.clear()
    replacing.check_room(plan.backup, plan.files)
    return told


def _create_volume(docker: Docker, manifest: Manifest, name: str) -> tuple[Volume, list[str]]:
    was = next((each for each in manifest.volumes if each.name == name), None)
    if was is None:
        why = "the backup, made by an older version, does not say what it had"
        return docker.create_volume(name, {}, {}), [f"The volume {name} was made without labels and options: {why}"]
    (labels, no_labels), (options, no_options) = usable(was.labels), usable(was.options)
    try:
        volume = docker.create_volume(name, labels, options)
    except ContainerError as error:
        hint = f"Make it by hand (docker volume create {name}), then restore again"
        raise ContainerError(f"The volume {name} cannot be made as it was", error.why, hint) from error
    why = "a backup holds no secrets, so make the volume anew where it needs them"
    return volume, [f"The volume {name} was made without {each}: {why}" for each in (*no_labels, *no_options)]
