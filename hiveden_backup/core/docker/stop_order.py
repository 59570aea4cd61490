"""In which order containers are stopped: those that need others before the ones they need; and what goes along."""

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


def stopped_before(ordered: Sequence[Container], others: Iterable[Container] = ()) -> dict[str, frozenset[str]]:
    """For each id of what `stop_order` gave, the ids of those that are to be down first. The rest may go at once.

    Where nothing tells what needs what (`untold`), each waits for the one before it. There are no circles.
    """
    known = {container.id: container for container in (*ordered, *others)}
    dependents = _dependents({each.id: _needs(each, tuple(known.values())) for each in known.values()})
    earlier: set[str] = set()
    last_of: dict[str, str] = {}
    before = {}
    unknown = {container.id for container in untold(ordered)}
    for container in ordered:
        first = dependents[container.id] & earlier
        if container.id in unknown:
            project = container.labels[_PROJECT]
            first |= {last_of[project]} if project in last_of else set()
            last_of[project] = container.id
        before[container.id] = frozenset(first)
        earlier.add(container.id)
    return before


def untold(containers: Iterable[Container]) -> list[Container]:
    """Those that go down with others of their Compose project, which does not tell what depends on what.

    Compose 1 does not write it down.
    """
    projects: dict[str, list[Container]] = {}
    for container in containers:
        if container.goes_down and _PROJECT in container.labels:
            projects.setdefault(container.labels[_PROJECT], []).append(container)
    silent = (each for each in projects.values() if not any(_DEPENDS_ON in container.labels for container in each))
    return [container for project in silent if len(project) > 1 for container in project]


def lodgers(hosts: Iterable[Container], everything: Iterable[Container]) -> dict[str, Container]:
    """What must go down along with `hosts`: by id, each with the container that it lives in.

    They run in its network, its processes' or its shared memory's namespace, directly or through another lodger. When
    that one ends they are cut off, or killed.
    """
    known = [each for each in everything if each.goes_down]
    found: dict[str, Container] = {}
    given = {host.id for host in hosts}
    ahead = [host for host in hosts if host.goes_down]
    while ahead:
        host = ahead.pop(0)
        for each in known:
            shared = (mode.removeprefix(_SHARED) for mode in _modes(each) if mode.startswith(_SHARED))
            if each.id not in given and each.id != host.id and any(_is_called(host, name) for name in shared):
                given.add(each.id)
                found[each.id] = host
                ahead.append(each)
    return found


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
