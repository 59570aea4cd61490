"""Children and their pipes under limits that only the hardened unit has."""

import contextlib
import fcntl
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.host.process import Command, Pipeline, ProcessError, run
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
