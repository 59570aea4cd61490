"""What is known of a container and of a volume, as Docker described them at one moment."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hiveden_backup.core.dataclass import dataclass, field

_GOOD_START = timedelta(seconds=10)  # what Docker takes for one: its next restart is at once again
_MANAGERS = {
    "com.docker.swarm.task": "Swarm",
    "com.docker.swarm.service.name": "Swarm",
    "io.kubernetes.pod.name": "Kubernetes",
    "com.hashicorp.nomad.alloc_id": "Nomad",
}


@dataclass(frozen=True, slots=True)
class ContainerMount:
    """A place in a container that is kept elsewhere.

    `kind` is `bind`, `volume`, `tmpfs` or what else Docker calls it; `name` is the volume's, else "".
    `source` is the path on this machine ("" where there is none), `destination` the one in the container.
    """

    kind: str
    name: str
    source: str
    destination: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume. `mountpoint` is its path on this machine; with `options` it is mounted only while it is used."""

    name: str
    mountpoint: str
    driver: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Container:
    """A container. As in Docker, `running` stays true for a paused one, and for one that waits to be restarted.

    `status` is Docker's word (`created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`); `pid` is the
    main process's on this machine, 0 when there is none; `started_at` and `finished_at` are Docker's own texts.
    `restarts` counts those by its restart policy since somebody last started it. `health` is `starting`, `healthy` or
    `unhealthy`, None without a health check. `exit_code` and `error` tell of the last end. `addresses` are those on
    Docker's networks. The modes and `volumes_from` may name other containers, by name or id; `links` are such names.
    """

    id: str
    name: str
    image: str
    image_id: str
    status: str
    running: bool
    paused: bool = False
    restarting: bool = False
    auto_remove: bool = False
    started_at: str = ""
    finished_at: str = ""
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    restarts: int = 0
    health: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    environment: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    network_mode: str = ""
    pid_mode: str = ""
    ipc_mode: str = ""
    volumes_from: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    mounts: tuple[ContainerMount, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether its main process exists now: it runs or is paused, and does not wait for a restart."""
        return self.running and not self.restarting

    @property
    def goes_down(self) -> bool:
        """Whether a run that is to stop it does so; one that does not run, or is paused, stays as it is."""
        return self.running and not self.paused

    @property
    def manager(self) -> str:
        """What would start another one in its place: `Swarm`, say; "" for most."""
        return next((_MANAGERS[label] for label in self.labels if label in _MANAGERS), "")

    def ended_before(self, moment: datetime) -> bool:
        """Whether it was down by then."""
        return not self.running and _moment(self.finished_at) < moment

    def restless(self, now: datetime) -> bool:
        """Whether it restarts again and again: it waits for that, or has only just been restarted."""
        return self.restarting or (self.running and self.restarts > 0 and now - _moment(self.started_at) < _GOOD_START)


def container(record: Mapping[str, Any]) -> Container:
    """From what `docker inspect` says of a container."""
    state, config, host = record["State"], record["Config"], record["HostConfig"]
    health = (state.get("Health") or {}).get("Status")
    return Container(
        id=record["Id"],
        name=_plain(record["Name"]),
        image=config["Image"],
        image_id=record["Image"],
        status=state["Status"],
        running=state["Running"],
        paused=state["Paused"],
        restarting=state["Restarting"],
        auto_remove=host.get("AutoRemove", False),
        started_at=state["StartedAt"],
        finished_at=state["FinishedAt"],
        pid=state["Pid"],
        exit_code=state["ExitCode"],
        error=state["Error"],
        restarts=record.get("RestartCount", 0),
        health=None if health in (None, "", "none") else health,
        labels=dict(config["Labels"] or {}),
        environment=dict(_variables(config["Env"] or ())),
        network_mode=host.get("NetworkMode") or "",
        pid_mode=host.get("PidMode") or "",
        ipc_mode=host.get("IpcMode") or "",
        volumes_from=tuple(_without_mode(entry) for entry in host.get("VolumesFrom") or ()),
        links=tuple(_plain(entry.partition(":")[0]) for entry in host.get("Links") or ()),
        mounts=tuple(sorted((_mount(entry) for entry in record["Mounts"] or ()), key=lambda mount: mount.destination)),
        addresses=tuple(_addresses(record)),
    )


def volume(record: Mapping[str, Any]) -> Volume:
    """From what `docker volume inspect` says of a volume."""
    return Volume(
        record["Name"],
        record["Mountpoint"],
        record["Driver"],
        dict(record.get("Options") or {}),
        dict(record.get("Labels") or {}),
    )


def _addresses(record: Mapping[str, Any]) -> Iterator[str]:
    networks = (record.get("NetworkSettings") or {}).get("Networks") or {}
    return (network["IPAddress"] for network in networks.values() if network.get("IPAddress"))


def _mount(record: Mapping[str, Any]) -> ContainerMount:
    return ContainerMount(
        record["Type"], record.get("Name", ""), record.get("Source", ""), record["Destination"], writable=record["RW"]
    )


def _moment(text: str) -> datetime:
    """A time as Docker writes it; one that cannot be read is long ago."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _plain(name: str) -> str:
    return name.removeprefix("/")


def _without_mode(entry: str) -> str:
    """The container in `NAME` or `NAME:ro`."""
    return _plain(entry.partition(":")[0])


def _variables(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        name, _, value = entry.partition("=")
        yield name, value
