"""Docker that is away, hangs or refuses while containers are down: what ran runs again, and nothing else is claimed."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.docker_proxy import DROP, FORBIDDEN, GATEWAY, HANG, PASS, Proxy, asked_to, proxy
from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants
from tests.support.job import COUNT, App, Site, counting, site, stands_still, until
from tests.support.validation import said

MISSING = "404 Not Found"


@pytest.fixture
def through(engine: Engine, tmp_path: Path) -> Iterator[Proxy]:
    with proxy(engine.socket, tmp_path / "proxy.sock") as made:
        yield made


@pytest.fixture
def bed(tmp_path: Path, through: Proxy) -> Iterator[Site]:
    with site(tmp_path, through.url) as made:
        yield made


def job(bed: Site, *apps: App, **settings: object) -> None:
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [app.name for app in apps], **settings}})
    bed.init()


class Once:
    """A rule: `then` is called with the first request to `verb`, which meets `answer`."""

    def __init__(self, verb: str, answer: str, then: Callable[[], object]) -> None:
        self._rule = asked_to(verb, FORBIDDEN)
        self._answer = answer
        self._then = then
        self._met = False

    def __call__(self, method: str, path: str) -> str:
        if self._met or self._rule(method, path) == PASS:
            return PASS
        self._met = True
        self._then()
        return self._answer


# ---- away ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [DROP, GATEWAY, PASS])
def test_away_for_a_while_at_the_start(bed: Site, through: Proxy, engine: Engine, answer: str) -> None:
    """As when a proxy or the Engine is restarted at that moment, or right after the first start."""
    app, other = counting(engine, bed.data / "app"), counting(engine, bed.data / "other")
    job(bed, app, other, start_timeout="30s")
    through.rule = Once("start", answer, lambda: through.away(3))
    bed.run("run", "app").succeeded()
    check_invariants(bed, up=[app, other])


def test_away_for_too_long(bed: Site, through: Proxy, engine: Engine) -> None:
    """The backup is there; what is down is named, with the way out, and so it is in `status`."""
    app, other = counting(engine, bed.data / "app"), counting(engine, bed.data / "other")
    job(bed, app, other, start_timeout="1s")
    through.rule = Once("start", DROP, through.down)
    done = bed.run("run", "app")
    assert done.code == 1, done.err
    assert done.out.split() == bed.ids()
    assert len(done.errors) == 2, done.err
    for name in (app.name, other.name):
        assert f"The container {name} could not be started again" in done.err
    assert "hiveden-backup recover --job app" in done.err
    assert bed.owed() == sorted(f"app/{each.name}" for each in (app, other))
    (row,) = bed.run("status", "--json").json
    for name in (app.name, other.name):
        assert any(name in reason and "hiveden-backup recover" in reason for reason in row["attention"]), row
    through.up()
    bed.run("recover").succeeded()
    check_invariants(bed, up=[app, other])
    (row,) = bed.run("status", "--json").json
    assert row["attention"] == []


def test_one_more_attempt_at_the_end_of_the_run(bed: Site, through: Proxy, engine: Engine) -> None:
    app = counting(engine, bed.data / "app")
    job(bed, app, start_timeout="1s")
    through.rule = asked_to("start", GATEWAY)
    process = bed.start("run", "app", failpoint="manifest:hold")
    stands_still(process)
    through.rule = lambda _method, _path: PASS
    done = bed.finish(process, signal.SIGCONT)
    assert (done.code, done.errors) == (0, []), done.err
    assert f"Container {app.name} did not start at first, and runs now" in done.err
    check_invariants(bed, up=[app])


def test_an_engine_that_hangs_costs_its_time_once(bed: Site, through: Proxy, engine: Engine) -> None:
    """Not for each container."""
    apps = [counting(engine, bed.data / name) for name in ("a", "b", "c")]
    job(bed, *apps, start_timeout="2s")
    through.rule = asked_to("start", HANG)
    began = time.monotonic()
    done = bed.run("run", "app")
    assert time.monotonic() - began < 45
    assert done.code == 1, done.err
    assert len(done.errors) == 3
    through.rule = lambda _method, _path: PASS
    bed.run("recover").succeeded()
    check_invariants(bed, up=apps)


def test_the_engine_is_restarted_while_containers_are_down(tmp_path: Path, private_dockerd: Engine) -> None:
    with site(tmp_path, private_dockerd.url) as bed:
        app = counting(private_dockerd, bed.data / "app")
        job(bed, app, start_timeout="1m")
        process = bed.start("run", "app", failpoint="start@1:hold")
        stands_still(process)
        private_dockerd.stop()
        process.send_signal(signal.SIGCONT)
        time.sleep(1)
        private_dockerd.start()
        bed.finish(process).succeeded()
        check_invariants(bed, up=[app])


def test_away_at_the_stop(bed: Site, through: Proxy, engine: Engine) -> None:
    """Nobody knows whether Docker heard it; it is watched, and nothing is said of one that was up all the time."""
    app = counting(engine, bed.data / "app")
    job(bed, app, stop_timeout="1s", start_timeout="30s")
    before = app.started_at()
    through.rule = Once("stop", DROP, lambda: through.away(2))
    done = bed.run("run", "app").failed(69, "Docker does not answer")
    assert f"Container {app.name} was not stopped" in done.err
    assert app.started_at() == before
    check_invariants(bed, up=[app])


# ---- refused ---------------------------------------------------------------------------------------------------------


def test_a_refused_stop_fails_at_once(bed: Site, through: Proxy, engine: Engine) -> None:
    """By a proxy that only lets look. The container was never down, and nobody says so."""
    app, other = counting(engine, bed.data / "app"), counting(engine, bed.data / "other")
    job(bed, app, other, stop_timeout="30s")
    before = [each.started_at() for each in (app, other)]
    assert said(bed, "WARN") == []
    through.rule = asked_to("stop", FORBIDDEN)
    (message,) = said(bed, "WARN")
    assert "may forbid to stop and start containers" in message
    began = time.monotonic()
    done = bed.run("run", "app").failed(77, "forbids it", "proxy")
    assert time.monotonic() - began < 15
    assert "Started" not in done.err.replace("app: Started\n", ""), done.err
    assert "down for" not in done.err
    assert bed.owed() == []
    assert [each.started_at() for each in (app, other)] == before
    check_invariants(bed, up=[app, other])


def test_one_of_two_refused(bed: Site, through: Proxy, engine: Engine) -> None:
    app, other = counting(engine, bed.data / "app"), counting(engine, bed.data / "other")
    job(bed, app, other)
    before = app.started_at(), other.started_at()
    identifier = engine.api.inspect_container(app.name)["Id"]
    through.rule = lambda method, path: FORBIDDEN if method == "POST" and identifier in path else PASS
    done = bed.run("run", "app").failed(77, app.name)
    assert f"Container {app.name} was not stopped" in done.err
    assert app.started_at() == before[0]
    assert other.started_at() != before[1]
    check_invariants(bed, up=[app, other])


def test_gone_right_before_its_stop(bed: Site, through: Proxy, engine: Engine) -> None:
    app, other = counting(engine, bed.data / "app"), counting(engine, bed.data / "other")
    job(bed, app)
    through.rule = Once("stop", MISSING, lambda: engine.api.remove_container(app.name, force=True))
    done = bed.run("run", "app").failed(66, app.name)
    assert "It was removed before it was stopped" in done.err
    assert bed.owed() == []
    check_invariants(bed, up=[other])


def test_stopped_by_somebody_else_before_its_turn(bed: Site, through: Proxy, engine: Engine) -> None:
    """Who stopped it knows why: it stays so."""
    db = counting(engine, bed.data / "db")
    web = counting(engine, bed.data / "web", volumes_from=[f"{db.name}:ro"])
    job(bed, db, web)
    through.rule = Once("stop", PASS, lambda: engine.api.stop(db.name))
    done = bed.run("run", "app").succeeded()
    assert f"Container {db.name} is exited and stays so" in done.err
    assert [each["name"] for each in bed.manifest()["containers"]] == [web.name]
    check_invariants(bed, up=[web], down=[db])


def test_a_proxy_that_asks_twice_to_stop(bed: Site, through: Proxy, engine: Engine) -> None:
    """Docker says the second time that it was down: and yet it is ours to start."""
    app = counting(engine, bed.data / "app")
    job(bed, app)
    through.rule = Once("stop", PASS, lambda: engine.api.stop(app.name))
    bed.run("run", "app").succeeded()
    assert [each["name"] for each in bed.manifest()["containers"]] == [app.name]
    check_invariants(bed, up=[app])


# ---- what was not well before ----------------------------------------------------------------------------------------


def test_one_that_was_unhealthy_is_not_waited_for(bed: Site, engine: Engine) -> None:
    check = {"test": ["CMD-SHELL", "false"], "interval": 100_000_000, "timeout": 30 * 10**9, "retries": 1}
    app = counting(engine, bed.data / "app", config={"healthcheck": check})
    until(lambda: engine.state(app.name)["Health"]["Status"] == "unhealthy", "it is unhealthy")
    job(bed, app, start_timeout="5m")
    assert any(f"{app.name} is unhealthy" in message for message in said(bed, "WARN"))
    began = time.monotonic()
    bed.run("run", "app").succeeded()
    assert time.monotonic() - began < 60
    check_invariants(bed, up=[app])


def test_one_that_restarted_again_and_again_is_not_waited_for(bed: Site, engine: Engine) -> None:
    """And after SIGKILL, `recover` gives it its start and owes it no more."""
    name = engine.run(("sh", "-c", "sleep 0.3; exit 4"), restart_policy={"Name": "always"})
    until(lambda: engine.api.inspect_container(name)["RestartCount"] > 2, "it restarts")
    bed.configure({"app": {"paths": [str(bed.data)], "containers": [name], "start_timeout": "5m"}})
    bed.init()
    assert any(f"{name} restarts again and again" in message for message in said(bed, "WARN"))
    began = time.monotonic()
    bed.run("run", "app").succeeded()
    assert time.monotonic() - began < 60
    assert engine.is_running(name) or engine.state(name)["Restarting"]
    assert bed.owed() == []
    until(lambda: engine.api.inspect_container(name)["RestartCount"] > 2, "it restarts again")
    assert bed.run("run", "app", failpoint="cold:kill").code == -9
    assert not engine.is_running(name)
    bed.run("recover").succeeded()
    assert engine.is_running(name) or engine.state(name)["Restarting"]
    assert bed.owed() == []


def test_one_that_restarts_again_and_again_since_the_run(bed: Site, engine: Engine) -> None:
    """It runs for longer each time than a start is watched, and so it is seen at the end."""
    command = f"[ ! -e /data/sick ] || {{ sleep 2; exit 3; }}\n{COUNT.replace('exit 0', 'touch /data/sick; exit 0')}"
    app = counting(
        engine,
        bed.data / "app",
        command=("sh", "-c", command),
        restart_policy={"Name": "always", "MaximumRetryCount": 0},
    )
    job(bed, app, start_timeout="6s")
    process = bed.start("run", "app", failpoint="settle:hold")
    stands_still(process)
    time.sleep(3)
    done = bed.finish(process, signal.SIGCONT).failed(1, f"The container {app.name} is not steadily running")
    assert done.out.split() == bed.ids()


@pytest.mark.parametrize(
    ("label", "manager"),
    [
        ("com.docker.swarm.task", "Swarm"),
        ("io.kubernetes.pod.name", "Kubernetes"),
        ("com.hashicorp.nomad.alloc_id", "Nomad"),
    ],
)
def test_what_something_else_manages_is_refused(bed: Site, engine: Engine, label: str, manager: str) -> None:
    app = counting(engine, bed.data / "app", config={"labels": {label: "x"}})
    job(bed, app)
    (message,) = said(bed, "FAIL")
    assert f"The container {app.name} is managed by {manager}" in message
    bed.run("run", "app").failed(1, f"{manager} would start another one in its place")
    check_invariants(bed, up=[app])
