"""Files and databases of one backup are of one moment, and the services were down for no longer than that takes."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import images
from tests.support.dockerd import Engine
from tests.support.invariants import check_invariants
from tests.support.job import App, Site, counting, site, until
from tests.support.postgres import Server

IN_STEP = """
trap 'exit 0' TERM
{migration}
coproc psql -qAtX --set=ON_ERROR_STOP=1
count=$(cat /data/counter || echo 0)
while :; do
    sleep 0.005
    count=$((count + 1))
    echo "UPDATE counter SET n = $count RETURNING n;" >&"${{COPROC[1]}}"
    read -r -u "${{COPROC[0]}}" count || exit 1
    echo "$count" >/data/counter.new && mv /data/counter.new /data/counter
done
"""
"""An application that counts up in a database and in a file, one after the other."""

TRUNCATE = "psql -qX -c 'TRUNCATE large' &"
"""A migration at each start that empties a table (in the background, for it must wait for a dump)."""

ROWS = 40_000


@dataclass(frozen=True)
class Bed:
    site: Site
    app: App
    postgres: Server
    database: str

    def rows(self, table: str, database: str) -> int:
        (row,) = self.postgres.sql(f"SELECT count(*) FROM {table}", dbname=database)
        return int(str(row[0]))


def bed(path: Path, engine: Engine, postgres: Server, migration: str = "") -> Iterator[Bed]:
    """A job with that application, its database beside a larger table, whose dump takes seconds."""
    large = f"CREATE TABLE large AS SELECT sha512(n::text::bytea) AS t FROM generate_series(1, {ROWS}) AS n"
    counter = "CREATE TABLE counter AS SELECT 0 AS n"
    with postgres.database("moment", counter) as name, site(path, engine.url) as made:
        data, programs = made.data / "app", images.postgres_programs("")
        app = counting(
            engine,
            data,
            command=("/usr/bin/bash", "-c", IN_STEP.format(migration=migration)),
            image=images.POSTGRES,
            more_binds=["/usr:/usr:ro", f"{postgres.sockets}:/sockets"],
            config={
                "environment": {
                    "PATH": f"{programs}:/usr/bin",
                    "PGHOST": "/sockets",
                    "PGPORT": str(postgres.port),
                    "PGUSER": "tester",
                    "PGDATABASE": name,
                }
            },
        )
        postgres.sql(large.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"), dbname=name)
        made.configure(
            {
                "app": {
                    "paths": [str(data)],
                    "containers": [app.name],
                    "postgres": [{"dsn": postgres.dsn(), "databases": [name]}],
                    "compression_level": 16,
                }
            }
        )
        made.init()
        yield Bed(made, app, postgres, name)


@pytest.fixture
def in_step(tmp_path: Path, engine: Engine, postgres: Server) -> Iterator[Bed]:
    yield from bed(tmp_path, engine, postgres)


@pytest.fixture
def truncating(tmp_path: Path, engine: Engine, postgres: Server) -> Iterator[Bed]:
    yield from bed(tmp_path, engine, postgres, TRUNCATE)


@contextlib.contextmanager
def restored(bed: Bed) -> Iterator[str]:
    """The database of the newest backup, as a new one."""
    new = f"{bed.database}_restored"
    bed.site.run("restore", "app/latest", "--database", bed.database, "--as", new).succeeded()
    try:
        yield new
    finally:
        bed.postgres.drop(new)


def test_files_and_database_agree(in_step: Bed) -> None:
    for _ in range(2):
        before = in_step.app.count
        done = in_step.site.run("run", "app").succeeded()
        check_invariants(in_step.site, up=[in_step.app], postgres=in_step.postgres)
        files = in_step.site.restored(in_step.site.ids()[0])
        in_file = int((files / str(in_step.app.data).lstrip("/") / "counter").read_text())
        with restored(in_step) as database:
            ((in_database,),) = in_step.postgres.sql("SELECT n FROM counter", dbname=database)
            assert in_step.rows("large", database) == ROWS
        assert int(str(in_database)) - in_file in (0, 1)
        assert before <= in_file
        assert in_step.app.count > in_file
        assert_short_downtime(in_step, done.err)


def assert_short_downtime(bed: Bed, log: str) -> None:
    """The dump goes on while the application works again."""
    took = re.search(r"Dumped database moment .*, (\d+(\.\d+)?) s\)", log)
    assert took is not None, log
    (container,) = bed.site.manifest()["containers"]
    downtime = bed.site.run("list", "--json").json[0]["downtime_seconds"]
    assert downtime == container["downtime_seconds"] == bed.site.record()["downtime_seconds"]
    assert 0 < downtime < float(took[1]) / 2


def test_truncate_right_after_the_start(truncating: Bed) -> None:
    """It waits for the dump, which is neither empty nor held up; then it is done."""
    assert truncating.rows("large", truncating.database) == ROWS
    began = time.monotonic()
    truncating.site.run("run", "app").succeeded()
    assert time.monotonic() - began < 60
    check_invariants(truncating.site, up=[truncating.app], postgres=truncating.postgres)
    with restored(truncating) as database:
        assert truncating.rows("large", database) == ROWS
    until(lambda: truncating.rows("large", truncating.database) == 0, "the migration is done")
    (artifact,) = [each for each in truncating.site.manifest()["artifacts"] if each["type"] == "database"]
    assert {"name": "public.large", "rows": ROWS} in artifact["tables"]
