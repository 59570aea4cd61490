"""Rows of schedules: whoever makes one anew from what it says gets the same job."""

from hiveden_backup.core.api_targets import Wanted, contradiction, matching
from hiveden_backup.core.config.values import Config, Job, PostgresSource
from hiveden_backup.core.model import ArtifactType
from hiveden_backup.jobs.schedule.cron_rows import rows


def job(name: str, *sources: PostgresSource, paths: tuple[str, ...] = (), containers: tuple[str, ...] = ()) -> Job:
    return Job(name, schedule=("30 2 * * *",), paths=paths, containers=containers, postgres=sources)


JOBS = (
    job("files", paths=("/a", "/b"), containers=("web", "worker")),
    job("twin", paths=("/a", "/b")),
    job("mixed", PostgresSource(container="db", databases=("mixed_db",)), paths=("/c",)),
    job("one", PostgresSource(container="db", databases=("shop",))),
    job("other", PostgresSource(dsn="host=/run", databases=("shop",))),
    job("single", PostgresSource(dsn="host=/run", databases=("wiki",))),
    job("several", PostgresSource(container="db", databases=("x", "y"))),
    job("all", PostgresSource(dsn="port=5433")),
    job("silent", PostgresSource(dsn="port=5434", databases=("z",))),
)
CONFIG = Config("/nowhere", {each.name: each for each in JOBS})


def test_rows_lead_back_to_their_jobs() -> None:
    found = rows(CONFIG)
    assert [row.job for row in found] == [each.name for each in JOBS]
    for row in found:
        wanted = Wanted(row.type, row.target, row.source_dirs, row.container)
        matches = matching(wanted, JOBS, {})
        assert [each.name for each in matches] == [row.job]
        assert not contradiction(wanted, matches[0])


def test_a_database_goes_by_its_own_name_where_that_is_enough() -> None:
    targets = {row.job: (row.type, row.target) for row in rows(CONFIG)}
    assert targets["single"] == (ArtifactType.DATABASE, "wiki")
    assert targets["one"] == (ArtifactType.DATABASE, "shop")  # its container tells it from the other one
    assert targets["other"] == (ArtifactType.DATABASE, "other")
    assert targets["all"] == (ArtifactType.DATABASE, "all")
    assert targets["mixed"] == (ArtifactType.APPLICATION, "mixed")
