"""Which containers use what is replaced: one that went on would do so in the old tree."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError, raise_all
from hiveden_backup.core.paths import inside
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.jobs.restore.places import Files, Place, excluded_below
from hiveden_backup.jobs.services.docker import existing


@dataclass(slots=True)
class Users:
    """Containers that run and use what is replaced: those of `servers` can be stopped for it, the others prevent it."""

    servers: list[Container] = field(default_factory=list)
    obstacles: list[BackupError] = field(default_factory=list)


def find_users(
    everything: Iterable[Container], stopped: Collection[str], files: Files, servers: Collection[str]
) -> Users:
    """Who goes on while `files` change places and uses them.

    `stopped` are the ids of those that are stopped for it anyway, `servers` the names of those in which the job's
    databases are: they are needed before and after, but not meanwhile. What a backup leaves out is carried over, and
    may be in use.
    """
    found = Users()
    for container in everything:
        used = next(_used(container, files), None)
        if not container.running or container.id in stopped or used is None:
            continue
        place, source = used
        what = f"{place.live} cannot be replaced now"
        if container.name not in servers:
            paused = "is paused and" if container.paused else "runs and"
            why = f"The container {container.name} {paused} uses {source}"
            hint = f"Stop it (docker stop {container.name}), or add it to the job's `containers`"
            found.obstacles.append(BackupError(what, why, hint))
        elif reason := _unstoppable(container):
            why = f"The container {container.name}, which is to be stopped since it uses {source}, {reason}"
            found.obstacles.append(BackupError(what, why, "Let it run as others do; or restore with --to DIR"))
        else:
            found.servers.append(container)
    return found


def _unstoppable(container: Container) -> str:
    """Why a server cannot be stopped and started again, "" when it can."""
    if container.paused:
        return "is paused"
    if container.auto_remove:
        return "was started with --rm, so that Docker would remove it"
    return f"is managed by {container.manager}, which would start another one" if container.manager else ""


def server_names(jobs: Iterable[Job], sources: Iterable[PostgresSource] = ()) -> frozenset[str]:
    """The names of the containers that databases of these jobs, and these sources, are in."""
    every = (*sources, *(source for job in jobs for source in job.postgres))
    return frozenset(source.container for source in every if source.container is not None)


def going_down(docker: Docker, users: Users, stopped: Sequence[Container]) -> tuple[Container, ...]:
    """The servers among the users, and what lives in them and runs, but for what is stopped anyway."""
    known = {container.id for container in stopped}
    found = existing(docker, [container.name for container in users.servers])[0]
    return tuple(container for container in found if container.goes_down and container.id not in known)


def check_unused(docker: Docker, files: Files) -> None:
    """BackupError when a container that runs uses what is replaced, though all that do should be down."""
    users = find_users(docker.containers(), (), files, ())
    raise_all("What is restored cannot be replaced now", users.obstacles)


def check_not_lost(docker: Docker, lost: Sequence[str]) -> None:
    """BackupError when a container uses what goes with the replaced tree: something that a backup leaves out."""
    for container in docker.containers() if lost else ():
        sources = [os.path.realpath(mount.source) for mount in container.mounts if mount.source]
        for path in lost:
            used = [source for source in sources if inside(source, path)]
            if used and container.running:
                raise BackupError(
                    f"{path} cannot be carried over",
                    f"The container {container.name} uses it, and the backup has no directory for it",
                    f"Stop it (docker stop {container.name}) and move its files, or restore with --to DIR",
                )


def _used(container: Container, files: Files) -> Iterator[tuple[Place, str]]:
    for mount in container.mounts:
        if not mount.source:
            continue
        source = os.path.realpath(mount.source)
        for place in files.places:
            if inside(place.live, source) and source != place.live:
                if mount.writable:  # who only reads from above sees the new tree afterwards
                    yield place, source
            elif inside(source, place.live) and not _left_out(source, place, files):
                yield place, source


def _left_out(path: str, place: Place, files: Files) -> bool:
    if files.keeping is not None and place.source not in files.keeping:
        return False
    excluded = excluded_below(place.source, files.exclude)
    parts = path[len(place.live) :].strip("/").split("/")
    return any(excluded("/".join(parts[: number + 1])) for number in range(len(parts)))
