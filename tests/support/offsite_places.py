"""Real places for offsites: S3, SFTP, WebDAV, a local disk; each new, empty, behind a proxy, with its rclone.conf."""

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import offsite_s3
from tests.support.meddler import Meddler, between
from tests.support.offsite_s3 import S3
from tests.support.offsite_servers import NO_REMOVING, PASSWORD, USER, Sshd, Started, WebDav

KINDS = ("s3", "sftp", "webdav", "disk")
THROUGH, STRAIGHT = "place", "straight"
"""What a place is called in its rclone.conf: through the proxy, and without it."""


@dataclass(frozen=True)
class Place:
    """A place, as a configuration names it: `remote` and `config`. A local disk has no proxy.

    Its methods are the test's own: they go past the proxy, with all rights. `bucket` is that of S3.
    """

    kind: str
    path: str
    config: Path
    proxy: Meddler | None = None
    bucket: str = ""

    @property
    def remote(self) -> str:
        return f"{THROUGH}:{self.path}"

    @property
    def meddler(self) -> Meddler:
        """Its proxy, where there must be one."""
        assert self.proxy is not None, f"{self.kind} has no proxy"
        return self.proxy

    def rclone(self, *arguments: str, content: bytes = b"") -> bytes:
        """What rclone says, which must succeed."""
        done = subprocess.run(
            ["rclone", f"--config={self.config}", "--retries=1", "--low-level-retries=1", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.config.parent), "LC_ALL": "C"},
            input=content,
            capture_output=True,
            check=False,
        )
        assert not done.returncode, done.stderr.decode()
        return done.stdout

    def at(self, name: str = "") -> str:
        return f"{STRAIGHT}:{self.path}/{name}" if name else f"{STRAIGHT}:{self.path}"

    def listing(self) -> dict[str, int]:
        """All objects there, and their sizes."""
        self.rclone("mkdir", self.at())
        found = json.loads(self.rclone("lsjson", "--recursive", "--files-only", self.at()))
        return {entry["Path"]: entry["Size"] for entry in found}

    def get(self, name: str) -> bytes:
        assert name in self.listing()  # rclone 1.60 succeeds in reading what is not there
        return self.rclone("cat", self.at(name))

    def put(self, name: str, content: bytes) -> None:
        self.rclone("rcat", "--retries=3", self.at(name), content=content)

    def remove(self, *names: str) -> None:
        for name in names:
            self.rclone("deletefile", self.at(name))

    def empty(self) -> None:
        self.rclone("delete", self.at())


def write_config(path: Path, **sections: dict[str, object]) -> Path:
    """An rclone.conf with these sections, as `rclone config` leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        "".join([f"[{name}]\n", *(f"{key} = {value}\n" for key, value in section.items())])
        for name, section in sections.items()
    ]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines))
    return path


def s3_section(port: int, who: str = "admin") -> dict[str, object]:
    """How rclone reaches an S3 server on loopback, as one of `offsite_s3.KEYS`."""
    return {
        "type": "s3",
        "provider": "Other",
        "access_key_id": who,
        "secret_access_key": offsite_s3.KEYS[who],
        "endpoint": f"http://127.0.0.1:{port}",
        "region": offsite_s3.REGION,
        "force_path_style": "true",
    }


def sftp_section(server: Sshd, port: int) -> dict[str, object]:
    """How rclone reaches an sshd on loopback."""
    return {
        "type": "sftp",
        "host": "127.0.0.1",
        "port": port,
        "user": "root",
        "key_file": server.key,
        "shell_type": "unix",
        "md5sum_command": "md5sum",
        "sha1sum_command": "sha1sum",
    }


def webdav_section(port: int) -> dict[str, object]:
    """How rclone reaches a WebDAV server on loopback."""
    hidden = subprocess.run(["rclone", "obscure", "-"], input=PASSWORD, capture_output=True, text=True, check=True)
    url = f"http://127.0.0.1:{port}"
    return {"type": "webdav", "url": url, "vendor": "other", "user": USER, "pass": hidden.stdout.strip()}


@contextlib.contextmanager
def in_front_of(port: int, *, http: bool = True) -> Iterator[tuple[Meddler, int]]:
    """A proxy for the block, and its port."""
    with between(Meddler(("127.0.0.1", port), ("127.0.0.1", 0), http=http, error=_xml)) as made:
        assert not isinstance(made.place, Path)
        yield made, made.place[1]


def _xml(status: str) -> bytes:
    """The body of an error, as S3 writes it: what it says comes of its code, not of the status."""
    code = status.partition(" ")[2]
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>the proxy says so</Message></Error>".encode()


@contextlib.contextmanager
def on_s3(server: S3, folder: Path, bucket: str = "", who: str = "admin") -> Iterator[Place]:
    """A place in a bucket, which is new unless one is named, as one of the users."""
    bucket = bucket or server.bucket(f"b{secrets.token_hex(6)}")
    with in_front_of(server.port) as (proxy, port):
        sections = {THROUGH: s3_section(port, who), STRAIGHT: s3_section(server.port)}
        config = write_config(folder / f"{bucket}-{who}.conf", **sections)
        yield Place("s3", f"{bucket}/backups", config, proxy, bucket)


@contextlib.contextmanager
def on_sftp(server: Sshd, folder: Path, straight: Sshd | None = None) -> Iterator[Place]:
    """A place behind an sshd; the test's own way is that of `straight`, where the other does not let it do all."""
    top = folder / f"sftp-{secrets.token_hex(4)}"
    top.mkdir()
    with in_front_of(server.port, http=False) as (proxy, port):
        free = straight or server
        sections = {THROUGH: sftp_section(server, port), STRAIGHT: sftp_section(free, free.port)}
        yield Place("sftp", str(top), write_config(folder / f"{top.name}.conf", **sections), proxy)


@contextlib.contextmanager
def on_webdav(server: WebDav, folder: Path) -> Iterator[Place]:
    """A place behind a WebDAV server."""
    name = f"dav-{secrets.token_hex(4)}"
    with in_front_of(server.port) as (proxy, port):
        sections = {THROUGH: webdav_section(port), STRAIGHT: webdav_section(server.port)}
        yield Place("webdav", name, write_config(folder / f"{name}.conf", **sections), proxy)


def on_disk(folder: Path) -> Place:
    """A place on a disk of this machine."""
    top = folder / f"disk-{secrets.token_hex(4)}"
    top.mkdir()
    local: dict[str, object] = {"type": "local"}
    return Place("disk", str(top), write_config(folder / f"{top.name}.conf", **{THROUGH: local, STRAIGHT: local}))


@pytest.fixture
def s3_place(s3: S3, tmp_path: Path) -> Iterator[Place]:
    """A new bucket."""
    with on_s3(s3, tmp_path) as place:
        yield place


@pytest.fixture
def sftp_place(sshd: Started, tmp_path: Path) -> Iterator[Place]:
    """A new directory behind an sshd."""
    with on_sftp(sshd(()), tmp_path) as place:
        yield place


@pytest.fixture
def keeping_sftp_place(sshd: Started, tmp_path: Path) -> Iterator[Place]:
    """A new directory behind an sshd that lets nobody remove or rename anything."""
    with on_sftp(sshd(NO_REMOVING), tmp_path, sshd(())) as place:
        yield place


@pytest.fixture
def webdav_place(webdav: WebDav, tmp_path: Path) -> Iterator[Place]:
    """A new folder behind a WebDAV server."""
    with on_webdav(webdav, tmp_path) as place:
        yield place


@pytest.fixture
def disk_place(tmp_path: Path) -> Place:
    """A new directory of this machine."""
    return on_disk(tmp_path)


@pytest.fixture(params=KINDS)
def each_place(request: pytest.FixtureRequest) -> Place:
    """A new place of each kind in turn."""
    place = request.getfixturevalue(f"{request.param}_place")
    assert isinstance(place, Place)
    return place


def is_listing(method: str, path: str) -> bool:
    """Whether a request asks S3 or a WebDAV server for a listing."""
    return method == "PROPFIND" or (method == "GET" and "prefix=" in path)
