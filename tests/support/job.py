"""A whole installation for tests: configuration, state and backup directories, and the program run on them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from hiveden_backup.core.names import is_backup_id
from hiveden_backup.host.failpoints import VARIABLE
from tests.support import forked
from tests.support.dockerd import Engine, unique_name
from tests.support.holders import own_mount

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0

QUICK = {"stop_timeout": "5s", "start_timeout": "2s"}
"""What every job has unless it says otherwise."""

COUNT = """
trap 'exit 0' TERM
count=$(cat /data/counter 2>/dev/null)
while :; do
    count=$((${count:-0} + 1))
    echo $count >/data/counter.new && mv /data/counter.new /data/counter
    sleep 0.1
done
"""
"""What a counting application does. It ends as soon as it is asked to."""


@dataclass(frozen=True)
class Done:
    """How the program ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The errors on stderr, a line each (a validation's lists what is wrong in further lines)."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def succeeded(self) -> "Done":
        """Itself, after a look at whether all went well."""
        assert (self.code, self.errors) == (0, []), self.err
        assert "Traceback" not in self.err
        return self

    def failed(self, code: int, *words: str) -> "Done":
        """Itself, after a look at whether it ended with `code` and one clear error that has `words` in it."""
        assert self.code == code, self.err
        assert len(self.errors) == 1, self.err
        assert "Traceback" not in self.err
        text = self.err[self.err.index("error: ") :]
        assert all(word in text for word in words), self.err
        return self


@dataclass
class Site:
    """An installation below `path`. `docker` is an Engine's address; `decoded` are backups seen to be whole.

    `archive_bytes` is the size at which runs close an archive, if it is not what the program says.
    """

    path: Path
    docker: str | None = None
    archive_bytes: int = 0
    decoded: set[tuple[str, str]] = field(default_factory=set)
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _table: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.path, self.temporary, self.data):
            folder.mkdir(parents=True, exist_ok=True)

    # ---- its places

    @property
    def config(self) -> Path:
        return self.path / "etc/config.toml"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def backups(self) -> Path:
        return self.path / "backups"

    @property
    def temporary(self) -> Path:
        """TMPDIR of all that the program starts: it is known by that."""
        return self.path / "tmp"

    @property
    def data(self) -> Path:
        """For the files of a job."""
        return self.path / "data"

    @property
    def environment(self) -> dict[str, str]:
        hidden = ("PG", "DOCKER_", "HIVEDEN_", "NO_COLOR")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        size = {"HIVEDEN_BACKUP_ARCHIVE_BYTES": str(self.archive_bytes)} if self.archive_bytes else {}
        ours = {"STATE_DIRECTORY": str(self.state), "TMPDIR": str(self.temporary), "PYTHONPATH": modules}
        return {**kept, **ours, **size}

    # ---- the program

    def configure(self, jobs: Mapping[str, Mapping[str, Any]], **top: Any) -> None:
        """Write the configuration."""
        self.config.parent.mkdir(exist_ok=True)
        table = {"directory": str(self.backups), **({"docker": self.docker} if self.docker else {}), **top}
        self._table = {**table, "jobs": {name: {**QUICK, **job} for name, job in jobs.items()}}
        self.config.write_text(tomli_w.dumps(self._table))

    def change(self, job: str = "app", **settings: Any) -> None:
        """Change settings of a job."""
        self._table["jobs"][job].update(settings)
        self.config.write_text(tomli_w.dumps(self._table))

    def init(self) -> "Site":
        """Mark the backup directory."""
        self.run("init", "--directory", str(self.backups)).succeeded()
        return self

    def start(self, *arguments: str, failpoint: str = "", within: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Start the program; `finish` waits for it. `within` is a command that starts it, as unshare(1) does."""
        process = subprocess.Popen(
            [*within, sys.executable, "-m", "hiveden_backup", "--config", str(self.config), *arguments],
            env=self.environment | ({VARIABLE: failpoint} if failpoint else {}),
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        return process

    def finish(self, process: "subprocess.Popen[str]", how: signal.Signals | None = None) -> Done:
        """How it ended, after a signal if one is given; a program killed has the status -9."""
        if how is not None:
            process.send_signal(how)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"The program does not end: {out}{err}")
        self._running.remove(process)
        return Done(process.returncode, out, err)

    def run(self, *arguments: str, failpoint: str = "", before: Callable[[], None] | None = None) -> Done:
        """Run the program to its end. `before` is as in `forked.call`."""
        environment = self.environment | ({VARIABLE: failpoint} if failpoint else {})
        try:
            done = forked.call(["--config", str(self.config), *arguments], environment, self.path, PATIENCE, before)
        except subprocess.TimeoutExpired:
            pytest.fail(f"The program does not end: {arguments}")
        return Done(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._running:
            process.kill()
            process.communicate()

    def remove_holders(self) -> None:
        """Take away what in-place restores keep: on a disk that is not the test's own it would stay, and in the way."""
        for record in self.state.glob("undo/*/*.json"):
            with contextlib.suppress(ValueError, OSError):
                for holder in json.loads(record.read_text())["holders"]:
                    shutil.rmtree(holder, ignore_errors=True)

    # ---- what it left

    def job(self, name: str = "app") -> Path:
        """The job's directory in the backup directory."""
        return self.backups / name

    def ids(self, job: str = "app") -> list[str]:
        """The visible backups, newest first."""
        with contextlib.suppress(FileNotFoundError):
            return sorted((name for name in os.listdir(self.job(job)) if is_backup_id(name)), reverse=True)
        return []

    def names(self, job: str = "app") -> set[str]:
        """Everything in the job's directory but its backups."""
        return {name for name in os.listdir(self.job(job)) if not is_backup_id(name)}

    def manifest(self, backup: str | None = None, job: str = "app") -> dict[str, Any]:
        """A backup's manifest, the newest one's by default."""
        table: dict[str, Any] = json.loads((self.job(job) / (backup or self.ids(job)[0]) / "manifest.json").read_text())
        return table

    def owed(self) -> list[str]:
        """What the ledger says, as JOB/CONTAINER."""
        return sorted(f"{path.parent.name}/{path.stem}" for path in self.state.glob("ledger/*/*.json"))

    def record(self, job: str = "app") -> dict[str, Any]:
        """The newest run's record."""
        table: dict[str, Any] = json.loads(max(self.state.glob(f"runs/{job}/*.json")).read_text())
        return table

    def restored(self, name: str, *arguments: str, backup: str = "app/latest") -> Path:
        """Where the files of a backup were restored to; a path of the machine is found below it."""
        target = self.path / "restored" / name
        self.run("restore", backup, "--to", str(target), *arguments).succeeded()
        return target


@contextlib.contextmanager
def site(path: Path, docker: str | None = None) -> Iterator[Site]:
    """An installation for the block, with its backup directory marked when the block configures it."""
    made = Site(path, docker)
    with own_mount(path):
        try:
            yield made
        finally:
            made.close()
            made.remove_holders()


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"After {seconds:g} seconds still not: {what}"
        time.sleep(0.01)


@dataclass(frozen=True)
class App:
    """A container that counts up in the file `counter` of a directory."""

    engine: Engine
    name: str
    data: Path

    @property
    def count(self) -> int:
        """How far it has counted, 0 before it began."""
        with contextlib.suppress(FileNotFoundError):
            return int((self.data / "counter").read_text())
        return 0

    @property
    def running(self) -> bool:
        return self.engine.is_running(self.name)

    def started_at(self) -> str:
        return str(self.engine.state(self.name)["StartedAt"])

    def counts(self) -> None:
        """See it at work."""
        before = self.count
        until(lambda: self.count > before, f"{self.name} counts")


def counting(
    engine: Engine,
    data: Path,
    *,
    command: Sequence[str] = ("sh", "-c", COUNT),
    more_binds: Sequence[str] = (),
    **options: Any,
) -> App:
    """A container that counts in `data`, running."""
    data.mkdir(parents=True, exist_ok=True)
    name = engine.run(command, name=unique_name("app"), binds=[f"{data}:/data", *more_binds], **options)
    app = App(engine, name, data)
    app.counts()
    return app


# ---- runs that take a while, to be met at a chosen moment ------------------------------------------------------------

SLOW: dict[str, Any] = {"compression_level": 16}
FAST: dict[str, Any] = {"compression_level": 3}
"""A slow job needs a second or so for each megabyte that does not compress."""
LARGE = 1_000_000


def last_words(size: int) -> str:
    """Counts, and when it is asked to end leaves a file, so that the cold pass takes a while."""
    return COUNT.replace("exit 0", f"head -c {size} /dev/urandom >/data/last; exit 0")


LAST_WORDS = last_words(LARGE)


def large(path: Path) -> Path:
    """A file that takes a slow job a while."""
    path.write_bytes(os.urandom(LARGE))
    return path


def reach(installation: Site, process: "subprocess.Popen[str]", what: str, job: str = "app") -> None:
    """Wait until a run writes what the pattern `what` names (`*.hot-*.tar.zst`, `*.cold-*.tar.zst`, `database.*`)."""

    def reached() -> bool:
        assert process.poll() is None, f"The run ended before {what}: {process.communicate()}"
        with contextlib.suppress(FileNotFoundError):  # what it has just renamed is no match
            return any(installation.job(job).glob(f".incoming-*/{what}"))
        return False

    until(reached, what)


def stands_still(process: "subprocess.Popen[str]") -> None:
    """Wait until a program has come to the fail point that holds it."""
    status = Path(f"/proc/{process.pid}/stat")
    until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", "it stands still")


@contextlib.contextmanager
def held(installation: Site, process: "subprocess.Popen[str]", what: str, job: str = "app") -> Iterator[None]:
    """As `reach`, and the run stands still there while the block lasts."""
    reach(installation, process, what, job)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
