"""The one reader: what is no regular file is neither opened nor waited for, and a large one is not read."""

import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hiveden_backup.host.disk import durable
from hiveden_backup.host.disk.durable import UnfitFileError, digest, opened, pieces, read_regular

MOST = 1000
SPARSE = 8 << 40


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as found:
        os.chdir(path.parent)  # a socket's path is short
        found.bind(path.name)


def link(path: Path) -> None:
    (path.parent / "real").write_text("x")
    path.symlink_to("real")


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


def long(path: Path) -> None:
    path.write_bytes(b"x" * (MOST + 1))


UNFIT: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a socket": bound,
    "a link": link,
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link in a circle": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a directory": Path.mkdir,
    "a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    "a device without a driver": lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(240, 99)),
    "8 TiB of nothing": sparse,
    "one byte too much": long,
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_is_unfit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    UNFIT[what](tmp_path / "it")
    with pytest.raises(UnfitFileError) as caught:
        read_regular(tmp_path / "it", MOST)
    assert caught.value.filename == str(tmp_path / "it")
    assert str(caught.value.strerror).startswith("It ")


@pytest.mark.parametrize("size", [0, 1, MOST])
def test_a_file_is_read_to_its_last_byte(tmp_path: Path, size: int) -> None:
    (tmp_path / "it").write_bytes(b"x" * size)
    assert read_regular(tmp_path / "it", MOST) == b"x" * size


def test_a_file_of_the_kernel_says_no_size_and_is_read() -> None:
    assert len(read_regular(Path("/proc/sys/kernel/random/boot_id"), MOST)) == 37
    with pytest.raises(UnfitFileError):
        read_regular(Path("/proc/sys/kernel/random/boot_id"), 36)


def test_only_what_root_names_is_followed(tmp_path: Path) -> None:
    link(tmp_path / "it")
    assert read_regular(tmp_path / "it", MOST, follow=True) == b"x"


def test_a_missing_file_is_no_unfit_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "it", MOST)


def test_another_size_than_was_written_is_refused_at_once(tmp_path: Path) -> None:
    sparse(tmp_path / "it")
    with pytest.raises(UnfitFileError, match="8796093022208 bytes"):
        digest(tmp_path / "it", 5)
    with pytest.raises(UnfitFileError), opened(tmp_path / "it", most=1 << 30):
        pass


def test_a_file_that_grows_while_it_is_read_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"x" * 10)
    with opened(path) as file, path.open("ab") as more:
        for piece in pieces(file):
            more.write(piece * 2)
            more.flush()
    assert path.stat().st_size == 30


def test_nobody_who_holds_a_lease_is_waited_for(tmp_path: Path) -> None:
    """Whoever may open a file for writing may have a lease on it; a reader waits 45 seconds for its end."""
    path = tmp_path / "it"
    path.write_bytes(b"x")
    program = (
        "import fcntl, os, signal, sys\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print(flush=True); sys.stdin.read()"
    )
    command = ["python3", "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BlockingIOError) as caught:
            read_regular(path, MOST)
        assert caught.value.filename == str(path)


def test_a_fifo_is_made_durable_by_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "it")
    thread = threading.Thread(target=pytest.raises, args=(UnfitFileError, durable.fsync_file, tmp_path / "it"))
    thread.daemon = True
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
