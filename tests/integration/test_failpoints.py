"""A run that fails or is killed at any step: what ran runs again, nothing is lost, the next run puts things right."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.dockerd import Engine
from tests.support.invariants import check_backups, check_invariants, check_nothing_runs, check_services
from tests.support.job import App, Site, counting, site
from tests.support.postgres import Server

PHASES = (
    *("lock", "heal", "validate", "hot", "compact", "owe", "stop", "cold"),
    *("snapshot", "start", "settle", "dump", "digest", "manifest", "rename", "prune"),
)
WITH_DEBTS = PHASES[PHASES.index("owe") : PHASES.index("dump")]
PUBLISHED = ("start", "settle", "prune")
"""A failure here leaves a finished backup, and something to put right."""
OWED = ("start", "settle")


@dataclass(frozen=True)
class Bed:
    """A job with files, a counting container, one that does not run, and a database."""

    site: Site
    app: App
    idle: App
    postgres: Server

    def reach(self, phase: str) -> None:
        """Let the next run come to a phase: most have nothing to compact."""
        if phase == "compact":
            large, small = self.site.data / "zz-large", self.site.data / "zz-small"
            large.write_bytes(bytes(2500))
            small.write_text("shares its archive with that")
            time.sleep(2.1)
            self.site.run("run", "app").succeeded()
            large.unlink()

    def check(self, kept: list[str]) -> None:
        check_invariants(self.site, up=[self.app], down=[self.idle], kept=kept, postgres=self.postgres)


@pytest.fixture(scope="module")
def bed(dockerd: Engine, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with (
        postgres.database("shop", "CREATE TABLE item AS SELECT generate_series(1, 1000) AS id") as database,
        site(tmp_path_factory.mktemp("failpoints"), dockerd.url) as made,
    ):
        made.archive_bytes = 4000  # a few paths fill one
        app, idle = counting(dockerd, made.data / "app"), counting(dockerd, made.data / "idle")
        dockerd.api.stop(idle.name)
        made.configure(
            {
                "app": {
                    "paths": [str(made.data)],
                    "containers": [app.name, idle.name],
                    "postgres": [{"dsn": postgres.dsn(), "databases": [database]}],
                    "retention": {"keep_last": 2},
                    "compact_ratio": 1.0,
                    "stop_timeout": "1s",
                    "start_timeout": "1s",
                }
            }
        )
        (made.data / "old").write_text("there is always something that lives in an older archive")
        time.sleep(2.1)
        made.init().run("run", "app").succeeded()
        yield Bed(made, app, idle, postgres)
        for each in (app, idle):
            dockerd.api.remove_container(each.name, force=True)


@pytest.mark.parametrize("phase", PHASES)
def test_error(bed: Bed, phase: str) -> None:
    bed.reach(phase)
    kept = bed.site.ids()
    newest = kept[0]
    done = bed.site.run("run", "app", failpoint=f"{phase}:error").failed(1, f"The fail point {phase} was hit")
    record = bed.site.record()
    assert record["exit_code"] == 1
    assert f"The fail point {phase} was hit" in record["error"]
    if phase in PUBLISHED:
        assert done.out.split() == [bed.site.ids()[0]] == [record["backup"]]
        assert record["result"] == "partial"
        assert record["prune"] == ("failed" if phase == "prune" else "done")
        assert bed.site.ids()[0] > newest
    else:
        assert (done.out, record["result"], record["backup"], record["prune"]) == ("", "failed", None, "skipped")
        assert bed.site.ids() == kept
    if phase in OWED:
        assert bed.site.owed() == [f"app/{bed.app.name}"]
        bed.site.run("recover").succeeded()
    bed.check(bed.site.ids() if phase in PUBLISHED else kept)


@pytest.mark.parametrize("phase", PHASES)
def test_sigkill(bed: Bed, phase: str) -> None:
    bed.reach(phase)
    kept = bed.site.ids()
    assert bed.site.run("run", "app", failpoint=f"{phase}:kill").code == -9
    assert bed.site.record()["result"] == "running"
    check_backups(bed.site)
    assert bool(bed.site.owed()) == (phase in WITH_DEBTS)
    if phase in WITH_DEBTS:
        bed.site.run("recover").succeeded()
    check_services(bed.site, [bed.app], [bed.idle])
    check_nothing_runs(bed.site, bed.postgres)
    published = phase == "prune"
    assert len(set(bed.site.ids()) - set(kept)) == published
    kept = bed.site.ids()
    bed.site.run("run", "app").succeeded()
    assert len(set(bed.site.ids()) - set(kept)) == 1
    bed.check(kept[:1])  # retention took the others
    results = [path.read_text() for path in sorted(bed.site.state.glob("runs/app/*.json"))[-2:]]
    assert '"result": "killed"' in results[0]
    assert '"result": "success"' in results[1]


@pytest.mark.parametrize(
    ("failpoint", "code"),
    [
        ("hot:enospc", 73),
        ("hot:eio", 74),
        ("owe:enospc", 74),
        ("cold:enospc", 73),
        ("cold:eio", 74),
        ("dump:enospc", 73),
        ("dump:eio", 74),
        ("manifest:enospc", 73),
        ("manifest:eio", 74),
    ],
)
def test_disk(bed: Bed, failpoint: str, code: int) -> None:
    kept = bed.site.ids()
    reason = "No space left on device" if "enospc" in failpoint else "Input/output error"
    bed.site.run("run", "app", failpoint=failpoint).failed(code, reason)
    assert bed.site.record()["exit_code"] == code
    assert bed.site.ids() == kept
    bed.check(kept)
