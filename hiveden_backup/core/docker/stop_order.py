"""In which order containers are stopped: those that need others before the ones they need."""

from collections.abc import Iterable, Sequence

from hiveden_backup.core.docker.containers import Container

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_DEPENDS_ON = "com.docker.compose.depends_on"
_SHARED = "container:"


def stop_order(containers: Sequence[Container], others: Iterable[Container] = ()) -> list[Container]:
    """`containers`, dependents first; the start order is the reverse. Where nothing links two, their order is kept.

    `others` are containers that are not stopped but may lie between: with A needing B needing C, A goes before C
    although only those two are stopped. A circle is no error: its members keep the order they were given in.
    """
    known = {container.id: container for container in (*containers, *others)}
    needs = {container.id: _needs(container, tuple(known.values())) for container in known.values()}
    dependents = _dependents(needs)
    # Who needs something, directly or not, has strictly fewer dependents than that (outside of a circle).
    return sorted(containers, key=lambda container: len(dependents[container.id]))


def _needs(container: Container, known: Sequence[Container]) -> set[str]:
    """The ids of those that `container` names."""
    named = {mode.removeprefix(_SHARED) for mode in _modes(container) if mode.startswith(_SHARED)}
    named.update(container.volumes_from, container.links)
    services = _services(container.labels.get(_DEPENDS_ON, ""))
    project = container.labels.get(_PROJECT)
    return {
        other.id
        for other in known
        if other.id != container.id
        and (
            any(_is_called(other, name) for name in named)
            or (
                project is not None
                and other.labels.get(_PROJECT) == project
                and other.labels.get(_SERVICE, "") in services
            )
        )
    }


def _modes(container: Container) -> tuple[str, str, str]:
    return container.network_mode, container.pid_mode, container.ipc_mode


def _services(label: str) -> frozenset[str]:
    """The services in `db:service_healthy:true,redis:service_started:false`, or in the older `db,redis`."""
    return frozenset(entry.partition(":")[0].strip() for entry in label.split(",")) - {""}


def _is_called(container: Container, name: str) -> bool:
    return name in (container.name, container.id) or (len(name) >= 12 and container.id.startswith(name))  # noqa: PLR2004 - the length of a short id


def _dependents(needs: dict[str, set[str]]) -> dict[str, set[str]]:
    """For each id itself and all that need it, directly or through others."""
    result = {one: {one} for one in needs}
    for one in needs:
        ahead = [one]
        while ahead:
            for needed in needs[ahead.pop()]:
                if one not in result[needed]:
                    result[needed].add(one)
                    ahead.append(needed)
    return result
