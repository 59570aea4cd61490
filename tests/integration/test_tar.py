"""What is said of an archive when the program that reads it was ended: nothing."""

import contextlib
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.errors import CorruptError
from hiveden_backup.host.disk import stream, tar
from hiveden_backup.host.process import Command, Pipeline, ProcessError


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
        tar.list_members(archive, 4 << 20, "", tmp_path / "listing", progress=lambda _: None)


def fed(archive: Path, *commands: Command, sha256: str = "") -> tuple[bytes, int]:
    data = archive.read_bytes()
    told: list[int] = []
    with Pipeline(*commands, stdin=subprocess.PIPE) as pipeline:
        stream.feed(archive, len(data), sha256 or hashlib.sha256(data).hexdigest(), pipeline.stdin, told.append)
        said = pipeline.stdout.read()
    return said, sum(told)


def test_what_is_fed_is_what_was_digested(archive: Path, tmp_path: Path) -> None:
    count = Command(("sha256sum",))
    content = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    untar = Command(("tar", "-xO", "-f", "-", "file"))
    said, told = fed(archive, stream.DECOMPRESSOR, untar, count)
    assert said.split()[0] == content.encode()
    assert told == archive.stat().st_size
    with pytest.raises(CorruptError, match="damaged"):
        fed(archive, stream.DECOMPRESSOR, untar, count, sha256="0" * 64)


def test_a_program_that_wants_no_more_is_no_failure_and_all_is_digested(archive: Path) -> None:
    some = Command(("head", "-c", "10"))
    said, told = fed(archive, stream.PARTIAL_DECOMPRESSOR, some)
    assert (len(said), told) == (10, archive.stat().st_size)
    with pytest.raises(CorruptError, match="damaged"):
        fed(archive, stream.PARTIAL_DECOMPRESSOR, some, sha256="0" * 64)


def test_an_archive_that_cannot_be_decoded_is_a_damaged_one_first(archive: Path) -> None:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    with archive.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"something else")
    with pytest.raises(CorruptError, match="damaged"):
        fed(archive, stream.DECOMPRESSOR, Command(("sha256sum",)), sha256=sha256)


def test_listings_of_thousands_of_archives_are_walked_at_once(tmp_path: Path) -> None:
    """An index names its archives in any order, and a process may have a thousand files open."""
    listing = tmp_path / "listing"
    lines = [b"%d " % number + b"x" * (number % 200) + b"\r\n" for number in range(1000)]
    listing.write_bytes(b"".join(lines) + b"cut off")
    walks = [tar.lines_of(listing) for _ in range(2000)]
    assert [next(walk) for walk in walks] == [lines[0]] * len(walks)
    assert list(walks[0]) == [*lines[1:], b"cut off"]
    listing.write_bytes(b"")
    assert list(tar.lines_of(listing)) == []
