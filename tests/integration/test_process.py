"""Children and their pipes under limits that only the hardened unit has."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
