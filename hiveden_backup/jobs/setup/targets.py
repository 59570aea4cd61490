"""The job that a client's target belongs to; and a new one for a target that no job has."""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from hiveden_backup.core.api_places import unadoptable, unnameable
from hiveden_backup.core.api_targets import Wanted, contradiction, job_name, matching
from hiveden_backup.core.config.layers import overlay
from hiveden_backup.core.config.values import Config, Job, PostgresSource
from hiveden_backup.core.errors import (
    AmbiguousError,
    BackupError,
    DirectoryError,
    NotFoundError,
    UnfitError,
    UsageError,
)
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.core.names import server_names
from hiveden_backup.core.postgres.values import select_databases
from hiveden_backup.host import config_files
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.jobs.backups.catalog import newest_manifest
from hiveden_backup.jobs.services.servers import endpoint_of

_LOCAL = PostgresSource(dsn="host=/var/run/postgresql user=postgres", os_user="postgres")
"""The server that Debian's packages set up, as its own system account."""


def find(config: Config, wanted: Wanted) -> Job | None:
    """The job that the target belongs to, None when there is none.

    AmbiguousError when there are several, or when the job does not do what else the client says.
    """
    found = matching(wanted, config.jobs.values(), dumped(config))
    if len(found) > 1:
        several = ", ".join(job.name for job in found)
        raise AmbiguousError(
            f"{wanted.target} belongs to several jobs", f"They are {several}", "Name one of these jobs"
        )
    if not found:
        return None
    reason = contradiction(wanted, found[0])
    if reason:
        raise AmbiguousError(
            f"{wanted.target} belongs to the job {found[0].name}, which does something else",
            reason,
            "Change the job's configuration, or leave that out of the request",
        )
    return found[0]


def adopt_application(path: Path, wanted: Wanted, state: Path | None = None) -> str:
    """Make a new job for directories, without a schedule, in the managed drop-in; its name.

    `state` is the state directory. UsageError when the client named no path; NotFoundError when one of them, or the
    container, is not there; UnfitError when one is not for clients to name. Nothing is written then.
    """
    paths = wanted.paths
    if not paths:
        raise UsageError(
            f"There is no job for the application {wanted.target}",
            "A new one needs to know its directories",
            "Give source_dirs, or an absolute path as the target",
        )
    for each in paths:
        if not os.path.lexists(each):
            raise NotFoundError(f"{each} does not exist", "", "Name directories or files of this machine")
    containers = {"containers": [wanted.container]} if wanted.container is not None else {}

    def check(config: Config) -> None:
        own = own_directories(config, path, state)
        for each in paths:
            reason = unadoptable(each, leads_to(each), own) or _neither_directory_nor_file(each)
            if reason:
                raise UnfitError(reason, "", "Name another place, or write the job into the configuration")
        if wanted.container is not None:
            with connect(config.docker) as docker:
                docker.container(wanted.container)

    return _add(path, wanted, {"paths": list(paths), **containers}, check)


def own_directories(config: Config, path: Path, state: Path | None) -> dict[str, str]:
    """What is ours on this machine, without links, by what it is. `path` is the configuration's file."""
    own = {"backup directory": Path(config.directory), "directory of the configuration": path.parent}
    if state is not None:
        own["state directory"] = state
    return {what: os.path.realpath(each) for what, each in own.items()}


def leads_to(path: str) -> str:
    """The path without links. UsageError when one in it cannot be followed, such as one of /proc."""
    try:
        return os.path.realpath(path)
    except OSError as error:
        raise UsageError(
            f"{path} leads nowhere that can be looked at", str(error.strerror), "Name it directly"
        ) from error


def _neither_directory_nor_file(path: str) -> str:
    mode = os.lstat(path).st_mode
    return "" if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else f"{path} is neither a directory nor a file"


def adopt_database(path: Path, wanted: Wanted) -> str:
    """The job that dumps a database, found by asking the servers: one that takes all databases, else a new one.

    UnfitError, with what each server said, when no server has it. With `os_user` this process changes its effective
    user now and then: it must have no other threads.
    """
    if reason := unnameable(wanted.target):
        raise UnfitError(reason, "", "Write the job into the configuration")
    config = config_files.load(path)
    said: list[str] = []
    for job in config.jobs.values() if wanted.container is None else ():
        for source, server in zip(job.postgres, server_names(job.postgres), strict=True):
            if _has(config, source, server, wanted.target, said):
                return job.name if not source.databases else _add_source(path, wanted, source)
    source = _LOCAL if wanted.container is None else PostgresSource(container=wanted.container)
    if _has(config, source, wanted.container or "local", wanted.target, said):
        return _add_source(path, wanted, source)
    raise UnfitError(
        f"No server that can be reached has a database {wanted.target}",
        " ".join(said),
        "Name one that is there, or add its server to the configuration",
    )


def _has(config: Config, source: PostgresSource, server: str, database: str, said: list[str]) -> bool:
    try:
        with ExitStack() as stack:
            docker = stack.enter_context(connect(config.docker)) if source.container is not None else None
            facts = inspect(endpoint_of(source, server, docker))
            names = select_databases(facts, PostgresSource(source.container, source.dsn), server)
    except BackupError as error:
        said.append(str(error))
        return False
    if database not in names:
        said.append(f"{server} has {', '.join(names) or 'none'}.")
        return False
    return True


def _add_source(path: Path, wanted: Wanted, source: PostgresSource) -> str:
    """A new job for one database of a server that is reached as `source` says."""
    keys = ("container", "dsn", "user", "os_user", "passfile")
    table = {key: value for key in keys if (value := getattr(source, key)) is not None}
    return _add(path, wanted, {"postgres": [{**table, "databases": [wanted.target]}]})


def _add(
    path: Path, wanted: Wanted, table: Mapping[str, object], check: Callable[[Config], None] = lambda _: None
) -> str:
    """A new job in the managed drop-in, under a name that neither a job nor a backup has.

    `check` raises an error when the configuration that it would lead to is not to be.
    """
    name = ""

    def change(managed: Mapping[str, object]) -> Mapping[str, object]:
        nonlocal name  # chosen under the lock: of two clients who want the same, the second finds the first one's job
        config = config_files.load(path)
        if (made := find(config, wanted)) is not None:
            name = made.name
            return managed
        name = job_name(wanted.target, {*config.jobs, *BackupDirectory.open(Path(config.directory)).jobs()})
        changed = overlay(managed, {"jobs": {name: table}})
        check(config_files.preview(path, lambda _: changed))
        return changed

    config_files.update_managed(path, change)
    return name


def dumped(config: Config) -> dict[str, frozenset[str]]:
    """The databases in the newest backup of each job that takes all databases of a server.

    Nothing while the backup directory is not there: then the configuration alone has to tell.
    """
    jobs = [job for job in config.jobs.values() if any(not source.databases for source in job.postgres)]
    if not jobs:
        return {}
    try:
        directory = BackupDirectory.open(Path(config.directory))
    except DirectoryError:
        return {}
    return {job.name: _databases_of(directory, job) for job in jobs}


def _databases_of(directory: BackupDirectory, job: Job) -> frozenset[str]:
    manifest = newest_manifest(directory, job.name)
    artifacts = manifest.artifacts if manifest is not None else ()
    return frozenset(each.target for each in artifacts if each.type is ArtifactType.DATABASE)
