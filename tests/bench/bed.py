"""The scratch place that a bench works in, and what a command takes there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a whole command: by the clock, and of the processor, with all processes that it waited for."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What a command's processes took: KiB of memory at most, its own and of all at once; bytes that its tars read."""

    own_peak: int
    tree_peak: int
    read: int


class Bed:
    """A scratch place with a configuration, and the program on it, compiled as an installed one is."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.config = place / "etc/config.toml"
        self.backups = place / "backups"
        self.state = place / "state"
        places = {"STATE_DIRECTORY": self.state, "PYTHONPATH": ROOT, "PYTHONPYCACHEPREFIX": place / "compiled"}
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.environment = kept | {name: str(path) for name, path in places.items()}

    def configure(self, job: str) -> None:
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'directory = "{self.backups}"\n{job}')

    def fresh(self) -> None:
        shutil.rmtree(self.backups, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)
        self.program("init", "--directory", str(self.backups))

    def command(self, *arguments: str) -> Sequence[str]:
        return [sys.executable, "-m", "hiveden_backup", "--config", str(self.config), *arguments]

    def program(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def spend(self, *arguments: str, codes: Collection[int] = (0,)) -> Spent:
        return spend(self.command(*arguments), self.environment, codes)

    def watch(self, *arguments: str, kill_at: int = 0) -> Watched:
        """What a command's processes take. It is killed as soon as `kill_at` bytes were read, if that is said."""
        child = subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        own = tree = 0
        read: dict[int, int] = {}
        while child.poll() is None:
            members = _session(child.pid)
            own = max(own, members.get(child.pid, 0))
            tree = max(tree, sum(members.values()))
            read.update((pid, _read_by_tar(pid, read.get(pid, 0))) for pid in members)
            if kill_at and sum(read.values()) >= kill_at:
                child.send_signal(signal.SIGKILL)  # tar and zstd die with it
                kill_at = 0
            time.sleep(_LOOK_SECONDS)
        while _session(child.pid):
            time.sleep(_LOOK_SECONDS)
        return Watched(own, tree, sum(read.values()))


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes; what others left to be written is written before."""
    os.sync()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def spend(command: Sequence[str], environment: Mapping[str, str] | None = None, codes: Collection[int] = (0,)) -> Spent:
    """What a command takes; what others left to be written is written before. RuntimeError when it fails."""
    os.sync()
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        said = child.stdout.read() if child.stdout else b""
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)}: {child.returncode}\n{said.decode(errors='replace')}")
    return Spent(wall, used.ru_utime + used.ru_stime)


def _session(leader: int) -> dict[int, int]:
    """The processes of a session, and the KiB of memory that each has now."""
    members = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.getsid(int(name)) == leader:
                pages = int(Path("/proc", name, "statm").read_text().split()[1])
                members[int(name)] = pages * os.sysconf("SC_PAGESIZE") >> 10
        except (OSError, IndexError):
            continue
    return members


def _read_by_tar(pid: int, before: int) -> int:
    """Bytes that a process read, if it is a tar; what it had read `before` when it has gone."""
    try:
        if Path(f"/proc/{pid}/comm").read_text() != "tar\n":
            return 0
        return int(Path(f"/proc/{pid}/io").read_text().split()[1])
    except OSError:
        return before
