"""Downtime of a run against a bare `docker stop` and `docker start` of the same container, on a real engine."""

import json
import statistics
import subprocess
import time
from pathlib import Path

from tests.bench.bed import Bed
from tests.support.dockerd import Engine, running_engine

_FILES = 2_000
_MEGABYTE = 1_000_000
_FILL = (
    "CREATE TABLE rows AS SELECT i, md5(i::text) || md5((i * 7)::text) AS text"
    " FROM generate_series(1, 7500000) AS i"  # about 1 GB
)


def bench_downtime(place: Path, rounds: int) -> None:
    """Print bare stop + start, and the downtime of runs with 1x and 4x files and a 1 GB database."""
    with running_engine() as engine:
        server = engine.postgres(settings={"fsync": "off", "max_wal_size": "4GB"})
        _fill_database(engine, server)
        for factor in (1, 4):
            _measure(engine, server, place / f"downtime-{factor}", factor, rounds)


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
