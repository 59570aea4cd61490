"""Measures hiveden-backup against stock pipelines and its peers, in turn, as ratios round by round.

    python -m tests.bench.bench [--quick] [--json FILE] [--svg FILE] [PART ...]

Without a PART, all but `databases` and `million`. Eight minutes or less; with --quick two, on smaller trees.

    files      first runs, runs with nothing and with 1 % changed, restores, verify; a first run that is killed; memory
    many       runs with nothing and with 1 % changed of 300 000 small files
    million    the same of a million (20 minutes)
    catalogs   list, status and prune --dry-run with 1 000 and 10 000 backups
    downtime   stop to start against a bare docker stop + start, with 1x and 4x data
    start      what commands take on a site with one file
    databases  counting rows against a dump, restores with one and more connections

As root, with 10 GB of room in --directory, on idle processors. restic and borg take part where they are found, in
--peers or on PATH; `python -m tests.bench.peers` gets the newest ones. When all was measured, `python -m
tests.bench.report` brings README.md up to date.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.bench import peers, report, results
from tests.bench.catalogs import bench_catalogs
from tests.bench.files import Files, Tree
from tests.bench.results import Results
from tests.bench.start import bench_start

USUAL = ("files", "many", "catalogs", "downtime", "start")
PARTS = (*USUAL, "million", "databases")
SMALL, LARGE = Tree(30_000, 600_000_000, 3), Tree(300_000, 300_000 * 16, 2)
QUICK, MILLION = Tree(8_000, 120_000_000, 2), Tree(1_000_000, 16_000_000, 2)


def bench_files(place: Path, tree: Tree, known: Path, found: Results) -> None:
    files = Files(place, tree, partial(peers.find, known), found)
    files.runs(firsts=True)
    files.restores()
    files.killed()
    files.memory()


def bench_many(place: Path, tree: Tree, known: Path, found: Results) -> None:
    files = Files(place, tree, partial(peers.find, known), found)
    files.runs(firsts=False)
    files.memory()


def bench_downtime(place: Path, found: Results, *, quick: bool) -> None:
    from tests.bench import downtime  # noqa: PLC0415 - needs Docker and PostgreSQL

    downtime.bench_downtime(place, 2 if quick else 3, found, database=not quick)


def bench_databases(place: Path) -> None:
    from tests.bench import databases  # noqa: PLC0415 - needs PostgreSQL

    databases.bench_databases(place, 3)


def measure(parts: Sequence[str], place: Path, known: Path, found: Results, *, quick: bool) -> Iterator[str]:
    """Take the figures of these parts, each in a folder of its own that is gone afterwards; the name of each."""
    benches: dict[str, Callable[[Path], None]] = {
        "files": lambda at: bench_files(at, QUICK if quick else SMALL, known, found),
        "many": lambda at: bench_many(at, LARGE, known, found),
        "million": lambda at: bench_many(at, MILLION, known, found),
        "catalogs": lambda at: bench_catalogs(at, (1_000, 10_000), 1 if quick else 3, found),
        "downtime": lambda at: bench_downtime(at, found, quick=quick),
        "start": lambda at: bench_start(at, 5, found),
        "databases": bench_databases,
    }
    for part in parts:
        print(f"... {part}", file=sys.stderr, flush=True)
        at = place / part
        at.mkdir()
        try:
            benches[part](at)
        except Exception as error:  # noqa: BLE001 - no Docker, a full disk: the rest is measured all the same
            found.missing.append(f"{part} ({error})")
        shutil.rmtree(at)
        yield part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[[], *PARTS])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="where the data goes")
    parser.add_argument("--peers", type=Path, default=peers.HOME, help="a directory whose bin/ has restic and borg")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--svg", type=Path, help="write a chart there")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the data would stay
    parts = chosen.parts or [part for part in USUAL if not (chosen.quick and part == "many")]
    with tempfile.TemporaryDirectory(prefix="hiveden-backup-bench.", dir=chosen.directory) as scratch:
        place = Path(scratch)
        there = {peer.name: peer.version for peer in peers.find(chosen.peers, place, place)}
        found = results.begun(place, there, [f"{name} (not found)" for name in peers.NAMES if name not in there])
        for _ in measure(parts, place, chosen.peers, found, quick=chosen.quick):
            if chosen.json:
                chosen.json.write_text(found.dump())
            if chosen.svg:
                chosen.svg.write_text(report.svg(found))
    print(report.table(found), end="")


if __name__ == "__main__":
    main()
