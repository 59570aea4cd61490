"""Where the files of a server that runs in a container are on this machine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hiveden_backup.core.docker.containers import ContainerMount
from hiveden_backup.core.paths import inside

_IMAGE_HAS_IT_IN = "/var/lib/postgresql"


def by_environment(environment: Mapping[str, str], data_directory: str = "") -> tuple[str, ...]:
    """The directories of a server's data in its container, as the images go by its environment.

    `data_directory` is what the server itself says, "" when it does not.
    """
    data = data_directory or environment.get("PGDATA") or _IMAGE_HAS_IT_IN
    return tuple(path for path in (data, environment.get("POSTGRES_INITDB_WALDIR", "")) if path.startswith("/"))


def on_this_machine(mounts: Sequence[ContainerMount], directories: Iterable[str]) -> Iterator[str]:
    """The paths on this machine of a container's directories, and of what else it writes to that is mounted in them."""
    for directory in directories:
        above = [mount for mount in mounts if inside(directory, mount.destination)]
        nearest = max(above, key=lambda mount: len(mount.destination), default=None)
        if nearest is not None and nearest.source:
            yield nearest.source + directory[len(nearest.destination.rstrip("/")) :]
        for mount in mounts:
            if mount not in above and inside(mount.destination, directory) and mount.writable and mount.source:
                yield mount.source
