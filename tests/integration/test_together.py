"""Runs that meet: two of one job, and two jobs that stop the same container."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants
from tests.support.job import LAST_WORDS, SLOW, App, Site, counting, held, reach, site, until
from tests.support.postgres import Server


@pytest.fixture
def bed(tmp_path: Path, engine: Engine) -> Iterator[Site]:
    with site(tmp_path, engine.url) as made:
        yield made


def slow_app(bed: Site, engine: Engine) -> App:
    return counting(engine, bed.data / "app", command=("sh", "-c", LAST_WORDS))


def job(bed: Site, *apps: App, **settings: Any) -> dict[str, Any]:
    return {"paths": [str(bed.data)], "containers": [app.name for app in apps], **settings}


def test_a_second_run_of_a_job_is_busy(bed: Site, engine: Engine) -> None:
    app = slow_app(bed, engine)
    bed.configure({"app": job(bed, app, **SLOW)})
    first = bed.init().start("run", "app")
    with held(bed, first, "*.cold-*.tar.zst"):
        bed.run("run", "app").failed(75, "The job app is busy", f"Process {first.pid}")
        bed.run("prune", "app").failed(75, "is busy")
        status = bed.run("status", "--json").json[0]
        assert (status["state"], status["result"]) == ("running", "running")
        bed.run("recover").succeeded()
        assert not app.running, "who holds the lock pays himself"
    bed.finish(first).succeeded()
    check_invariants(bed, up=[app])
    assert len(bed.ids()) == 1
    records = [path.read_text() for path in sorted(bed.state.glob("runs/app/*.json"))]
    assert '"result": "success"' in records[0]
    assert '"result": "busy"' in records[1]
    status = bed.run("status", "--json").json[0]
    assert (status["state"], status["result"]) == ("ok", "success"), "the busy one does not count"


def test_two_runs_that_begin_at_once(bed: Site, engine: Engine) -> None:
    app = counting(engine, bed.data / "app")
    bed.configure({"app": job(bed, app)})
    bed.init()
    both = [bed.finish(process) for process in [bed.start("run", "app") for _ in range(2)]]
    codes = sorted(done.code for done in both)
    assert codes in ([0, 75], [0, 0]), both  # unless one was over before the other began
    assert len(bed.ids()) == codes.count(0)
    assert len(list(bed.state.glob("runs/app/*.json"))) == 2
    check_invariants(bed, up=[app])


@pytest.mark.parametrize("patient", [True, False])
def test_two_jobs_that_share_a_container(bed: Site, engine: Engine, *, patient: bool) -> None:
    app = slow_app(bed, engine)
    bed.configure({"app": job(bed, app, **SLOW), "other": job(bed, app, lock_wait="1min" if patient else "1ms")})
    bed.init().run("run", "other").succeeded()  # so that it has little to do below
    first = bed.start("run", "app")
    with held(bed, first, "*.cold-*.tar.zst"):
        second = bed.start("run", "other")
        if patient:
            until(lambda: ".checkpoint" in bed.names("other"), "the second waits after its hot pass")
        else:
            bed.finish(second).failed(75, f"The container {app.name} is busy", f"Process {first.pid}")
    bed.finish(first).succeeded()
    if patient:
        bed.finish(second).succeeded()
    assert (len(bed.ids("app")), len(bed.ids("other"))) == (1, 2 if patient else 1)
    for name in ("app", "other"):
        check_invariants(bed, job=name, up=[app])


def test_jobs_that_name_containers_in_different_orders(bed: Site, engine: Engine) -> None:
    """They do not wait for each other for ever."""
    one, two = counting(engine, bed.data / "one"), counting(engine, bed.data / "two")
    bed.configure({"app": job(bed, one, two), "other": job(bed, two, one)})
    bed.init()
    for process in [bed.start("run", name) for name in ("app", "other")]:
        bed.finish(process).succeeded()
    for name in ("app", "other"):
        check_invariants(bed, job=name, up=[one, two])


def test_a_container_that_another_job_has_stopped_is_left_alone(bed: Site, engine: Engine, postgres: Server) -> None:
    """The first run started it and dumps; when it looks for its health, the second has stopped it again."""
    app = slow_app(bed, engine)
    rows = "CREATE TABLE item AS SELECT sha512(n::text::bytea) FROM generate_series(1, 30000) AS n"
    with postgres.database("shared", rows) as name:
        bed.configure(
            {
                "app": job(bed, app, **SLOW, postgres=[{"dsn": postgres.dsn(), "databases": [name]}], paths=[]),
                "other": job(bed, app, **SLOW),
            }
        )
        bed.init().run("run", "other").succeeded()
        first = bed.start("run", "app")
        with held(bed, first, "database.*"):
            second = bed.start("run", "other")
            reach(bed, second, "*.cold-*.tar.zst", "other")
            second.send_signal(signal.SIGSTOP)
        done = bed.finish(first).succeeded()
        assert "ended again" not in done.err
        bed.finish(second, signal.SIGCONT).succeeded()
        for each in ("app", "other"):
            check_invariants(bed, job=each, up=[app], postgres=postgres)


def test_several_jobs_one_after_another(bed: Site) -> None:
    """One that fails does not stop the next; the code is theirs in common, else 1."""
    gone, here = str(bed.path / "gone"), str(bed.data)
    bed.configure({"a": {"paths": [gone]}, "b": {"paths": [here]}, "c": {"paths": [gone]}})
    done = bed.init().run("run", "--all")
    assert done.code == 66
    assert len(done.errors) == 2
    assert done.out.split() == bed.ids("b")
    bed.configure({"a": {"paths": [gone]}, "b": {"paths": [here], "containers": ["nobody"]}}, docker="unix:///nowhere")
    assert bed.run("run", "b", "a").code == 1
    until(lambda: not list(bed.state.glob("spool/*")), "spools are gone")
