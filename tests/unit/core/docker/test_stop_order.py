"""The order in which containers are stopped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiveden_backup.core.docker.containers import Container
from hiveden_backup.core.docker.stop_order import lodgers, stop_order, stopped_before, untold

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
DEPENDS_ON = "com.docker.compose.depends_on"


def container(name: str, **fields: object) -> Container:
    known: dict[str, object] = {
        "id": f"{name:0<64}",
        "name": name,
        "image": "i",
        "image_id": "sha256:0",
        "status": "running",
        "running": True,
    }
    return Container(**(known | fields))  # type: ignore[arg-type]  # what a test gives is right


def service(name: str, depends_on: str = "", project: str = "app", number: int = 1) -> Container:
    labels = {PROJECT: project, SERVICE: name, DEPENDS_ON: depends_on}
    return container(f"{project}-{name}-{number}", labels=labels)


def names(containers: list[Container]) -> list[str]:
    return [one.name for one in containers]


@pytest.mark.parametrize(
    "label",
    [
        "db:service_healthy:true,redis:service_started:false",
        "db,redis",
        "redis,db",
        " db , redis ",
        "db:service_started",
    ],
)
def test_compose_dependents_go_first(label: str) -> None:
    web, db, stranger = service("web", label), service("db"), service("stranger")
    assert names(stop_order([db, stranger, web])) == ["app-stranger-1", "app-web-1", "app-db-1"]


def test_compose_services_of_another_project_are_strangers() -> None:
    web, other_db = service("web", "db"), service("db", project="other")
    assert names(stop_order([other_db, web])) == ["other-db-1", "app-web-1"]


def test_every_container_of_a_service_counts() -> None:
    first, second, db = service("web", "db", number=1), service("web", "db", number=2), service("db")
    assert names(stop_order([db, first, second])) == ["app-web-1", "app-web-2", "app-db-1"]


@pytest.mark.parametrize("field", ["network_mode", "pid_mode", "ipc_mode"])
@pytest.mark.parametrize("by", ["name", "id", "short id"])
def test_those_that_join_a_namespace_go_first(field: str, by: str) -> None:
    vpn = container("vpn")
    other = {"name": vpn.name, "id": vpn.id, "short id": vpn.id[:12]}[by]
    client = container("client", **{field: f"container:{other}"})
    assert names(stop_order([vpn, client])) == ["client", "vpn"]


@pytest.mark.parametrize("field", ["volumes_from", "links"])
def test_those_that_use_volumes_or_links_go_first(field: str) -> None:
    assert names(stop_order([container("data"), container("app", **{field: ("data",)})])) == ["app", "data"]


def test_other_modes_name_nobody() -> None:
    given = [container("host"), container("bridge"), container("web", network_mode="host", ipc_mode="private")]
    assert stop_order(given) == given


def test_chain_through_a_container_that_is_not_stopped() -> None:
    app = container("app", network_mode="container:proxy")
    proxy = container("proxy", volumes_from=("db",))
    db = container("db")
    assert names(stop_order([db, app])) == ["db", "app"]
    assert names(stop_order([db, app], [proxy, app])) == ["app", "db"]


def test_without_links_the_given_order_stays() -> None:
    given = [container(name) for name in ("z", "a", "m")]
    assert stop_order(given) == given


def test_nothing_to_stop() -> None:
    assert stop_order([]) == []


def test_circle_keeps_its_order_and_its_place() -> None:
    """Two that need each other go after who needs them, and before what they need."""
    one = container("one", volumes_from=("two",))
    two = container("two", volumes_from=("one", "base"))
    base, top = container("base"), container("top", network_mode="container:one")
    assert names(stop_order([base, two, one, top])) == ["top", "two", "one", "base"]
    assert names(stop_order([base, one, two, top])) == ["top", "one", "two", "base"]


def test_one_that_names_itself_needs_nobody() -> None:
    assert names(stop_order([container("self", links=("self",)), container("other")])) == ["self", "other"]


@given(st.integers(1, 9), st.data())
def test_nobody_stops_before_who_needs_it(count: int, data: st.DataObject) -> None:
    """For any tree of links without a circle, and any order in which they are given."""
    needs = [data.draw(st.sets(st.integers(0, number - 1))) if number else set() for number in range(count)]
    made = [
        container(f"c{number}", volumes_from=tuple(f"c{one}" for one in needed)) for number, needed in enumerate(needs)
    ]
    order = names(stop_order(data.draw(st.permutations(made))))
    assert sorted(order) == sorted(names(made))
    for number, needed in enumerate(needs):
        assert all(order.index(f"c{number}") < order.index(f"c{one}") for one in needed)


# ---- at once, or one after another -----------------------------------------------------------------------------------


def first(containers: list[Container]) -> dict[str, set[str]]:
    """By name: who is down before whom."""
    ordered = stop_order(containers)
    called = {one.id: one.name for one in containers}
    return {called[one]: {called[each] for each in before} for one, before in stopped_before(ordered).items()}


def test_what_nothing_links_waits_for_nobody() -> None:
    assert first([container(name) for name in "abc"]) == {"a": set(), "b": set(), "c": set()}


def test_who_is_needed_waits_for_all_that_need_it() -> None:
    web, db, stranger = service("web", "db"), service("db"), service("stranger")
    helper = container("helper", network_mode="container:app-web-1")
    assert first([db, web, stranger, helper]) == {
        "helper": set(),
        "app-stranger-1": set(),
        "app-web-1": {"helper"},
        "app-db-1": {"app-web-1", "helper"},
    }


def test_a_circle_has_a_beginning() -> None:
    one, two = container("one", volumes_from=("two",)), container("two", volumes_from=("one",))
    assert first([one, two]) == {"one": set(), "two": {"one"}}


def old(name: str, project: str = "app", **fields: object) -> Container:
    """As Compose 1 makes them: without a word on what they depend on."""
    return container(f"{project}_{name}_1", labels={PROJECT: project, SERVICE: name}, **fields)


def test_of_a_compose_that_does_not_tell_each_waits_for_the_one_before() -> None:
    web, db, cache = old("web"), old("db"), old("cache")
    other, single = old("x", "other"), container("single")
    given = [web, other, db, single, cache]
    assert untold(given) == [web, db, cache]
    assert first(given) == {
        "app_web_1": set(),
        "other_x_1": set(),
        "app_db_1": {"app_web_1"},
        "single": set(),
        "app_cache_1": {"app_db_1"},
    }


def test_what_is_known_goes_before_the_given_order() -> None:
    vpn = old("vpn")
    client = old("client", network_mode=f"container:{vpn.id}")
    assert first([vpn, client]) == {"app_client_1": set(), "app_vpn_1": {"app_client_1"}}


def test_a_compose_that_tells_of_one_tells_of_all() -> None:
    assert untold([old("web"), service("db")]) == []


@given(st.integers(1, 9), st.data())
def test_whoever_may_go_at_once_needs_nobody_who_is_up(count: int, data: st.DataObject) -> None:
    """For any links at all: there is always somebody who can go, and the order holds."""
    numbers = st.sets(st.integers(0, count - 1))
    made = [
        container(f"c{number}", volumes_from=tuple(f"c{one}" for one in data.draw(numbers))) for number in range(count)
    ]
    ordered = stop_order(made)
    before = stopped_before(ordered)
    seen: set[str] = set()
    for each in ordered:
        assert before[each.id] <= seen
        seen.add(each.id)


# ---- what goes along -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["network_mode", "pid_mode", "ipc_mode"])
def test_lodgers_of_lodgers_go_along(field: str) -> None:
    vpn = container("vpn")
    inner = container("inner", **{field: f"container:{vpn.id}"})
    deep = container("deep", **{field: f"container:{inner.name}"})
    stranger = container("stranger", network_mode="container:other", volumes_from=("vpn",), links=("vpn",))
    found = lodgers([vpn], [vpn, stranger, deep, inner])
    assert {one: host.name for one, host in found.items()} == {inner.id: "vpn", deep.id: "inner"}
    assert lodgers([vpn, inner], [vpn, deep, inner]) == {deep.id: inner}


def test_only_what_runs_goes_along() -> None:
    vpn = container("vpn")
    down = container("down", network_mode="container:vpn", running=False)
    paused = container("paused", network_mode="container:vpn", paused=True)
    assert lodgers([vpn], [vpn, down, paused]) == {}
    still = container("vpn", running=False)
    assert lodgers([still], [still, container("up", network_mode="container:vpn")]) == {}
