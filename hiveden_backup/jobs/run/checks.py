"""The single checks of a job's validation. Each adds to the plan what it found, and says what is wrong."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import lodgers, untold
from hiveden_backup.core.docker.volumes import DEVICE_OPTION, recorded
from hiveden_backup.core.errors import BackupError, DirectoryError, NotFoundError, UnreachableError
from hiveden_backup.core.globs import real_patterns
from hiveden_backup.core.model import Check, NamedVolume, Source, SourceKind
from hiveden_backup.core.names import server_names
from hiveden_backup.core.paths import inside, outermost
from hiveden_backup.core.progress import Step
from hiveden_backup.host import process
from hiveden_backup.host.disk import file_locks, mounts
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.repository import BackupDirectory, marker_in
from hiveden_backup.host.docker.engine import Docker, connect
from hiveden_backup.host.postgres.pid_file import working
from hiveden_backup.jobs.backups.counted import counted
from hiveden_backup.jobs.backups.ownership import check_owner
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.absent import absent
from hiveden_backup.jobs.run.checkpoint import find_base
from hiveden_backup.jobs.run.dumps import reach
from hiveden_backup.jobs.run.passes import Trees, look
from hiveden_backup.jobs.run.plan import Draft
from hiveden_backup.jobs.run.proving import provable
from hiveden_backup.jobs.run.space import check_room, check_spool, leaving
from hiveden_backup.jobs.services.docker import check_stoppable, docker_may_be_there, family

_TOOLS = ("tar", "zstd", "sync", "setpriv", "ssh-keygen")
_PID_FILE = "postmaster.pid"
_WAL = "-wal"
_SQLITE_USER = 128
"""The byte of the `-shm` beside a `-wal` that each connection to an SQLite database has locked from first to last."""


def check_tools(draft: Draft) -> None:
    """The stock tools are there, and tar is GNU tar."""
    with draft.findings.check(Check.TOOLS):
        for tool in _TOOLS:
            process.find_program(tool)
        said = process.run(process.Command(("tar", "--version"))).stdout
        version = said.partition(b"\n")[0].decode("utf-8", "replace")
        if "GNU tar" not in version:
            raise UnreachableError("The tar on this machine is not GNU tar", version, "Install GNU tar")
        draft.findings.ok(Check.TOOLS, f"{version}, zstd")


def check_directory(draft: Draft, installation: Installation) -> None:
    """The backup directory is marked, the job's part of it no other host's, writable, and keeps modes."""
    path = Path(installation.config.directory)
    with draft.findings.check(Check.DIRECTORY):
        draft.directory = BackupDirectory.open(path)
        check_owner(installation, draft.directory, draft.job.name)
        with translated(f"looking at the backup directory {path}"):
            if os.statvfs(path).f_flag & os.ST_RDONLY or not os.access(path, os.W_OK | os.X_OK):
                raise DirectoryError(
                    f"{path} cannot be written", "It is read-only for this user", "Remount it writable"
                )
        draft.findings.ok(Check.DIRECTORY, f"{path} is marked and writable")
        if not mounts.mount_of(os.path.realpath(path), mounts.mounts()).has_modes:
            draft.findings.warn(
                Check.DIRECTORY, f"{path} is on a file system without owners and modes: others may read it"
            )


def check_docker(draft: Draft, installation: Installation, stack: ExitStack) -> None:
    """Docker answers, where the job needs it. Where files are archived, it is asked about live databases among them."""
    job = draft.job
    needed = bool(job.containers or job.volumes or any(source.container for source in job.postgres))
    if not needed and not (job.has_files and docker_may_be_there(installation.docker)):
        return
    try:
        draft.docker = stack.enter_context(connect(installation.docker))
        draft.findings.ok(Check.DOCKER, f"Docker {draft.docker.ping()} answers at {draft.docker.address}")
    except BackupError as error:
        draft.docker = None
        if needed:
            draft.findings.fail(Check.DOCKER, error)
        else:
            draft.findings.ok(Check.DOCKER, f"{error.what}: it is not asked whether containers use the files")


def check_containers(draft: Draft, now: datetime) -> None:
    """The containers to stop, and what lives in them, can be stopped and started; puts them in their stop order."""
    if draft.docker is None or not draft.job.containers:
        return
    named: list[Container] = []
    with draft.findings.check(Check.DOCKER):
        by_name = {container.name: container for container in _everything(draft, draft.docker)}
        for name in draft.job.containers:
            with draft.findings.check(Check.CONTAINER):
                named.append(by_name.get(name) or draft.docker.container(name))  # which has the closest name
        hosts = lodgers(named, by_name.values())
        draft.containers = tuple(family(named, tuple(by_name.values())))
        for container in (*named, *(each for each in draft.containers if each.id in hosts)):
            with draft.findings.check(Check.CONTAINER):
                host = hosts.get(container.id)
                check_stoppable(draft.job, container, host.name if host is not None else "")
                _tell_state(draft, container, host, now)
    _tell_order(draft)


def _everything(draft: Draft, docker: Docker) -> tuple[Container, ...]:
    if draft.everything is None:
        draft.everything = docker.containers()
    return draft.everything


def _tell_state(draft: Draft, container: Container, host: Container | None, now: datetime) -> None:
    name, findings = container.name, draft.findings
    if not container.goes_down:
        findings.warn(Check.CONTAINER, f"{name} is {container.status}: it is left as it is")
    elif container.restless(now):
        findings.warn(
            Check.CONTAINER,
            f"{name} restarts again and again: after a run, it is not waited for",
            f"Look at `docker logs {name}`",
        )
    elif container.health == "unhealthy":
        findings.warn(
            Check.CONTAINER,
            f"{name} is unhealthy: after a run, it is not waited for until it is healthy",
            f"Look at `docker inspect {name}` and `docker logs {name}`",
        )
    else:
        findings.ok(Check.CONTAINER, f"{name} is running")
    if host is not None:
        findings.ok(Check.CONTAINER, f"{name} lives in {host.name}, and is stopped and started along with it")


def _tell_order(draft: Draft) -> None:
    names = ", ".join(container.name for container in untold(draft.containers))
    if names:
        draft.findings.ok(
            Check.CONTAINER,
            f"{names} are stopped one after another as `containers` has them: their Compose (version 1) does not tell"
            " what depends on what",
        )


def check_trees(draft: Draft, installation: Installation) -> None:
    """The paths and volumes exist; resolves them to real directories, none inside another."""
    job = draft.job
    sources: list[Source] = []
    volumes: list[NamedVolume] = []
    for path in job.paths:
        with draft.findings.check(Check.PATH):
            sources.append(Source(SourceKind.PATH, path, _existing(path)))
    for name in job.volumes if draft.docker is not None else ():
        with draft.findings.check(Check.VOLUME):
            volume = draft.docker.volume(name) if draft.docker is not None else None
            if volume is None or volume.driver != "local":
                raise NotFoundError(f"The volume {name} is not on this machine", "Its driver is not `local`")
            if DEVICE_OPTION in volume.options:
                raise NotFoundError(
                    f"The volume {name} is mounted only while a container uses it",
                    f"It stands for {volume.options[DEVICE_OPTION]}, so after the stop its directory is empty",
                    "Back up what it stands for by `paths` instead",
                )
            sources.append(Source(SourceKind.VOLUME, name, _existing(volume.mountpoint)))
            volumes.append(recorded(volume))
    if not sources:
        return
    draft.sources, draft.volumes = tuple(sources), tuple(volumes)
    with draft.findings.check(Check.PATH):
        draft.trees = trees_of(installation, job, draft.sources)
        table = mounts.mounts()
        for root in draft.trees.roots:
            if any(_shows(root, outside, table) for outside in _ours(installation)) or _is_marked(root, draft.trees):
                error = BackupError(f"{root} lies in the backup or state directory", "", "Take it out of the job")
                draft.findings.fail(Check.PATH, error)


def trees_of(installation: Installation, job: Job, sources: Sequence[Source]) -> Trees:
    """What is archived of the sources of a job's files."""
    ours = _ours(installation)
    exclude = tuple(dict.fromkeys(real_patterns(job.exclude, sources)))
    roots = outermost(source.path for source in sources)
    skip = _left_out(roots, ours, mounts.mounts()) | ours
    return Trees(roots, exclude, skip, marker_in(installation.config.directory), job.one_file_system)


def _ours(installation: Installation) -> dict[str, str]:
    return {
        os.path.realpath(installation.config.directory): "the backup directory",
        os.path.realpath(installation.state): "the state directory",
    }


def _left_out(roots: Sequence[str], ours: Iterable[str], table: Sequence[mounts.Mount]) -> dict[str, str]:
    """What is mounted below the roots, and never archived: mount points, and what they show."""
    found = {}
    for mount in table:
        if any(inside(mount.point, root) for root in roots) and os.path.lexists(mount.point):
            if mount.of_kernel:
                found[mount.point] = f"the kernel's own ({mount.filesystem})"
            elif any(_shows(mount.point, outside, table) for outside in ours):
                found[mount.point] = "a part of the backup or state directory"
    return found


def _shows(path: str, outside: str, table: Sequence[mounts.Mount]) -> bool:
    """Whether `path` is `outside` or lies below it, be it by the name that a bind mount gives it."""
    (device, kept), (own_device, own) = mounts.place(path, table), mounts.place(outside, table)
    return inside(path, outside) or (device == own_device and inside(kept, own))


def _is_marked(path: str, trees: Trees) -> bool:
    """Whether it is the backup directory or lies below it, as a union of file systems may show it."""
    return bool(trees.marker) and any(marker_in(str(each)) == trees.marker for each in (path, *Path(path).parents))


def _existing(path: str) -> str:
    real = os.path.realpath(path)
    if not os.path.lexists(real):
        raise NotFoundError(f"{path} does not exist", "", "Mount it, or correct the job")
    if not os.access(real, os.R_OK):
        with translated(f"reading {path}"):
            os.close(os.open(real, os.O_RDONLY | os.O_NONBLOCK))
    return real


def check_mounts(draft: Draft, installation: Installation) -> None:
    """What any kept backup found mounted where the job's files are is mounted now, or a person accepted that it is not.

    A disk that is away must not look as if all had been deleted.
    """
    if draft.directory is None:
        return
    with draft.findings.check(Check.PATH), translated(f"looking at the backups of {draft.job.name}"):
        draft.history = tuple(counted(installation, draft.directory, draft.job.name).history())
        draft.accepted = installation.records.accepted(draft.job.name)
        for each in absent(draft.history, draft.trees, draft.accepted) if draft.trees is not None else ():
            draft.findings.fail(Check.PATH, each.error)


def check_servers(draft: Draft) -> None:
    """Every PostgreSQL server is reachable, has the databases, and there is a pg_dump that fits."""
    if not draft.job.postgres:
        return
    for source, name in zip(draft.job.postgres, server_names(draft.job.postgres), strict=True):
        if source.container is not None and draft.docker is None:
            continue  # said already
        with draft.findings.check(Check.POSTGRES):
            draft.servers.append(reach(draft, source, name))


def look_at_trees(draft: Draft, installation: Installation) -> None:
    """Scan and compare with the newest index: the first half of the hot pass, which also tells the space needed."""
    if draft.trees is None:
        return
    with draft.findings.check(Check.FILES):
        if draft.directory is not None and not draft.full:
            draft.base, warnings = find_base(installation, draft.directory, draft.job.name)
            for warning in warnings:
                draft.findings.warn(Check.FILES, warning)
        installation.progress.begin(Step.SCAN)
        draft.looked = look(draft.trees, draft.base, draft.spool, "hot")
        comparison = draft.looked.comparison
        most = "up to " if provable(draft.looked) else ""
        draft.findings.ok(Check.FILES, f"{comparison.entries} paths, {most}{comparison.taken} to archive")
        if draft.looked.sockets:
            draft.findings.ok(Check.FILES, f"{draft.looked.sockets} sockets are left out: they have no content")
        if draft.looked.too_long:
            draft.findings.warn(
                Check.FILES, draft.looked.too_long, "Give the directories above shorter names, or exclude them"
            )
        left_out = draft.trees.skipped() | dict(draft.looked.kept_out)
        for path in outermost(left_out):
            draft.findings.ok(Check.PATH, f"{path} is left out: it is {left_out[path]}")


def check_mounted_by_others(draft: Draft) -> None:
    """No running container that goes on writes to what is archived; none of them has a live database there."""
    if draft.docker is None or draft.trees is None:
        return
    with draft.findings.check(Check.DOCKER):
        running = [container for container in _everything(draft, draft.docker) if container.goes_down]
        writers = [(os.path.realpath(source), container) for container in running for source in _written(container)]
        live = {container.id for container in _check_live_databases(draft, writers)}
        spared = live | {container.id for container in draft.containers}
        dumped = {source.container for source in draft.job.postgres}
        for container in running:
            if container.id in spared or container.name in dumped:
                continue
            if any(_is_archived(draft.trees, source) for source, writer in writers if writer is container):
                draft.findings.warn(
                    Check.CONTAINER,
                    f"The running container {container.name} writes to what the job archives and is not stopped",
                    f'Add "{container.name}" to `containers` for a consistent copy',
                )


def _check_live_databases(draft: Draft, writers: Sequence[tuple[str, Container]]) -> Iterator[Container]:
    """Those that have a database in use among what is archived: of all that mount it, the ones that mount no more."""
    stopped = {container.id for container in draft.containers}
    told: set[str] = set()
    for path in draft.looked.suspects if draft.looked is not None else ():
        above = [(source, container) for source, container in writers if inside(path, source)]
        closest = max((len(source) for source, _ in above), default=0)
        owners = [container for source, container in above if len(source) == closest]
        if not owners or any(owner.id in stopped for owner in owners) or owners[0].id in told:
            continue
        told.add(owners[0].id)
        yield owners[0]
        error = BackupError(
            f"{path} belongs to a database that runs in the container {owners[0].name}",
            "A copy of its files while it runs does not restore",
            f'Add "{owners[0].name}" to `containers`; or exclude its files, and dump it if it is PostgreSQL',
        )
        draft.findings.fail(Check.LIVE_DATABASE, error)


def check_host_servers(draft: Draft) -> None:
    """No database server of this machine itself works in what is archived: nothing stops it."""
    for path in draft.looked.suspects if draft.looked is not None else ():
        stopped = any(inside(path, source) for each in draft.containers for source in _written(each))
        if os.path.basename(path) == _PID_FILE and not stopped and (server := working(path)) is not None:
            unsure = (
                f". If process {server.pid} is no PostgreSQL, a crash left that file: start the server, or remove it"
            )
            error = BackupError(
                f"{path} belongs to a PostgreSQL server that runs on this machine",
                "A copy of its files while it runs does not restore",
                "Exclude its files, and dump its databases: a [[postgres]] table with a `dsn`"
                + ("" if server.sure else unsure),
            )
            draft.findings.fail(Check.LIVE_DATABASE, error)
        elif path.endswith(_WAL) and not any(inside(path, source) for source in _mounted(draft)):
            user = file_locks.holder(path.removesuffix(_WAL) + "-shm", _SQLITE_USER)
            if user is not None:
                draft.findings.warn(
                    Check.LIVE_DATABASE,
                    f"{path.removesuffix(_WAL)} is an SQLite database that a program of this machine uses: {user}",
                    "Its files are copied as they are, perhaps in the middle of a change: let the job run while that "
                    "program does not, or back up a copy that it makes (sqlite3 FILE '.backup COPY')",
                )


def _mounted(draft: Draft) -> Iterator[str]:
    """What running containers write to: these were looked at already, or are to be stopped."""
    running = (each for each in draft.everything or () if each.goes_down)
    return (os.path.realpath(source) for each in running for source in _written(each))


def _written(container: Container) -> Iterator[str]:
    return (mount.source for mount in container.mounts if mount.writable and mount.source)


def _is_archived(trees: Trees, source: str) -> bool:
    """Whether something that is archived lies in what a container mounts from `source`, or the other way round."""
    if any(inside(root, source) for root in trees.roots):
        return True
    everywhere = replace(trees, one_file_system=False)
    return any(inside(source, root) for root in trees.roots) and not everywhere.ignores(source)


def check_space(draft: Draft, installation: Installation) -> None:
    """The backup directory has room for what changed and for the dumps, the state directory for the pass's lists."""
    if draft.directory is None or draft.findings.failed:
        return
    with draft.findings.check(Check.SPACE):
        check_room(draft, draft.directory, leaving(installation, draft.directory, draft.job))
    if draft.looked is not None and draft.containers:
        with draft.findings.check(Check.SPACE):
            check_spool(draft.looked, installation.spool(draft.job.name))
