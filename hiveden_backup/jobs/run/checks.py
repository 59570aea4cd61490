"""The single checks of a job's validation. Each adds to the plan what it found, and says what is wrong."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import stop_order
from hiveden_backup.core.errors import BackupError, DirectoryError, NotFoundError, UnreachableError
from hiveden_backup.core.globs import real_patterns
from hiveden_backup.core.model import Source, SourceKind, Status
from hiveden_backup.core.names import server_names
from hiveden_backup.core.paths import inside
from hiveden_backup.core.progress import Step
from hiveden_backup.core.schedule.expression import to_calendars
from hiveden_backup.host import process
from hiveden_backup.host.disk import mounts
from hiveden_backup.host.disk.durable import translated
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.docker.engine import connect
from hiveden_backup.host.systemd.calendar import upcoming
from hiveden_backup.jobs.backups.catalog import newest_manifest
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.checkpoint import find_base
from hiveden_backup.jobs.run.dumps import reach
from hiveden_backup.jobs.run.passes import Trees, look
from hiveden_backup.jobs.run.plan import Plan
from hiveden_backup.jobs.run.space import check_room
from hiveden_backup.jobs.schedule.survey import skipped
from hiveden_backup.jobs.services.docker import check_stoppable, docker_may_be_there

_TOOLS = ("tar", "zstd", "sync", "setpriv")
_PID_FILE = "postmaster.pid"
_DEVICE_OPTION = "device"


def check_tools(plan: Plan) -> None:
    """The stock tools are there, and tar is GNU tar."""
    with plan.findings.check("tools"):
        for tool in _TOOLS:
            process.find_program(tool)
        said = process.run(process.Command(("tar", "--version"))).stdout
        version = said.partition(b"\n")[0].decode("utf-8", "replace")
        if "GNU tar" not in version:
            raise UnreachableError("The tar on this machine is not GNU tar", version, "Install GNU tar")
        plan.findings.ok("tools", f"{version}, zstd")


def check_directory(plan: Plan, path: Path) -> None:
    """The backup directory is marked, writable, and keeps modes."""
    with plan.findings.check("directory"):
        plan.directory = BackupDirectory.open(path)
        with translated(f"looking at the backup directory {path}"):
            if os.statvfs(path).f_flag & os.ST_RDONLY or not os.access(path, os.W_OK | os.X_OK):
                raise DirectoryError(
                    f"{path} cannot be written", "It is read-only for this user", "Remount it writable"
                )
        plan.findings.ok("directory", f"{path} is marked and writable")
        if not mounts.mount_of(os.path.realpath(path), mounts.mounts()).has_modes:
            plan.findings.warn("directory", f"{path} is on a file system without owners and modes: others may read it")


def check_docker(plan: Plan, installation: Installation, stack: ExitStack) -> None:
    """Docker answers, where the job needs it. Where files are archived, it is asked about live databases among them."""
    job = plan.job
    needed = bool(job.containers or job.volumes or any(source.container for source in job.postgres))
    if not needed and not (job.has_files and docker_may_be_there(installation.docker)):
        return
    try:
        plan.docker = stack.enter_context(connect(installation.docker))
        plan.findings.ok("docker", f"Docker {plan.docker.ping()} answers at {plan.docker.address}")
    except BackupError as error:
        plan.docker = None
        if needed:
            plan.findings.fail("docker", error)
        else:
            plan.findings.ok("docker", f"{error.what}: it is not asked whether containers use the files")


def check_containers(plan: Plan) -> None:
    """The containers to stop exist and can be stopped and started; puts them in their stop order."""
    if plan.docker is None:
        return
    found = []
    for name in plan.job.containers:
        with plan.findings.check("container"):
            container = plan.docker.container(name)
            check_stoppable(plan.job, container)
            found.append(container)
            if not container.running or container.paused:
                plan.findings.warn("container", f"{name} is {container.status}: it is left as it is")
            else:
                plan.findings.ok("container", f"{name} is running")
    with plan.findings.check("docker"):
        plan.containers = tuple(stop_order(found, plan.docker.containers() if found else ()))


def check_trees(plan: Plan, installation: Installation) -> None:
    """The paths and volumes exist; resolves them to real directories, none inside another."""
    job = plan.job
    sources: list[Source] = []
    for path in job.paths:
        with plan.findings.check("path"):
            sources.append(Source(SourceKind.PATH, path, _existing(path)))
    for name in job.volumes if plan.docker is not None else ():
        with plan.findings.check("volume"):
            volume = plan.docker.volume(name) if plan.docker is not None else None
            if volume is None or volume.driver != "local":
                raise NotFoundError(f"The volume {name} is not on this machine", "Its driver is not `local`")
            if _DEVICE_OPTION in volume.options:
                raise NotFoundError(
                    f"The volume {name} is mounted only while a container uses it",
                    f"It stands for {volume.options[_DEVICE_OPTION]}, so after the stop its directory is empty",
                    "Back up what it stands for by `paths` instead",
                )
            sources.append(Source(SourceKind.VOLUME, name, _existing(volume.mountpoint)))
    if not sources:
        return
    plan.sources = tuple(sources)
    roots = _outermost(source.path for source in sources)
    kept_out = {os.path.realpath(installation.config.directory), os.path.realpath(installation.state)}
    for root in roots:
        if any(inside(root, outside) or _same(root, outside) for outside in kept_out):
            error = BackupError(f"{root} lies in the backup or state directory", "", "Take it out of the job")
            plan.findings.fail("path", error)
    exclude = tuple(dict.fromkeys(real_patterns(job.exclude, sources)))
    plan.trees = Trees(roots, exclude, tuple(sorted(kept_out)), job.one_file_system)


def _same(one: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)


def _existing(path: str) -> str:
    real = os.path.realpath(path)
    if not os.path.lexists(real):
        raise NotFoundError(f"{path} does not exist", "", "Mount it, or correct the job")
    if not os.access(real, os.R_OK):
        with translated(f"reading {path}"):
            os.close(os.open(real, os.O_RDONLY | os.O_NONBLOCK))
    return real


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(inside(path, root) for root in kept):
            kept.append(path)
    return tuple(kept)


def check_servers(plan: Plan) -> None:
    """Every PostgreSQL server is reachable, has the databases, and there is a pg_dump that fits."""
    if not plan.job.postgres:
        return
    for source, name in zip(plan.job.postgres, server_names(plan.job.postgres), strict=True):
        if source.container is not None and plan.docker is None:
            continue  # said already
        with plan.findings.check("postgres"):
            plan.servers.append(reach(plan, source, name))


def look_at_trees(plan: Plan, installation: Installation, *, full: bool) -> None:
    """Scan and compare with the newest index: the first half of the hot pass, which also tells the space needed."""
    if plan.trees is None:
        return
    with plan.findings.check("files"):
        if plan.directory is not None and not full:
            plan.base, warnings = find_base(plan.directory, installation.records, plan.job.name)
            for warning in warnings:
                plan.findings.warn("files", warning)
            _check_mounts_of_last(plan)
        installation.progress.begin(Step.SCAN)
        plan.looked = look(plan.trees, plan.base, plan.spool, "hot")
        comparison = plan.looked.comparison
        plan.findings.ok("files", f"{comparison.entries} paths, {comparison.taken} to archive")
        if plan.looked.sockets:
            plan.findings.ok("files", f"{plan.looked.sockets} sockets are left out: they have no content")


def _check_mounts_of_last(plan: Plan) -> None:
    """A path that was a mount point in the newest backup and is an empty directory now: its disk is not mounted."""
    if plan.directory is None or plan.trees is None:
        return
    newest = newest_manifest(plan.directory, plan.job.name)
    points = {point for root in newest.roots for point in root.mounts} if newest is not None else set()
    mounted = {mount.point for mount in mounts.mounts()}
    for point in sorted(points - mounted):
        if any(inside(point, root) for root in plan.trees.roots) and not plan.trees.ignores(point):
            if os.path.isdir(point) and not os.listdir(point):
                raise NotFoundError(
                    f"Nothing is mounted at {point} and it is empty",
                    "A file system was mounted there in the newest backup",
                    "Mount it; if it is gone for good, remove the directory or run once with --full",
                )
            plan.findings.warn("path", f"{point} was a mount point in the newest backup and is none now")


def check_mounted_by_others(plan: Plan) -> None:
    """No running container that goes on writes to what is archived; none of them has a live database there."""
    if plan.docker is None or plan.trees is None:
        return
    with plan.findings.check("docker"):
        running = [container for container in plan.docker.containers() if container.running and not container.paused]
        writers = [(os.path.realpath(source), container) for container in running for source in _written(container)]
        live = {container.id for container in _check_live_databases(plan, writers)}
        spared = live | {container.id for container in plan.containers}
        dumped = {source.container for source in plan.job.postgres}
        for container in running:
            if container.id in spared or container.name in dumped:
                continue
            if any(_is_archived(plan.trees, source) for source, writer in writers if writer is container):
                plan.findings.warn(
                    "container",
                    f"The running container {container.name} writes to what the job archives and is not stopped",
                    f'Add "{container.name}" to `containers` for a consistent copy',
                )


def _check_live_databases(plan: Plan, writers: Sequence[tuple[str, Container]]) -> Iterator[Container]:
    """Those that have a database in use among what is archived: of all that mount it, the ones that mount no more."""
    stopped = {container.id for container in plan.containers}
    told: set[str] = set()
    for path in plan.looked.suspects if plan.looked is not None else ():
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
        plan.findings.fail("live database", error)


def check_host_servers(plan: Plan) -> None:
    """No PostgreSQL of this machine itself works in what is archived: nothing stops it."""
    for path in plan.looked.suspects if plan.looked is not None else ():
        stopped = any(inside(path, source) for each in plan.containers for source in _written(each))
        if os.path.basename(path) == _PID_FILE and not stopped and _works_there(path):
            error = BackupError(
                f"{path} belongs to a PostgreSQL server that runs on this machine",
                "A copy of its files while it runs does not restore",
                "Exclude its files, and dump its databases: a [[postgres]] table with a `dsn`",
            )
            plan.findings.fail("live database", error)


def _works_there(pid_file: str) -> bool:
    """Whether the process of a server's pid file is that server; a file that a crash left names some other, or none."""
    try:
        with open(pid_file, encoding="ascii") as file:
            pid = int(file.readline())
        return os.path.samefile(f"/proc/{pid}/cwd", os.path.dirname(pid_file))
    except (OSError, ValueError):
        return False


def _written(container: Container) -> Iterator[str]:
    return (mount.source for mount in container.mounts if mount.writable and mount.source)


def _is_archived(trees: Trees, source: str) -> bool:
    """Whether something that is archived lies in what a container mounts from `source`, or the other way round."""
    if any(inside(root, source) for root in trees.roots):
        return True
    everywhere = replace(trees, one_file_system=False)
    return any(inside(source, root) for root in trees.roots) and not everywhere.ignores(source)


def check_space(plan: Plan) -> None:
    """The backup directory has room for what changed and for the dumps."""
    if plan.directory is None or plan.findings.failed:
        return
    with plan.findings.check("space"):
        check_room(plan, plan.directory)


def check_schedule(plan: Plan, now: datetime) -> None:
    """Each calendar of the schedule elapses some day. It does not matter to a run, so only `check` asks."""
    for expression in plan.job.schedule:
        try:
            moments = [upcoming([line], 1, now) for line in to_calendars(expression)]
        except UnreachableError as error:
            plan.findings.warn("schedule", str(error))
        except BackupError as error:
            plan.findings.fail("schedule", error)
        else:
            if not all(moments):
                never = BackupError(f'The schedule "{expression}" never elapses', "", "Look at its date")
                plan.findings.fail("schedule", never)
            else:
                plan.findings.ok("schedule", f'"{expression}" elapses next at {min(moments)[0]:%Y-%m-%d %H:%M} UTC')
    _check_clock_changes(plan, now)


def _check_clock_changes(plan: Plan, now: datetime) -> None:
    """Warn of a day on which the schedule names an hour that the clocks skip: systemd leaves that time out."""
    if any(finding.name == "schedule" and finding.status is not Status.OK for finding in plan.findings.all):
        return
    for line, gap in skipped(plan.job, now):
        plan.findings.warn(
            "schedule",
            f'"{line}" is left out on {gap.start:%Y-%m-%d}, when clocks go from {gap.start:%H:%M} to {gap.end:%H:%M}',
            f"Choose a time before {gap.start:%H:%M} or from {gap.end:%H:%M} on, or end it with UTC",
        )
