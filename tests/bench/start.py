"""What a command costs before it does anything: the processor's seconds of whole command lines, on a small site."""

import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.bed import Bed, Spent, spend
from tests.bench.results import OURS, Results

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
    """What each of several runs takes, itself and its children; sorted."""
    return sorted(spent.cpu for spent in _spent(bed, arguments, runs))


def bench_start(place: Path, runs: int, results: Results) -> None:
    bed = small_site(place)
    for name, arguments in COMMANDS.items():
        for spent in _spent(bed, arguments, runs):
            results.add(f"{name} (one file)", OURS, spent)


def _spent(bed: Bed, arguments: Sequence[str], runs: int) -> Sequence[Spent]:
    command = bed.command(*arguments)
    if arguments == ("--version",):  # as it is asked for: without anything before it
        command = [*command[:3], *arguments]
    spent = []
    for _ in range(runs + 1):
        spent.append(spend(command, bed.environment))
        if "run" in arguments:
            time.sleep(1)  # else the next one waits for an id of its own
    return spent[1:]  # the first one compiles
