"""Children and their pipes under limits that only the hardened unit has."""

import contextlib
import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

import pytest

from hiveden_backup.core.errors import BackupError, Interrupted
from hiveden_backup.host.disk.bounds import bounds
from hiveden_backup.host.process import Command, Pipeline, ProcessError, run
from hiveden_backup.host.signals import raise_on_signals, time_limit
from hiveden_backup.jobs.services.at_once import Errand, do_all

PIPELINE = """
from hiveden_backup.host.process import Command, Pipeline
with Pipeline(Command(("echo", "all")), Command(("cat",))) as pipeline:
    print(pipeline.stdout.read().decode(), end="")
"""
MIB = 1 << 20


@pytest.fixture
def no_room_for_wide_pipes() -> Iterator[None]:
    """Our user has more in its pipes than the limit that holds without CAP_SYS_RESOURCE."""
    pages = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
    ends = [os.pipe() for _ in range(pages * os.sysconf("SC_PAGE_SIZE") // MIB + 1)]
    for _, writer in ends:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, MIB)
    yield
    for reader, writer in ends:
        os.close(reader)
        os.close(writer)


@pytest.mark.usefixtures("no_room_for_wide_pipes")
def test_narrow_pipes_do_when_there_is_no_room_for_wide_ones() -> None:
    """As a job with two dozen databases meets it in its unit."""
    unit = ("setpriv", "--bounding-set=-sys_resource,-sys_admin", "--inh-caps=-sys_resource,-sys_admin")
    done = subprocess.run(
        [*unit, sys.executable, "-c", PIPELINE], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert (done.stdout, done.stderr) == ("all\n", "")


ENDLESS = ("sh", "-c", "exec yes 'NOTICE:  nothing of interest' >&2")


def test_who_says_too_much_is_ended() -> None:
    """As a server's endless notices make pg_dump do."""
    before = peak()
    with pytest.raises(ProcessError) as caught, Pipeline(Command(ENDLESS)) as pipeline:
        pipeline.stdout.read()
    assert caught.value.what == "sh was ended, since it said too much"
    assert caught.value.why.startswith("NOTICE:  nothing of interest; ")
    assert peak() - before < 100 * MIB
    with pytest.raises(ProcessError, match="said too much"):
        run(Command(ENDLESS))


def test_all_that_is_said_up_to_the_limit_is_there() -> None:
    said = ("sh", "-c", "yes 'a complaint' | head -n 100000 >&2; exit 3")
    with pytest.raises(ProcessError) as caught, Pipeline(Command(said)) as pipeline:
        pipeline.stdout.read()
    assert caught.value.stderr == "a complaint\n" * 100_000
    assert caught.value.status == 3


def test_a_child_that_goes_on_holds_nobody_up() -> None:
    """It has its parent's error output."""
    began = time.monotonic()
    with Pipeline(Command(("sh", "-c", "sleep 30 >/dev/null & echo gone >&2"))) as pipeline:
        pipeline.stdout.read()
    assert time.monotonic() - began < 15
    assert pipeline.results[0].stderr == b"gone\n"


def peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_what_is_deaf_is_ended_at_once() -> None:
    """A thread holds signals back, and what it starts inherits that: to be asked to end would take five seconds."""
    took: list[float] = []

    def work(_: Errand) -> None:
        began = time.monotonic()
        with contextlib.suppress(ValueError), Pipeline(Command(("sleep", "100"))):
            raise ValueError
        took.append(time.monotonic() - began)

    do_all([Errand(work)])
    assert took[0] < 4


class Telling(subprocess.Popen[bytes]):
    """A program whose start and a signal to us come together."""

    started: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.started.append(self)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)  # a main thread that waits for ours has heard it by then


def through(command: Command, nothing: IO[bytes]) -> None:
    with Pipeline(command, stdin=nothing) as pipeline:
        pipeline.stdout.read()


@pytest.mark.parametrize("way", ["alone", "in a pipeline", "within bounds"])
def test_what_starts_as_we_are_told_to_end_is_ended(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Nobody else would: its output, which somebody waits for, would never end."""
    with bounds([b"."]) as within, open(os.devnull, "rb") as nothing:
        ruleset = within.ruleset if way == "within bounds" else None
        assert ruleset is not None or way != "within bounds"
        before = signal.getsignal(signal.SIGTERM)
        raise_on_signals()
        monkeypatch.setattr("subprocess.Popen", Telling)
        Telling.started.clear()
        command = Command(("sleep", "60"), ruleset=ruleset)
        try:
            with pytest.raises(Interrupted):
                run(command) if way == "alone" else through(command, nothing)
        finally:
            signal.signal(signal.SIGTERM, before)
        assert [each.poll() for each in Telling.started] in ([-signal.SIGTERM], [-signal.SIGKILL])


def wait_for(command: Command) -> None:
    with Pipeline(command) as pipeline:
        while not pipeline.ends_within(0.002):
            pass


def test_wherever_a_signal_raises_what_runs_is_ended() -> None:
    """Not only where we wait for it: between any two steps of what we call as well."""
    chance = random.Random(13)
    for _ in range(200):
        began, over = time.monotonic(), BackupError("over")
        with pytest.raises(BackupError, match="over"), time_limit(chance.uniform(0.001, 0.015), over):
            wait_for(Command(("sleep", "60")))
        assert time.monotonic() - began < 4, "a program that is deaf to SIGTERM is given five seconds"
