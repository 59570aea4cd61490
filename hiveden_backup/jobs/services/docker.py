"""Docker as jobs need it: whether it makes sense to ask for it, and which containers may be stopped."""

import os

from hiveden_backup.core.config.values import Job
from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.errors import BackupError

_DEFAULT_DOCKER = "unix:///var/run/docker.sock"


def docker_may_be_there(address: str | None) -> bool:
    """Whether it makes sense to ask for Docker on a machine that may not have it."""
    kind, _, place = (address or os.environ.get("DOCKER_HOST") or _DEFAULT_DOCKER).partition("://")
    return kind != "unix" or os.path.exists(place)


def check_stoppable(job: Job, container: Container) -> None:
    """BackupError for a container that must not be stopped."""
    if any(source.container == container.name for source in job.postgres):
        raise BackupError(
            f"The container {container.name} is both stopped and dumped",
            "Its server cannot be dumped while it is down",
            "Take it out of `containers`",
        )
    if container.auto_remove:
        raise BackupError(
            f"The container {container.name} was started with --rm",
            "Docker would remove it when it is stopped",
            "Create it without --rm, or take it out of `containers`",
        )
