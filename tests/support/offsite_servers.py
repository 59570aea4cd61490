"""Real servers for offsites beside S3's: an sshd, and a WebDAV server, ended by their own pids."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.http import free_port

USER, PASSWORD = "friend", "the-friend's secret"
PATIENCE = 20.0
NO_REMOVING = ("-P", "remove,rename")
"""What sftp-server is told where nothing may be removed or get another name; it can be overwritten all the same."""


@dataclass(frozen=True)
class Sshd:
    """A running sshd, which root comes into by `key`."""

    port: int
    key: Path
    known_hosts: Path


@dataclass(frozen=True)
class WebDav:
    """A running WebDAV server that shows `directory`."""

    port: int
    directory: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running_sshd(options: Sequence[str] = (), more: str = "") -> Iterator[Sshd]:
    """An sshd for the block. `options` are those of its SFTP server, `more` are lines at the end of its settings."""
    top = Path(tempfile.mkdtemp(prefix="hb-sshd-"))
    top.chmod(0o711)  # keys are looked up as the one who comes
    port = free_port("127.0.0.1")
    try:
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / name], check=True)
        (top / "known").write_text(f"[127.0.0.1]:{port} {(top / 'host.pub').read_text()}")
        locked = any(line.startswith("root:!") for line in Path("/etc/shadow").read_text().splitlines())
        settings = {
            "ListenAddress": "127.0.0.1",
            "Port": port,
            "PidFile": "none",
            "HostKey": top / "host",
            "AuthorizedKeysFile": top / "user.pub",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "UsePAM": "yes" if locked else "no",  # without PAM, who has no password cannot come in by key either
            "MaxStartups": 100,
            "Subsystem": " ".join(["sftp", "internal-sftp", *options]),
        }
        (top / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()) + more)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its start script makes it
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if sshd is None:
            pytest.fail("sshd is missing: apt-get install openssh-server")
        with _running([sshd, "-D", "-e", "-f", str(top / "config")], top, port):
            yield Sshd(port, top / "user", top / "known")
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def running_webdav() -> Iterator[WebDav]:
    """A WebDAV server for the block, which wants a password."""
    top = Path(tempfile.mkdtemp(prefix="hb-dav-"))
    made = WebDav(free_port("127.0.0.1"), top / "content")
    made.directory.mkdir()
    try:
        arguments = ["serve", "webdav", str(made.directory), f"--addr=127.0.0.1:{made.port}", f"--config={os.devnull}"]
        credentials = {"RCLONE_USER": USER, "RCLONE_PASS": PASSWORD}
        rclone = shutil.which("rclone", path=os.defpath) or "rclone"  # Debian's, whichever one the program is to use
        with _running([rclone, *arguments, "--dir-cache-time=0s"], top, made.port, credentials):
            yield made
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def _running(argv: Sequence[str], top: Path, port: int, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A program that listens on `port`, for the block."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(top), "TMPDIR": str(top), **(environment or {})}
    with (top / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=variables, cwd=top, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{argv[0]} did not start: {(top / 'log').read_text()}")
            time.sleep(0.02)
        yield
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


Started = Callable[[Sequence[str]], Sshd]


@pytest.fixture(scope="session")
def sshd() -> Iterator[Started]:
    """The sshd that the tests of a worker share, one for each set of options."""
    with contextlib.ExitStack() as stack:
        started: dict[tuple[str, ...], Sshd] = {}

        def start(options: Sequence[str] = ()) -> Sshd:
            key = tuple(options)
            if key not in started:
                started[key] = stack.enter_context(running_sshd(options))
            return started[key]

        yield start


@pytest.fixture(scope="session")
def webdav() -> Iterator[WebDav]:
    """The WebDAV server that the tests of a worker share: each has a directory of its own."""
    with running_webdav() as server:
        yield server
