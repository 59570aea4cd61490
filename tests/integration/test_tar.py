"""What is said of an archive when the program that reads it was ended: nothing."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.errors import CorruptError
from hiveden_backup.host.disk import stream, tar
from hiveden_backup.host.process import ProcessError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """More than pipes hold, so that its readers wait."""
    (tmp_path / "file").write_bytes(os.urandom(8 << 20))
    subprocess.run(
        ["tar", "--zstd", "-cf", tmp_path / "a.tar.zst", "-C", tmp_path, "file"], check=True, capture_output=True
    )
    return tmp_path / "a.tar.zst"


def kill_zstd(archive: Path) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(folder / "fd/0") == str(archive.resolve()):
                os.kill(int(folder.name), signal.SIGKILL)


def read(archive: Path, *, killed: bool = False) -> None:
    with stream.decompressed(archive) as content:
        content.read(1)
        if killed:
            kill_zstd(archive)
        for _ in stream.chunks(content):
            pass


def test_a_reader_that_was_killed_says_nothing_of_the_archive(archive: Path) -> None:
    """As the kernel does when memory is short: a whole backup would be taken again, and told of, for nothing."""
    with pytest.raises(ProcessError, match="signal 9"):
        read(archive, killed=True)


def test_a_cut_archive_is_damaged(archive: Path, tmp_path: Path) -> None:
    os.truncate(archive, 4 << 20)
    with pytest.raises(CorruptError):
        read(archive)
    with pytest.raises(CorruptError):
        tar.list_members(archive, 4 << 20, tmp_path / "listing")
