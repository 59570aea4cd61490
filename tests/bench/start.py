"""What a command costs before it does anything: the processor's seconds of whole command lines, on a small site."""

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.bed import ROOT, Bed

COMMANDS = {
    "--version": ("--version",),
    "list": ("list",),
    "status": ("status",),
    "run, unchanged": ("run", "bench"),
}


def small_site(place: Path) -> Bed:
    """A job with one file, and a backup of it."""
    (place / "data").mkdir(parents=True, exist_ok=True)
    (place / "data/file").write_text("content")
    bed = Bed(place)
    bed.configure(f'[jobs.bench]\npaths = ["{place}/data"]\n')
    bed.fresh()
    bed.program("run", "bench")
    return bed


def processor_seconds(bed: Bed, arguments: Sequence[str], runs: int) -> list[float]:
    """What each of several runs takes, itself and its children, compiled as an installed program is; sorted."""
    environment = _compiled(bed)
    command = [sys.executable, "-m", "hiveden_backup", *_given(bed, arguments)]
    return sorted(_seconds(command, environment) for _ in range(runs + 1))[:runs]  # the first one compiles


def bench_start(place: Path, runs: int) -> None:
    bed = small_site(place)
    bare = [sys.executable, "-c", "pass"]
    figures = {"a bare interpreter": sorted(_seconds(bare, _compiled(bed)) for _ in range(runs))}
    figures |= {name: processor_seconds(bed, arguments, runs) for name, arguments in COMMANDS.items()}
    for name, seconds in figures.items():
        print(f"{name:20} {seconds[0]:.3f} s of the processor (median {statistics.median(seconds):.3f})")


def _given(bed: Bed, arguments: Sequence[str]) -> Sequence[str]:
    return arguments if arguments == ("--version",) else ("--config", str(bed.config), *arguments)


def _compiled(bed: Bed) -> Mapping[str, str]:
    places = {"STATE_DIRECTORY": bed.place / "state", "PYTHONPATH": ROOT, "PYTHONPYCACHEPREFIX": bed.place / "compiled"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {name: str(path) for name, path in places.items()}


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    before = _children()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
