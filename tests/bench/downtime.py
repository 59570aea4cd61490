"""Downtime of a run against a bare `docker stop` and `docker start` of the same containers, on a real engine."""

import json
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docker.api import APIClient

from tests.bench.bed import Bed
from tests.support.dockerd import Engine, running_engine

_FILES = 2_000
_TOGETHER = 6
_MEGABYTE = 1_000_000
_FILL = (
    "CREATE TABLE rows AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text"
    " FROM generate_series(1, 7500000) AS i"  # about 1 GB
)


def bench_downtime(place: Path, rounds: int) -> None:
    """Print bare stop + start, and the downtime of runs with 1x and 4x files and a 1 GB database."""
    with running_engine() as engine:
        _measure_together(engine, place / "downtime-together", rounds)
        server = engine.postgres(settings={"fsync": "off", "max_wal_size": "4GB"})
        _fill_database(engine, server)
        for factor in (1, 4):
            _measure(engine, server, place / f"downtime-{factor}", factor, rounds)


def _measure_together(engine: Engine, place: Path, rounds: int) -> None:
    """Six containers without an order, each of which takes two seconds to end; all of them at once in either way."""
    (place / "data").mkdir(parents=True, exist_ok=True)
    command = "trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done"
    names = [engine.run(("sh", "-c", command)) for _ in range(_TOGETHER)]
    bed = Bed(place)
    bed.configure(f'docker = "{engine.url}"\n[jobs.bench]\npaths = ["{place}/data"]\ncontainers = {names}\n')
    bed.fresh()
    bare, ours = [], []

    def stop_and_start(name: str) -> None:
        api = APIClient(base_url=engine.url, version="auto", timeout=60)
        api.stop(name, timeout=30)
        api.start(name)
        api.close()

    for _ in range(rounds):
        began = time.monotonic()
        with ThreadPoolExecutor(_TOGETHER) as pool:
            list(pool.map(stop_and_start, names))
        bare.append(time.monotonic() - began)
        bed.program("run", "bench")
        ours.append(json.loads(bed.program("list", "--job", "bench", "--json"))[0]["downtime_seconds"])
    for name in names:
        engine.api.remove_container(name, force=True)
    middle, stopped = statistics.median(ours), statistics.median(bare)
    print(
        f"{_TOGETHER} containers of 2 s each: bare stop + start at once {stopped:.2f} s, downtime {middle:.2f} s "
        f"({middle / stopped:.2f} x, {middle - stopped:+.2f} s)"
    )


def _measure(engine: Engine, server: str, place: Path, factor: int, rounds: int) -> None:
    data = place / "data"
    data.mkdir(parents=True, exist_ok=True)
    for number in range(_FILES * factor):
        (data / f"f{number:06d}").write_bytes(b"x" * (_MEGABYTE // 10))
    loop = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i > /data/count; sleep 0.2 & wait $!; done"
    name = engine.run(("sh", "-c", loop), binds=[f"{data}:/data"])
    bed = Bed(place)
    bed.configure(
        f'docker = "{engine.url}"\n[jobs.bench]\npaths = ["{data}"]\ncontainers = ["{name}"]\n'
        f'[[jobs.bench.postgres]]\ncontainer = "{server}"\ndatabases = ["big"]\n'
    )
    bed.fresh()
    bed.program("run", "bench")
    bare, ours, whole = [], [], []
    for _ in range(rounds):
        began = time.monotonic()
        engine.api.stop(name)
        engine.api.start(name)
        bare.append(time.monotonic() - began)
        time.sleep(1)
        began = time.monotonic()
        bed.program("run", "bench")
        whole.append(time.monotonic() - began)
        newest = json.loads(bed.program("list", "--job", "bench", "--json"))[0]
        ours.append(newest["downtime_seconds"])
    middle, stopped = statistics.median(ours), statistics.median(bare)
    print(
        f"{factor}x data ({_FILES * factor} files, {_FILES * factor // 10} MB, 1 GB database): bare stop + start "
        f"{stopped:.2f} s, downtime {middle:.2f} s ({middle / stopped:.2f} x, {middle - stopped:+.2f} s), "
        f"whole run {statistics.median(whole):.1f} s"
    )


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
