"""Docker as jobs need it: whether it makes sense to ask for it, and which containers may be stopped."""

import os
from collections.abc import Sequence

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import lodgers, stop_order
from hiveden_backup.core.errors import BackupError, raise_all
from hiveden_backup.host.docker.engine import Docker

_DEFAULT_DOCKER = "unix:///var/run/docker.sock"


def docker_may_be_there(address: str | None) -> bool:
    """Whether it makes sense to ask for Docker on a machine that may not have it."""
    kind, _, place = (address or os.environ.get("DOCKER_HOST") or _DEFAULT_DOCKER).partition("://")
    return kind != "unix" or os.path.exists(place)


def check_stoppable(job: Job, container: Container, host: str = "") -> None:
    """BackupError for a container that must not be stopped. `host` is the one that it lives in, and goes down with."""
    name = f"{container.name}, which lives in {host}," if host else container.name
    spare = f"take {host or 'it'} out of `containers`"
    if any(source.container == container.name for source in job.postgres):
        raise BackupError(
            f"The container {name} is both stopped and dumped",
            "Its server cannot be dumped while it is down",
            f"{spare[0].upper()}{spare[1:]}",
        )
    if container.auto_remove:
        raise BackupError(
            f"The container {name} was started with --rm",
            "Docker would remove it when it is stopped",
            f"Create it without --rm, or {spare}",
        )
    if container.manager:
        raise BackupError(
            f"The container {name} is managed by {container.manager}",
            f"{container.manager} would start another one in its place when it is stopped: two would write at once",
            f"{spare[0].upper()}{spare[1:]}; databases can be dumped while they run",
        )


def check_all_stoppable(job: Job, containers: Sequence[Container]) -> None:
    """BackupError for all of the job's containers, and of what lives in them, that must not be stopped."""
    hosts = lodgers([each for each in containers if each.name in job.containers], containers)
    errors: list[BackupError] = []
    for container in containers:
        host = hosts.get(container.id)
        try:
            check_stoppable(job, container, host.name if host is not None else "")
        except BackupError as error:
            errors.append(error)
    raise_all("Some containers must not be stopped", errors)


def all_to_stop(docker: Docker, names: Sequence[str]) -> tuple[list[Container], tuple[Container, ...]]:
    """What these names are now, with what goes down along with them, in their order; and all containers that there are.

    NotFoundError has the closest name.
    """
    everything = docker.containers()
    by_name = {container.name: container for container in everything}
    return family([by_name.get(name) or docker.container(name) for name in names], everything), everything


def family(containers: Sequence[Container], everything: Sequence[Container]) -> list[Container]:
    """These and what lives in them, in the order in which to stop them."""
    along = lodgers(containers, everything)
    return stop_order([*containers, *(each for each in everything if each.id in along)], everything)


def existing(docker: Docker, names: Sequence[str]) -> tuple[list[Container], list[str]]:
    """Those containers that there are, and what lives in them, in their stop order; and the names of the others."""
    everything = docker.containers() if names else ()
    by_name = {container.name: container for container in everything}
    found = [by_name[name] for name in names if name in by_name]
    return family(found, everything), [name for name in names if name not in by_name]
