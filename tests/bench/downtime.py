"""Downtime of a run against a bare `docker stop` and `docker start` of the same containers, on a real engine."""

import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docker.api import APIClient

from tests.bench.bed import Bed, Spent
from tests.bench.results import OURS, Results, spaced
from tests.support.dockerd import Engine, running_engine

BARE = "docker stop; docker start"
_FILES = 2_000
_TOGETHER = 6
_BYTES = 100_000
_FILL = (
    "CREATE TABLE rows AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text"
    " FROM generate_series(1, 1900000) AS i"  # about 250 MB
)


def bench_downtime(place: Path, rounds: int, results: Results, *, database: bool) -> None:
    """Bare stop + start, and the downtime of runs with 1x and 4x files, beside a database or none."""
    with running_engine() as engine:
        if database:
            _measure_together(engine, place / "together", rounds, results)
        server = engine.postgres(settings={"fsync": "off", "max_wal_size": "4GB"}) if database else None
        if server is not None:
            _fill_database(engine, server)
        for factor in (1, 4):
            _measure(engine, place / f"downtime-{factor}", factor, rounds, results, server=server)


def _measure_together(engine: Engine, place: Path, rounds: int, results: Results) -> None:
    """Six containers without an order, each of which takes two seconds to end; all of them at once in either way."""
    (place / "data").mkdir(parents=True, exist_ok=True)
    command = "trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done"
    names = [engine.run(("sh", "-c", command)) for _ in range(_TOGETHER)]
    bed = Bed(place)
    bed.configure(f'docker = "{engine.url}"\n[jobs.bench]\npaths = ["{place}/data"]\ncontainers = {names}\n')
    bed.fresh()

    def stop_and_start(name: str) -> None:
        api = APIClient(base_url=engine.url, version="auto", timeout=60)
        api.stop(name, timeout=30)
        api.start(name)
        api.close()

    def bare() -> None:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(stop_and_start, names))

    _in_turn(f"downtime ({_TOGETHER} containers that take 2 s to end)", bed, bare, rounds, results)
    for name in names:
        engine.api.remove_container(name, force=True)


def _measure(engine: Engine, place: Path, factor: int, rounds: int, results: Results, *, server: str | None) -> None:
    data = place / "data"
    data.mkdir(parents=True, exist_ok=True)
    for number in range(_FILES * factor):
        (data / f"f{number:06d}").write_bytes(b"x" * _BYTES)
    loop = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.2 & wait $!; done"
    name = engine.run(("sh", "-c", loop), binds=[f"{data}:/data"])
    bed = Bed(place)
    bed.configure(
        f'docker = "{engine.url}"\n[jobs.bench]\npaths = ["{data}"]\ncontainers = ["{name}"]\n'
        + (f'[[jobs.bench.postgres]]\ncontainer = "{server}"\ndatabases = ["big"]\n' if server else "")
    )
    bed.fresh()
    bed.program("run", "bench")

    def bare() -> None:
        engine.api.stop(name)
        engine.api.start(name)

    what = f"{spaced(_FILES * factor)} files, {_FILES * factor * _BYTES // 10**6} MB"
    _in_turn(f"downtime ({what}{', 0.25 GB database' if server else ''})", bed, bare, rounds, results)
    engine.api.remove_container(name, force=True)


def _in_turn(what: str, bed: Bed, bare: Callable[[], None], rounds: int, results: Results) -> None:
    for _ in range(rounds):
        began = time.monotonic()
        bare()
        results.add(what, BARE, Spent(time.monotonic() - began, 0))
        time.sleep(1)
        bed.program("run", "bench")
        newest = json.loads(bed.program("list", "--job", "bench", "--json"))[0]
        results.add(what, OURS, Spent(newest["downtime_seconds"], 0))


def _fill_database(engine: Engine, server: str) -> None:
    pid = engine.state(server)["Pid"]
    for database, statement in (
        ("postgres", "CREATE DATABASE big"),
        ("big", _FILL),
    ):
        subprocess.run(
            ["psql", "-q", "-h", f"/proc/{pid}/root/run/postgresql", "-U", "postgres", "-d", database, "-c", statement],
            check=True,
        )
