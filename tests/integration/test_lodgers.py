"""What lives in a stopped container's namespaces goes down and comes back with it, named by the job or not."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dockerd import Engine, unique_name
from tests.support.invariants import check_invariants
from tests.support.job import App, Site, counting, site
from tests.support.validation import check, refused


@pytest.fixture
def bed(tmp_path: Path, engine: Engine) -> Iterator[Site]:
    with site(tmp_path, engine.url) as made:
        yield made


def stack(bed: Site, engine: Engine, **options: Any) -> tuple[App, App, App]:
    """A VPN, what is in its network, and what is in that one's processes; the job names the VPN alone."""
    vpn = counting(engine, bed.data / "vpn", **options)
    inner = counting(engine, bed.data / "inner", network_mode=f"container:{vpn.name}")
    deep = counting(engine, bed.data / "deep", pid_mode=f"container:{inner.name}")
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [vpn.name]}})
    bed.init()
    return vpn, inner, deep


def same_network(one: App, other: App) -> bool:
    def namespace(app: App) -> str:
        return str(Path(f"/proc/{app.engine.state(app.name)['Pid']}/ns/net").readlink())

    return namespace(one) == namespace(other)


def test_they_go_along_and_it_is_said(bed: Site, engine: Engine) -> None:
    vpn, inner, deep = stack(bed, engine)
    before = {app.name: app.started_at() for app in (vpn, inner, deep)}
    messages = [row["message"] for row in check(bed) if row["status"] == "OK"]
    assert f"{inner.name} lives in {vpn.name}, and is stopped and started along with it" in messages
    assert f"{deep.name} lives in {inner.name}, and is stopped and started along with it" in messages
    plan = bed.run("run", "app", "--dry-run").succeeded().out
    assert f"stop {deep.name}, {inner.name}, {vpn.name}" in plan
    done = bed.run("run", "app").succeeded()
    check_invariants(bed, up=[vpn, inner, deep])
    assert [each["name"] for each in bed.manifest()["containers"]] == [deep.name, inner.name, vpn.name]
    assert vpn.started_at() < inner.started_at() < deep.started_at()
    assert all(app.started_at() != before[app.name] for app in (vpn, inner, deep))
    assert all(f"Stopped container {app.name}" in done.err for app in (vpn, inner, deep)), done.err
    assert same_network(vpn, inner)


def test_one_that_shares_its_memory(bed: Site, engine: Engine) -> None:
    base = counting(engine, bed.data / "base", ipc_mode="shareable")
    guest = counting(engine, bed.data / "guest", ipc_mode=f"container:{base.name}")
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [base.name]}})
    bed.init().run("run", "app").succeeded()
    assert [each["name"] for each in bed.manifest()["containers"]] == [guest.name, base.name]
    check_invariants(bed, up=[base, guest])


def test_one_that_was_down_stays_so(bed: Site, engine: Engine) -> None:
    vpn, inner, deep = stack(bed, engine)
    for app in (deep, inner):
        engine.api.stop(app.name)
    bed.run("run", "app").succeeded()
    assert [each["name"] for each in bed.manifest()["containers"]] == [vpn.name]
    check_invariants(bed, up=[vpn], down=[inner, deep])


def test_one_that_only_mounts_the_same_volumes_goes_on(bed: Site, engine: Engine) -> None:
    base = counting(engine, bed.data / "base")
    other = counting(engine, bed.data / "other", volumes_from=[f"{base.name}:ro"])
    before = other.started_at()
    bed.configure({"app": {"paths": [str(bed.data / "base")], "containers": [base.name]}})
    bed.init().run("run", "app").succeeded()
    assert other.started_at() == before
    check_invariants(bed, up=[base, other])


@pytest.mark.parametrize(
    "point",
    [
        *("owe@3", "stop@2", "cold", "start@2"),
        *(pytest.param(point, marks=pytest.mark.slow) for point in ("owe@2", "stop", "stop@3", "start", "settle")),
    ],
)
def test_killed_with_some_of_them_down(bed: Site, engine: Engine, point: str) -> None:
    apps = stack(bed, engine)
    assert bed.run("run", "app", failpoint=f"{point}:kill").code == -signal.SIGKILL
    assert bed.owed()
    bed.run("recover").succeeded()
    check_invariants(bed, up=apps, swept=False)
    bed.run("run", "app").succeeded()
    check_invariants(bed, up=apps)


def test_asked_to_end_while_they_stop(bed: Site, engine: Engine) -> None:
    apps = stack(bed, engine)
    bed.run("run", "app", failpoint="stop@2:error").failed(1, "The fail point stop was hit")
    check_invariants(bed, up=apps)


def test_a_lodger_that_would_be_removed(bed: Site, engine: Engine) -> None:
    vpn = counting(engine, bed.data / "vpn")
    guest = counting(engine, bed.data / "guest", network_mode=f"container:{vpn.name}", auto_remove=True)
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [vpn.name]}})
    bed.init()
    refused(bed, 1, f"The container {guest.name}, which lives in {vpn.name}, was started with --rm")
    check_invariants(bed, up=[vpn, guest])


def test_a_lodger_that_is_dumped(bed: Site, engine: Engine) -> None:
    vpn = counting(engine, bed.data / "vpn")
    name = engine.postgres(name=unique_name("pg"), network_mode=f"container:{vpn.name}")
    bed.configure(
        {"app": {"paths": [str(bed.data)], "containers": [vpn.name], "postgres": [{"container": name}]}},
    )
    bed.init()
    refused(bed, 1, f"The container {name}, which lives in {vpn.name}, is both stopped and dumped")


def test_a_restore_in_place_and_its_undo(bed: Site, engine: Engine) -> None:
    apps = stack(bed, engine)
    bed.run("run", "app").succeeded()
    (bed.data / "new").write_text("made since")
    names = sorted(app.name for app in apps)
    preview = bed.run("restore", "app/latest", "--in-place", "--json").json
    assert sorted(preview["containers"]) == names
    for command in (("restore", "app/latest", "--in-place", "--yes"), ("undo", "app", "--yes")):
        before = [app.started_at() for app in apps]
        bed.run(*command).succeeded()
        assert all(app.started_at() != moment for app, moment in zip(apps, before, strict=True))
        check_invariants(bed, up=apps)
        assert same_network(apps[0], apps[1])
    assert (bed.data / "new").read_text() == "made since"


@pytest.mark.parametrize("point", ["stop", "commit", "swap"])
def test_a_restore_in_place_that_is_killed(bed: Site, engine: Engine, point: str) -> None:
    apps = stack(bed, engine)
    bed.run("run", "app").succeeded()
    assert bed.run("restore", "app/latest", "--in-place", "--yes", failpoint=f"{point}:kill").code == -signal.SIGKILL
    bed.run("recover").succeeded()
    check_invariants(bed, up=apps)
    assert same_network(apps[0], apps[1])
