"""What a bench found: figures by what was done and by whom, and single facts; the machine and the versions."""

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hiveden_backup import __version__
from tests.bench.bed import Spent

OURS = "hiveden-backup"


@dataclass(slots=True)
class Results:
    """`figures`: what was done → by whom → `wall` and `cpu`: the seconds of each round, in order. `facts`: the rest."""

    made: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, who: str, spent: Spent) -> None:
        kinds = self.figures.setdefault(what, {}).setdefault(who, {"wall": [], "cpu": []})
        kinds["wall"].append(round(spent.wall, 3))
        kinds["cpu"].append(round(spent.cpu, 3))

    def ratios(self, what: str, who: str, kind: str) -> Sequence[float]:
        """What ours took of another's in each round, sorted."""
        ours, theirs = self.figures[what][OURS][kind], self.figures[what][who][kind]
        return sorted(mine / max(other, 0.001) for mine, other in zip(ours, theirs, strict=False))

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def load(text: str) -> Results:
    return Results(**json.loads(text))


def begun(place: Path, peers: Mapping[str, str], missing: Sequence[str]) -> Results:
    """The results of a bench that begins."""
    versions = {
        OURS: __version__,
        "Python": platform.python_version(),
        "tar": _version("tar", "--version"),
        "zstd": _version("zstd", "--version"),
        **peers,
    }
    return Results(datetime.now(UTC).strftime("%Y-%m-%d"), machine(place), versions, list(missing))


def machine(place: Path) -> dict[str, str]:
    """What kind of machine this is."""
    information = Path("/proc/cpuinfo").read_text()
    processor = re.search(r"^model name\s*: (.*)$", information, re.MULTILINE)
    release = Path("/etc/os-release").read_text()
    system = re.search(r'^PRETTY_NAME="(.*)"$', release, re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    disk = subprocess.run(
        ["findmnt", "-no", "FSTYPE", "--target", str(place)], capture_output=True, text=True, check=False
    )
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": processor[1] if processor else platform.machine(),
        "memory": f"{round(memory / 2**30)} GiB",
        "disk": f"{disk.stdout.strip() or 'unknown'} on {_drive(place)}",
        "system": system[1] if system else platform.system(),
        "kernel": platform.release().partition("-")[0],
    }


def spaced(number: int) -> str:
    """`30 000`."""
    return f"{number:,}".replace(",", " ")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _drive(place: Path) -> str:
    source = subprocess.run(
        ["findmnt", "-no", "SOURCE", "--target", str(place)], capture_output=True, text=True, check=False
    )
    name = Path(source.stdout.strip()).name
    return "a virtual disk" if re.match("vd|xvd", name) else f"a disk ({re.sub('[0-9]', '', name)})"


def _version(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found[0] if found else "?"
