"""Measures hiveden-backup against stock pipelines and its peers, interleaved, as ratios in one run.

    python -m tests.bench.bench files      first, unchanged and 1 %-changed run against tar|zstd, restic and borg
    python -m tests.bench.bench downtime   stop to start against a bare docker stop + start, with 1x and 4x data
    python -m tests.bench.bench databases  counting rows against a dump, restores with one and more connections
    python -m tests.bench.bench list       `list` with 1 000 backups
    python -m tests.bench.bench start      the processor's seconds of --version, list, status and an unchanged small run
    python -m tests.bench.bench memory     peak memory and scan time with many files

Needs root. restic and borg take part where they are installed. `--directory` is where the data goes (several GB).
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.bed import ROOT, Bed, timed
from tests.bench.start import bench_start


def make_files(place: Path, count: int, total: int, seed: int = 1) -> None:
    """A tree like a photo library with its small files: sizes vary, half of the bytes compress."""
    chooser = random.Random(seed)
    mean = total // count
    for number in range(count):
        folder = place / f"d{number // 500:03d}" / f"e{number // 50 % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        size = int(chooser.expovariate(1 / mean))
        noise = chooser.randbytes(size // 2)
        (folder / f"f{number:06d}.bin").write_bytes(noise + noise[::-1][:64] * (size // 128))


def change_files(place: Path, every: int) -> None:
    for number, path in enumerate(sorted(place.rglob("*.bin"))):
        if number % every == 0:
            with path.open("ab") as file:
                file.write(os.urandom(64))


def report(name: str, seconds: dict[str, list[float]]) -> None:
    ours = statistics.median(seconds["hiveden-backup"])
    for who, values in seconds.items():
        middle = statistics.median(values)
        print(
            f"{name:12} {who:16} median {middle:7.2f} s  (min {min(values):.2f}, max {max(values):.2f})"
            f"  hiveden-backup takes {ours / middle:.2f} x"
        )


def bench_files(place: Path, rounds: int, count: int, total: int) -> None:
    data = place / "data"
    if not data.exists():
        make_files(data, count, total)
    bed = Bed(place)
    bed.configure(f'[jobs.bench]\npaths = ["{data}"]\n')
    peers = _peers(place, data)
    first: dict[str, list[float]] = {}
    unchanged: dict[str, list[float]] = {}
    changed: dict[str, list[float]] = {}
    pipeline = f"tar -c -f - -C / {str(data).lstrip('/')} | zstd -q -T0 -3 > {place}/plain.tar.zst; sync"
    timed(lambda: subprocess.run(pipeline, shell=True, check=True))  # warms the page cache for everybody
    for _ in range(rounds):
        first.setdefault("tar | zstd; sync", []).append(timed(lambda: subprocess.run(pipeline, shell=True, check=True)))
        bed.fresh()
        first.setdefault("hiveden-backup", []).append(timed(lambda: bed.program("run", "bench")))
        time.sleep(3)  # what was just written counts as too young to be trusted; a nightly run does not meet that
        bed.program("run", "bench")
        unchanged.setdefault("hiveden-backup", []).append(timed(lambda: bed.program("run", "bench")))
        for name, (fresh, run) in peers.items():
            fresh()
            first.setdefault(name, []).append(timed(run))
            unchanged.setdefault(name, []).append(timed(run))
        change_files(data, 100)
        changed.setdefault("hiveden-backup", []).append(timed(lambda: bed.program("run", "bench")))
        for name, (_, run) in peers.items():
            changed.setdefault(name, []).append(timed(run))
    for name, seconds in (("first", first), ("unchanged", unchanged), ("1 % changed", changed)):
        report(name, seconds)


def _peers(place: Path, data: Path) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    peers: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    environment = {
        **os.environ,
        "RESTIC_PASSWORD": "bench",
        "RESTIC_CACHE_DIR": str(place / "restic-cache"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_BASE_DIR": str(place / "borg-base"),
    }

    def call(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    if shutil.which("restic"):
        repository = place / "restic"

        def fresh_restic() -> None:
            shutil.rmtree(repository, ignore_errors=True)
            call("restic", "init", "-r", str(repository))

        peers["restic"] = (fresh_restic, lambda: call("restic", "backup", "-q", "-r", str(repository), str(data)))
    if shutil.which("borg"):
        borg = place / "borg"

        def fresh_borg() -> None:
            shutil.rmtree(borg, ignore_errors=True)
            shutil.rmtree(place / "borg-base", ignore_errors=True)
            call("borg", "init", "-e", "none", str(borg))

        peers["borg (lz4)"] = (fresh_borg, lambda: call("borg", "create", f"{borg}::{time.time_ns()}", str(data)))
    return peers


def bench_list(place: Path, count: int) -> None:
    data = place / "small"
    data.mkdir(parents=True, exist_ok=True)
    (data / "file").write_text("content")
    bed = Bed(place / "list")
    bed.configure(f'[jobs.bench]\npaths = ["{data}"]\n')
    bed.fresh()
    made = bed.program("run", "bench").strip()
    job = bed.backups / "bench"
    for number in range(count - 1):
        other = f"2025{number // 28 % 12 + 1:02d}{number % 28 + 1:02d}T{number // 336:06d}Z"
        shutil.copytree(job / made, job / other)
        manifest = json.loads((job / other / "manifest.json").read_text())
        manifest["id"] = other
        (job / other / "manifest.json").write_text(json.dumps(manifest))
    values = [timed(lambda: bed.program("list")) for _ in range(7)]
    bare = [timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(7)]
    version = [timed(lambda: bed.program("--version")) for _ in range(7)]
    print(f"list of {count} backups: median {statistics.median(values):.3f} s", end="")
    print(f" (--version {statistics.median(version):.3f} s, a bare interpreter {statistics.median(bare):.3f} s)")


def bench_memory(place: Path, count: int) -> None:
    data = place / f"many-{count}"
    if not data.exists():
        make_files(data, count, count * 16)
    bed = Bed(place / "memory")
    bed.configure(f'[jobs.bench]\npaths = ["{data}"]\n')
    bed.fresh()
    for name in ("first", "second", "third"):
        seconds, peak = _measured(bed)
        find = timed(
            lambda: subprocess.run(
                ["find", str(data), "-printf", "%y %m %s %T@ %C@ %p\\0"], stdout=subprocess.DEVNULL, check=True
            )
        )
        print(f"{name} run over {count} files: {seconds:.2f} s, peak {peak >> 10} MiB; find -printf: {find:.2f} s")
        time.sleep(3)


def _measured(bed: Bed) -> tuple[float, int]:
    """Seconds and the peak resident KiB of the program itself."""
    probe = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    command = [sys.executable, "-m", "hiveden_backup", "--quiet", "--config", str(bed.config), "run", "bench"]
    environment = {**os.environ, "STATE_DIRECTORY": str(bed.place / "state"), "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", probe, *command], env=environment, capture_output=True, text=True, check=True
    )
    return time.monotonic() - began, int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("files", "downtime", "databases", "list", "start", "memory"))
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/hiveden-backup-bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=30_200)
    parser.add_argument("--bytes", type=int, default=1_500_000_000)
    parser.add_argument("--docker", help="address of a Docker engine for `downtime`; default: one of its own")
    chosen = parser.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    match chosen.what:
        case "files":
            bench_files(chosen.directory, chosen.rounds, chosen.files, chosen.bytes)
        case "databases":
            from tests.bench.databases import bench_databases  # noqa: PLC0415 - needs PostgreSQL

            bench_databases(chosen.directory, chosen.rounds)
        case "list":
            bench_list(chosen.directory, 1000)
        case "start":
            bench_start(chosen.directory / "start", 15)
        case "memory":
            bench_memory(chosen.directory, 300_000)
        case _:
            from tests.bench.downtime import bench_downtime  # noqa: PLC0415 - needs Docker and PostgreSQL

            bench_downtime(chosen.directory, chosen.rounds)


if __name__ == "__main__":
    main()
