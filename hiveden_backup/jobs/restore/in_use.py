"""Which containers use what is replaced: one that went on would do so in the old tree."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from hiveden_backup.core.config.values import Job, PostgresSource
from hiveden_backup.core.dataclass import dataclass, field
from hiveden_backup.core.docker.containers import Container, ContainerMount
from hiveden_backup.core.docker.stop_order import lodgers
from hiveden_backup.core.errors import BackupError, raise_all
from hiveden_backup.core.holder_places import called
from hiveden_backup.core.paths import inside
from hiveden_backup.core.postgres.data_places import by_environment, on_this_machine
from hiveden_backup.core.restore_record import Act
from hiveden_backup.host.disk import mounts, ways
from hiveden_backup.host.docker.engine import Docker
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.jobs.restore.holding import reaching_holders
from hiveden_backup.jobs.restore.places import Files, Place, excluded_below
from hiveden_backup.jobs.services.docker import family
from hiveden_backup.jobs.services.servers import endpoint_of

_LET_IT_RUN = "Let it run as others do; or restore with --to DIR"


@dataclass(frozen=True, slots=True)
class Servers:
    """The containers that databases are in, by name, with how to reach each, None where nothing says so.

    `though_down` is whether the files of one that does not run may not change places either: what a backup has of them
    was copied while it ran, and is no database.
    """

    sources: Mapping[str, PostgresSource | None] = field(default_factory=dict)
    docker: Docker | None = None
    though_down: bool = False

    def data(self, container: Container) -> tuple[str, ...]:
        """Where one has its data on this machine: as it says itself, else as its environment or its image has it."""
        directories = self._asked(container) or by_environment(container.environment)
        found = [path for path in on_this_machine(container.mounts, directories) if not os.path.isfile(path)]
        return tuple(dict.fromkeys(each for path in found for each in (path, os.path.realpath(path))))

    def _asked(self, container: Container) -> tuple[str, ...]:
        source = self.sources.get(container.name)
        if source is None or not container.goes_down:
            return ()
        try:
            facts = inspect(endpoint_of(source, container.name, self.docker))
        except BackupError:  # it need not answer: then its environment tells
            return ()
        return (*by_environment(container.environment, facts.data_directory), *facts.tablespaces)


@dataclass(slots=True)
class Users:
    """Containers that use what is replaced: `servers` can be stopped for it, the others prevent it.

    `servers` are in the order in which they are stopped, with what lives in them. `data` are the places on this machine
    where servers have data that the backup leaves out. `blocking` are the ids of those that prevent it.
    """

    servers: list[Container] = field(default_factory=list)
    obstacles: list[BackupError] = field(default_factory=list)
    blocking: set[str] = field(default_factory=set)
    data: list[str] = field(default_factory=list)


def find_users(everything: Sequence[Container], stopped: Collection[str], files: Files, servers: Servers) -> Users:
    """Who goes on while `files` change places and uses them.

    `stopped` are the ids of those that are stopped for it anyway. Servers are needed before and after, but not
    meanwhile: those that only have other files than their data there can be stopped. What a backup leaves out is
    carried over, and may be in use.
    """
    found = Users()
    names = _Names([place.live for place in files.places])
    for container in everything:
        if container.id in stopped or not _touches(container, files, names):
            continue
        used = next(_used(container, files, names), None)
        if container.name in servers.sources and (container.running or servers.though_down):
            data = servers.data(container)
            if at := next(_met(data, files), None):
                found.obstacles.append(_data_lies_there(container, *at, servers))
                found.blocking.add(container.id)
                continue
            found.data.extend(data)
        if not container.running or used is None:
            continue
        place, source = used
        what = f"{place.live} cannot be replaced now"
        if container.name not in servers.sources:
            paused = "is paused and" if container.paused else "runs and"
            why = f"The container {container.name} {paused} uses {source}"
            hint = f"Stop it (docker stop {container.name}), or add it to the job's `containers`"
            found.obstacles.append(BackupError(what, why, hint))
            found.blocking.add(container.id)
        elif reason := _unstoppable(container):
            why = f"The container {container.name}, which is to be stopped since it uses {source}, {reason}"
            found.obstacles.append(BackupError(what, why, _LET_IT_RUN))
            found.blocking.add(container.id)
        else:
            found.servers.append(container)
    _add_lodgers(found, everything, stopped)
    return found


def _add_lodgers(found: Users, everything: Sequence[Container], stopped: Collection[str]) -> None:
    """What lives in the servers goes down along with them; what must not be stopped prevents it."""
    hosts = lodgers(found.servers, everything)
    found.servers = [each for each in family(found.servers, everything) if each.goes_down and each.id not in stopped]
    for container in found.servers:
        if container.id in hosts and (reason := _unstoppable(container)):
            host = hosts[container.id].name
            why = f"The container {container.name}, which lives in {host} and would go down with it, {reason}"
            found.obstacles.append(BackupError(f"{host} cannot be stopped now", why, _LET_IT_RUN))


def _data_lies_there(container: Container, place: Place, path: str, servers: Servers) -> BackupError:
    what = f"{place.live} cannot be replaced now"
    why = f"The server in the container {container.name} has its data in {path}"
    hint = f"Stop it (docker stop {container.name})"
    if servers.though_down:
        why += ", and what was copied of it while it ran is no database"
        hint = (
            "Restore its databases alone (--database NAME), other files alone (--path PATH), or with --to DIR; "
            "and add it to the job's `exclude`"
        )
    return BackupError(what, why, hint)


def _unstoppable(container: Container) -> str:
    """Why a container cannot be stopped and started again, "" when it can."""
    if container.paused:
        return "is paused"
    if container.auto_remove:
        return "was started with --rm, so that Docker would remove it"
    return f"is managed by {container.manager}, which would start another one" if container.manager else ""


def server_sources(jobs: Iterable[Job], sources: Iterable[PostgresSource] = ()) -> dict[str, PostgresSource | None]:
    """The containers that databases of these jobs, and these sources, are in: by the first that names each."""
    every = (*sources, *(source for job in jobs for source in job.postgres))
    return {source.container: source for source in reversed(every) if source.container is not None}


def check_unused(docker: Docker, files: Files, act: Act) -> None:
    """BackupError when a container that runs uses what is replaced, though all that do should be down.

    Or when it can write to where an act keeps what comes and goes.
    """
    everything = docker.containers()
    users = find_users(everything, (), files, Servers())
    users.obstacles.extend(reaching_holders(act, everything, users.blocking))
    raise_all("What is restored cannot be replaced now", users.obstacles)


def check_not_lost(docker: Docker, lost: Sequence[str], servers: Collection[str], data: Sequence[str]) -> None:
    """BackupError when a container uses what goes with the replaced tree: something that a backup leaves out.

    `servers` are the names of those that are down just now, and will run again; `data` is where servers have theirs.
    """
    for path in lost:
        if any(inside(each, path) or inside(path, each) for each in data):
            hint = "Make the directory around it a part of the backup, or restore with --to DIR"
            why = "A server has its data there, and the backup has no directory for it"
            raise BackupError(f"{path} cannot be carried over", why, hint)
    names = _Names(lost)
    for container in docker.containers() if lost else ():
        sources = [name for mount in container.mounts for name in names.of(mount)]
        for path in lost:
            used = [source for source in sources if inside(source, path)]
            if used and (container.running or container.name in servers):
                raise BackupError(
                    f"{path} cannot be carried over",
                    f"The container {container.name} uses it, and the backup has no directory for it",
                    f"Stop it (docker stop {container.name}) and move its files, or restore with --to DIR",
                )


class _Names:
    """How what a container has mounted is called from some paths, be it mounted there under another name.

    A bind mount of what is replaced, or of a directory above, that has another name on this machine shows the same.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._table = mounts.mounts() if self._paths else ()
        self._spots = tuple((path, mounts.place(path, self._table)) for path in self._paths)

    def of(self, mount: ContainerMount) -> Iterator[str]:
        """Its own name first. What is mounted below it, too, can be written to through it."""
        if not mount.source or not self._paths:
            return
        source = os.path.realpath(mount.source)
        yield source
        shown = ways.spots(source, self._table)
        for spot in shown if mount.writable else shown[:1]:
            for path, place in self._spots:
                name = called(spot, path, place)
                if name is not None and name != source:
                    yield name


def _touches(container: Container, files: Files, names: _Names) -> bool:
    """Whether anything of a container is mounted from above, at or below a place."""
    sources = [name for mount in container.mounts for name in names.of(mount)]
    return any(inside(each, place.live) or inside(place.live, each) for each in sources for place in files.places)


def _met(paths: Iterable[str], files: Files) -> Iterator[tuple[Place, str]]:
    """Where paths lie above, at or below a place, but for what is carried over."""
    for path in paths:
        for place in files.places:
            if inside(place.live, path) or (inside(path, place.live) and not _left_out(path, place, files)):
                yield place, path


def _used(container: Container, files: Files, names: _Names) -> Iterator[tuple[Place, str]]:
    for mount in container.mounts:
        for name in names.of(mount):
            for place in files.places:
                if inside(place.live, name) and name != place.live:
                    if mount.writable:  # who only reads from above sees the new tree afterwards
                        yield place, mount.source
                elif inside(name, place.live) and not _left_out(name, place, files):
                    yield place, mount.source


def _left_out(path: str, place: Place, files: Files) -> bool:
    if files.keeping is not None and place.source not in files.keeping:
        return False
    excluded = excluded_below(place.source, files.exclude)
    parts = path[len(place.live) :].strip("/").split("/")
    return any(excluded("/".join(parts[: number + 1])) for number in range(len(parts)))
