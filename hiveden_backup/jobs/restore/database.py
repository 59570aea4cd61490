"""A database out of a backup, as a new one beside what is there."""

from contextlib import ExitStack

from hiveden_backup.core.backup.scope import Scope, refuse
from hiveden_backup.core.config.gone import GONE
from hiveden_backup.core.config.parse import parse
from hiveden_backup.core.config.patterns import exclude_pattern
from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import ConfigError, NotFoundError, UsageError
from hiveden_backup.core.model import Artifact, ArtifactType, Manifest
from hiveden_backup.core.postgres.values import Endpoint, major_of
from hiveden_backup.host.disk.links import led_by_root
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.log import log
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.restore import restore_new
from hiveden_backup.host.postgres.tools import restore_tool
from hiveden_backup.host.state.locks import job_lock
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.verify import check_sums, dump_at_hand
from hiveden_backup.jobs.backups.whereabouts import left_out
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.restore.differing import beside
from hiveden_backup.jobs.restore.trust import Believed, Consent, believed
from hiveden_backup.jobs.services.servers import endpoint_of


@dataclass(frozen=True, slots=True)
class RestoredDatabase:
    """A database that came back as `name` on `server`."""

    name: str
    server: str


def restore_as(
    installation: Installation,
    backup: Backup,
    database: str,
    *,
    server: str | None,
    new_name: str,
    accept: bool,
    consent: Consent = Consent(),  # noqa: B008 - it is frozen
) -> RestoredDatabase:
    """Restore a database's dump as the new database `new_name` on the server that it came from.

    Signature and digests are checked first, as `believed` has it. NotFoundError when the backup has no such database,
    UsageError when several servers do. DifferencesError, unless `accept`, when it is there now, and is not what was
    dumped. BeyondError, without consent, when only the backup says how to reach the server.
    """
    with job_lock(installation.state, backup.job, shared=True):
        found = believed(installation, installation.directory, backup, consent)
        artifact = find_artifact(found.manifest, database, server)
        scope = scope_of(installation, found.manifest)
        if not consent.beyond:
            refuse(str(backup), backup.job, tuple(scope.servers([artifact])), here=scope.today is not None)
        return _restore_as(installation, scope, found, artifact, new_name=new_name, accept=accept)


def check_scope(installation: Installation, backup: Backup, database: str, server: str, *, in_place: bool) -> None:
    """BeyondError when a restore of this database would want somebody's consent. Nothing is looked at for it."""
    manifest = installation.directory.manifest(backup.job, backup.id)
    artifact = find_artifact(manifest, database, server)
    scope = scope_of(installation, manifest)
    found = scope.databases([artifact]) if in_place else scope.servers([artifact])
    refuse(str(backup), backup.job, tuple(found), here=scope.today is not None)


def _restore_as(
    installation: Installation, scope: Scope, found: Believed, artifact: Artifact, *, new_name: str, accept: bool
) -> RestoredDatabase:
    directory, manifest, database = installation.directory, found.manifest, artifact.target
    backup = Backup(manifest.job, manifest.id)
    if artifact.database is None:
        raise NotFoundError(f"{backup} does not say what the database {database} was made with")
    check_sums(directory, backup, manifest, found.sums, left_out=left_out(installation, manifest))
    with ExitStack() as stack:
        _, endpoint = find_server(installation, scope, manifest, artifact, stack)
        dumped, major = major_of(artifact.database.server_version), inspect(endpoint).major
        tool = restore_tool(endpoint, dumped, major)
        path = stack.enter_context(dump_at_hand(installation, backup, artifact))
        restored = restore_new(endpoint, path, artifact.database, new_name, tool)
    for warning in (*restored.warnings, *restored.differences * accept):
        log.warning(str(warning), job=backup.job)
    if restored.differences and not accept:
        raise beside(manifest, database, endpoint.name, new_name, restored.differences)
    return RestoredDatabase(new_name, endpoint.name)


def find_artifact(manifest: Manifest, database: str, server: str | None) -> Artifact:
    """The dump of a database in a backup."""
    databases = [each for each in manifest.artifacts if each.type is ArtifactType.DATABASE]
    found = [each for each in databases if each.target == database and server in (None, each.server)]
    if not found:
        have = ", ".join(f"{each.target} on {each.server}" for each in databases) or "none"
        raise NotFoundError(
            f"{manifest.job}/{manifest.id} has no database {database}{f' of {server}' if server else ''}",
            f"It has: {have}",
            "See what there is: hiveden-backup list --type database",
        )
    if len(found) > 1:
        several = ", ".join(each.server for each in found)
        raise UsageError(f"Several servers have a database {database}", several, "Say which one with --server")
    return found[0]


def find_server(
    installation: Installation, scope: Scope, manifest: Manifest, artifact: Artifact, stack: ExitStack
) -> tuple[PostgresSource, Endpoint]:
    """The server that an artifact came from, by today's configuration, else as the backup has it.

    The latter is only for whom has been allowed to use what is beyond the scope.
    """
    name = artifact.server
    source = scope.source(name) or scope.told(name)
    if source is None:
        raise NotFoundError(
            f"The configuration does not tell how to reach the server {name}",
            "No [[postgres]] table of the job leads to it",
            f"Add one to the job {manifest.job}; what it was: hiveden-backup show {manifest.job}/{manifest.id}",
        )
    docker = stack.enter_context(connect(installation.docker)) if source.container is not None else None
    return source, endpoint_of(source, name, docker)


def scope_of(installation: Installation, manifest: Manifest) -> Scope:
    """What a restore of this backup may change."""
    today = installation.config.jobs.get(manifest.job)
    paths = [each for path in today.paths for each in (path, led_by_root(path)) if each] if today is not None else ()
    return Scope(today, job_then(installation, manifest), paths)


def job_then(installation: Installation, manifest: Manifest) -> Job | None:
    """The job as it was when the backup was made; None when that was written by a version that knew other keys."""
    config = {
        key: value for key, value in manifest.job_config.items() if key not in (*GONE, "offsite")
    }  # nor where it goes
    match config.get("exclude"):
        case list() as patterns:  # one that cannot mean anything was no error once, and had no effect
            config["exclude"] = [
                each for each in patterns if not isinstance(each, str) or exclude_pattern(each) is None
            ]
    table = {"directory": installation.config.directory, "jobs": {manifest.job: config}}
    try:
        return parse(table, lambda _: "manifest.json").jobs[manifest.job]
    except ConfigError:
        return None
