"""Runs that are ended by a signal, politely or not: services come back and nothing half-done is left."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.dockerd import Engine
from tests.support.invariants import check_backups, check_invariants, check_nothing_runs
from tests.support.job import COUNT, FAST, LAST_WORDS, SLOW, App, Site, counting, large, reach, site, until
from tests.support.postgres import Server

SLOW_TO_END = COUNT.replace("exit 0", "touch /data/asked; sleep 2; exit 0")


@dataclass(frozen=True)
class Bed:
    """A job with a container and a database, which ran once: `kept`."""

    site: Site
    app: App
    postgres: Server
    kept: list[str]

    def check(self, *, swept: bool = True) -> None:
        check_invariants(self.site, up=[self.app], kept=self.kept, postgres=self.postgres, swept=swept)

    def works_again(self) -> None:
        self.site.change(**FAST)
        self.site.run("run", "app").succeeded()
        self.check()


@pytest.fixture
def bed(tmp_path: Path, engine: Engine, postgres: Server) -> Iterator[Bed]:
    with (
        site(tmp_path, engine.url) as made,
        postgres.database("shop", "CREATE TABLE item (t text)") as name,
    ):
        app = counting(engine, made.data / "app", command=("sh", "-c", LAST_WORDS))
        made.configure(
            {
                "app": {
                    "paths": [str(made.data)],
                    "containers": [app.name],
                    "postgres": [{"dsn": postgres.dsn(), "databases": [name]}],
                }
            }
        )
        made.init().run("run", "app").succeeded()
        postgres.sql("INSERT INTO item SELECT sha512(n::text::bytea) FROM generate_series(1, 30000) AS n", dbname=name)
        (made.data / "app/last").unlink()
        large(made.data / "large")
        made.change(**SLOW)
        yield Bed(made, app, postgres, made.ids())


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("*.hot-*.tar.zst", signal.SIGTERM),
        ("*.cold-*.tar.zst", signal.SIGTERM),
        ("*.cold-*.tar.zst", signal.SIGINT),
        ("database.*", signal.SIGTERM),
        ("database.*", signal.SIGINT),
    ],
)
def test_asked_to_end(bed: Bed, moment: str, how: signal.Signals) -> None:
    process = bed.site.start("run", "app")
    reach(bed.site, process, moment)
    done = bed.site.finish(process, how).failed(128 + how, f"ended by signal {how:d}")
    assert done.out == ""
    record = bed.site.record()
    assert (record["result"], record["exit_code"], record["backup"]) == ("interrupted", 128 + how, None)
    assert bed.site.ids() == bed.kept
    bed.check()


def test_asked_to_end_twice(bed: Bed) -> None:
    """The second signal does not break off the cleanup that the first one began."""
    process = bed.site.start("run", "app")
    reach(bed.site, process, "*.cold-*.tar.zst")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    done = bed.site.finish(process, signal.SIGINT)
    done.failed(done.code, "ended by signal")
    assert done.code in (130, 143)
    bed.check()
    bed.works_again()


@pytest.mark.parametrize("moment", ["*.hot-*.tar.zst", "*.cold-*.tar.zst", "database.*"])
def test_killed(bed: Bed, moment: str) -> None:
    """What the kernel does to its children, and `recover` for the containers; the next run sweeps the rest."""
    process = bed.site.start("run", "app")
    reach(bed.site, process, moment)
    assert bed.site.finish(process, signal.SIGKILL).code == -9
    check_nothing_runs(bed.site, bed.postgres)
    assert bed.site.owed() == ([f"app/{bed.app.name}"] if moment == "*.cold-*.tar.zst" else [])
    for _ in range(2):  # twice is harmless
        bed.site.run("recover").succeeded()
    bed.check(swept=False)
    assert any(name.startswith(".incoming-") for name in bed.site.names())
    bed.works_again()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_while_a_container_takes_its_time_to_end(tmp_path: Path, engine: Engine, how: signal.Signals) -> None:
    """Docker goes on with the stop without us: the container is up, and yet it will be down in a moment."""
    with site(tmp_path, engine.url) as made:
        app, twin = (counting(engine, made.data / name, command=("sh", "-c", SLOW_TO_END)) for name in ("app", "twin"))
        quick = counting(engine, made.data / "quick")
        names = [app.name, twin.name, quick.name]
        made.configure({"app": {"paths": [str(made.data)], "containers": names, "stop_timeout": "4s"}})
        process = made.init().start("run", "app")
        for each in (app, twin):
            until((each.data / "asked").exists, "the containers were asked to end, both at once")
        before = [each.started_at() for each in (app, twin)]
        assert app.running
        assert twin.running
        made.finish(process, how)
        if how is signal.SIGKILL:
            made.run("recover").succeeded()
        assert all(each.started_at() != moment for each, moment in zip((app, twin), before, strict=True))
        check_invariants(made, up=[app, twin, quick], swept=how is not signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_at_any_moment(tmp_path: Path, engine: Engine, how: signal.Signals) -> None:
    with site(tmp_path, engine.url) as made:
        app = counting(engine, made.data / "app")
        made.configure({"app": {"paths": [str(made.data)], "containers": [app.name], "retention": {"keep_last": 3}}})
        began = time.monotonic()
        made.init().run("run", "app").succeeded()
        took = time.monotonic() - began
        parts = 7
        for part in range(1, parts):
            kept = made.ids()
            process = made.start("run", "app")
            time.sleep(took * part / parts)
            done = made.finish(process, how)
            assert "Traceback" not in done.err
            assert done.code in (0, 128 + how, -how)  # -15: before it began to listen
            if how is signal.SIGKILL:
                made.run("recover").succeeded()
            published = len(set(made.ids()) - set(kept))
            assert published <= 1
            assert done.code or published == 1
            check_backups(made)
            check_invariants(made, up=[app], swept=how is signal.SIGTERM)
        made.run("run", "app").succeeded()
        check_invariants(made, up=[app])


def test_nohup_keeps_a_run_going_when_the_session_ends(tmp_path: Path) -> None:
    """As people start a first run that takes the night."""
    with site(tmp_path) as made:
        large(made.data / "large")
        made.configure({"app": {"paths": [str(made.data)], **SLOW}})
        made.init()
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            process = made.start("run", "app")
        finally:
            signal.signal(signal.SIGHUP, before)
        reach(made, process, "*.hot-*.tar.zst")
        made.finish(process, signal.SIGHUP).succeeded()
        assert len(made.ids()) == 1
