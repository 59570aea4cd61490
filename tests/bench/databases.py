"""What counting the rows costs beside a dump, and what several connections gain in a restore, on a real server."""

import os
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres import values as rules
from hiveden_backup.core.postgres.values import Endpoint, restore_jobs
from hiveden_backup.host.postgres.dump import dumping
from hiveden_backup.host.postgres.load import load
from hiveden_backup.host.postgres.scratch import scratch_database
from hiveden_backup.host.postgres.snapshot import hold
from hiveden_backup.host.postgres.tools import find_tools
from tests.bench.bed import timed
from tests.support.postgres import running_server

_TABLES = 5
_ROWS = 1_600_000  # with its indexes about 300 MB a table
_DOCUMENTS = 12_000  # of 12 kB each, out of line


def bench_databases(place: Path, rounds: int) -> None:
    """Print the seconds of a dump and of its count, cached and not, and of a restore by its number of connections."""
    path = place / "dump.zst"
    with running_server() as server:
        endpoint = server.endpoint()
        with server.database("big", *_fill()) as name:
            size = server.sql(f"SELECT pg_database_size('{name}')")[0][0]
            print(f"A database of {int(str(size)) // 1_000_000} MB, {_TABLES * _ROWS + _DOCUMENTS} rows")
            for label in ("as filled", "vacuumed"):
                if label == "vacuumed":
                    server.sql("VACUUM ANALYZE", dbname=name)
                for before in (_keep_cache, _drop_cache):
                    facts = _dump_and_count(endpoint, path, label, rounds, before)
        _restore(endpoint, path, facts, rounds)


def _fill() -> Sequence[str]:
    columns = "n AS id, md5(n::text) AS a, md5((n * 7)::text) AS b, n * 3 AS c, now() AS at"
    documents = "(SELECT string_agg(md5((n * k)::text), '') FROM generate_series(1, 400) AS k)"
    tables = [(f"t{number}", columns, _ROWS) for number in range(_TABLES)]
    tables.append(("documents", f"n AS id, {documents} AS a", _DOCUMENTS))
    return [
        statement
        for name, what, rows in tables
        for statement in (
            f"CREATE TABLE {name} AS SELECT {what} FROM generate_series(1, {rows}) AS n",
            f"ALTER TABLE {name} ADD PRIMARY KEY (id)",
            f"CREATE INDEX ON {name} (md5(a))",
        )
    ]


def _dump_and_count(
    endpoint: Endpoint, path: Path, label: str, rounds: int, before: Callable[[], None]
) -> DatabaseFacts:
    dumps, counts = [], []
    for _ in range(rounds):
        with hold(endpoint, "big", lock_timeout=60) as snapshot:

            def dump() -> None:
                with (
                    path.open("wb") as file,
                    dumping(
                        snapshot, find_tools()[-1], level=3, lock_timeout=60, application="hiveden-backup bench"
                    ) as going,
                ):
                    while chunk := going.stream.read(1 << 20):
                        file.write(chunk)

            before()
            dumps.append(timed(dump))
            before()
            counts.append(timed(snapshot.counts))
            facts = snapshot.facts()
    dumped, counted = statistics.median(dumps), statistics.median(counts)
    cached = "cached" if before is _keep_cache else "not cached"
    print(f"{label}, {cached}: dump {dumped:.1f} s, count {counted:.2f} s: {counted / dumped:.0%} of it")
    return facts


def _keep_cache() -> None:
    pass


def _drop_cache() -> None:
    os.sync()
    subprocess.run(["sysctl", "-q", "vm.drop_caches=3"], check=True)


def _restore(endpoint: Endpoint, path: Path, facts: DatabaseFacts, rounds: int) -> None:
    tool = find_tools()[-1]
    most = rules.MOST_JOBS
    several = restore_jobs(rules.PARALLEL_BYTES, os.cpu_count() or 1, tool)
    seconds: dict[int, list[float]] = {1: [], several: []}
    try:
        for _ in range(rounds):
            for jobs, values in seconds.items():
                rules.MOST_JOBS = jobs
                with scratch_database(endpoint, facts) as scratch:
                    values.append(timed(lambda: load(endpoint, path, scratch, tool, facts, options="")))
    finally:
        rules.MOST_JOBS = most
    for jobs, values in seconds.items():
        print(
            f"restore of {path.stat().st_size // 1_000_000} MB, {jobs} connections: {statistics.median(values):.1f} s"
        )
