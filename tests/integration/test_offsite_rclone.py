"""The door to remote places, by the real rclone: a directory as a remote, and what it says when it fails."""

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import (
    BackupError,
    CorruptError,
    FullError,
    ImpossibleError,
    NotFoundError,
    UnreachableError,
)
from hiveden_backup.host.offsite import rclone
from hiveden_backup.host.offsite.listing import Object
from hiveden_backup.host.offsite.rclone import Remote
from hiveden_backup.host.process import Brake
from tests.support.disks import small_disk

NAME = "nas-00000000/a/archives/20261101T023000Z.hot-0001.tar.zst.0000.age"
CONTENT = os.urandom(5000)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory that stands for a disk elsewhere."""
    place = tmp_path / "there"
    place.mkdir()
    return place


@pytest.fixture
def remote(there: Path, tmp_path: Path) -> Remote:
    return Remote(Offsite(name="usb", remote=str(there), encrypt=False), tmp_path / "state")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def by_configuration(tmp_path: Path, text: str, **keys: str) -> Remote:
    """A remote `there:` of a configuration file."""
    path = tmp_path / "rclone.conf"
    path.write_text(f"[there]\n{text}\n")
    values = {"remote": "there:x", "bandwidth": "", **keys}
    offsite = Offsite("there", values["remote"], str(path), encrypt=False, bandwidth=values["bandwidth"])
    return Remote(offsite, tmp_path / "state")


def test_what_was_put_is_there_and_comes_back(remote: Remote, there: Path, source: Path, tmp_path: Path) -> None:
    remote.put(source, NAME)
    assert (there / NAME).read_bytes() == CONTENT
    assert remote.get(NAME, tmp_path / "back", 1 << 20) == len(CONTENT)
    assert (tmp_path / "back").read_bytes() == CONTENT
    assert remote.read(NAME, len(CONTENT)) == CONTENT
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o600


def test_what_lies_there_already_is_replaced(remote: Remote, there: Path, source: Path) -> None:
    (there / NAME).parent.mkdir(parents=True)
    (there / NAME).write_bytes(b"cut")
    os.utime(there / NAME, (2**31, 2**31))
    remote.put(source, NAME)
    assert (there / NAME).read_bytes() == CONTENT


def test_what_is_missing_or_empty_or_too_long_is_said(
    remote: Remote, there: Path, source: Path, tmp_path: Path
) -> None:
    remote.put(source, NAME)
    (there / "empty").touch()
    for name in ("nothing", "nothing/at/all", "empty"):
        with pytest.raises(NotFoundError, match="is not there"):
            remote.get(name, tmp_path / "back", 100)
    with pytest.raises(CorruptError, match="longer than 4999 bytes"):
        remote.get(NAME, tmp_path / "back", 4999)
    assert not (tmp_path / "back").exists()


def test_a_listing_has_names_and_sizes(remote: Remote, source: Path) -> None:
    assert not [*remote.list()]
    assert not [*remote.list("nothing")]
    for name in ("a/x", "a/y/z", "b/ö 'x%2F"):
        remote.put(source, name)
    assert sorted(each.name for each in remote.list()) == ["a/x", "a/y/z", "b/ö 'x%2F"]
    assert sorted(remote.list("a"), key=lambda each: each.name) == [Object("a/x", 5000), Object("a/y/z", 5000)]


def test_what_is_removed_is_gone_and_what_is_not_there_is_no_failure(remote: Remote, there: Path, source: Path) -> None:
    for name in ("a/x", "a/y", "a/z"):
        remote.put(source, name)
    remote.remove(["a/x", "a/y", "a/nothing"])
    remote.remove([])
    assert [each.name for each in remote.list()] == ["a/z"]
    assert (there / "a").is_dir()


def test_a_place_tells_what_it_knows(remote: Remote, tmp_path: Path) -> None:
    assert not remote.knows_md5  # to know it of a file on a disk, it has to be read
    assert (remote.room() or 0) > 0
    assert by_configuration(tmp_path, "type = s3\nprovider = Minio\nendpoint = http://127.0.0.1:1").knows_md5


def test_a_disk_that_is_away_is_said(source: Path, tmp_path: Path) -> None:
    remote = Remote(Offsite(name="usb", remote=str(tmp_path / "away"), encrypt=False), tmp_path / "state")
    for act in (lambda: remote.put(source, "x"), lambda: [*remote.list()], lambda: remote.read("x", 9)):
        with pytest.raises(UnreachableError, match="perhaps its disk is not mounted"):
            act()
    assert not (tmp_path / "away").exists()


def test_a_full_disk_is_said(source: Path, tmp_path: Path) -> None:
    source.write_bytes(os.urandom(3 << 20))
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", "2m"):
        remote = Remote(Offsite(name="usb", remote=str(tmp_path / "disk"), encrypt=False), tmp_path / "state")
        with pytest.raises(FullError, match="usb failed") as caught:
            remote.put(source, "x")
    assert caught.value.exit_code == 73


def test_a_place_that_does_not_answer_is_said_soon(source: Path, tmp_path: Path) -> None:
    text = "type = s3\nprovider = Minio\naccess_key_id = AKIAEXAMPLE\nsecret_access_key = hunter2hunter2\n"
    remote = by_configuration(tmp_path, f"{text}endpoint = http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="Sending to the offsite there failed") as caught:
        remote.put(source, "x")
    assert time.monotonic() - began < 30
    assert "hunter2" not in str(caught.value)


def test_a_configuration_that_is_not_there_is_said(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ImpossibleError, match="find section"):
        by_configuration(tmp_path, "type = local", remote="other:x").put(source, "x")
    remote = Remote(Offsite("there", "there:x", str(tmp_path / "nothing")), tmp_path / "state")
    with pytest.raises(ImpossibleError, match=r"rclone --config .* config"):
        remote.put(source, "x")


def test_the_environment_has_no_say(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    for name in ("RCLONE_DRY_RUN", "RCLONE_IMMUTABLE", "RCLONE_CONFIG_THERE_TYPE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(name, "true")
    remote = by_configuration(tmp_path, f"type = alias\nremote = {tmp_path}")
    remote.put(source, "y")
    assert (tmp_path / "x/y").read_bytes() == CONTENT


def test_bandwidth_is_kept(source: Path, tmp_path: Path) -> None:
    source.write_bytes(os.urandom(1 << 20))
    remote = by_configuration(tmp_path, f"type = alias\nremote = {tmp_path}", bandwidth="512k")
    began = time.monotonic()
    remote.put(source, "y")
    assert time.monotonic() - began > 1


def test_another_thread_can_end_it(source: Path, there: Path, tmp_path: Path) -> None:
    brake = Brake()
    brake.pull()
    with pytest.raises(BackupError, match="broken off"):
        Remote(Offsite(name="usb", remote=str(there), encrypt=False), tmp_path / "state", brake=brake).put(source, "x")


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What systemd gives a unit: a file that nobody can write to."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder / "rclone-there.conf"


def test_a_unit_has_its_configuration_by_credential(credentials: Path, source: Path, tmp_path: Path) -> None:
    credentials.write_text(f"[there]\ntype = alias\nremote = {tmp_path}\n")
    offsite = Offsite("there", "there:x", "/nothing/rclone.conf")
    Remote(offsite, tmp_path / "state").put(source, "y")
    assert (tmp_path / "x/y").exists()
    assert not (tmp_path / "state").exists()


def test_a_token_that_was_refreshed_stays_until_a_person_makes_a_new_one(
    credentials: Path, source: Path, tmp_path: Path
) -> None:
    kept = f"[there]\ntype = alias\nremote = {tmp_path}\ntoken = "
    credentials.write_text(f"{kept}old\n")
    offsite = Offsite("there", "there:x", "/nothing/rclone.conf")
    Remote(offsite, tmp_path / "state").put(source, "y")
    copy = next((tmp_path / "state").rglob("rclone.conf"))
    assert copy.stat().st_mode & 0o777 == 0o600
    copy.write_text(f"{kept}refreshed\n")
    Remote(offsite, tmp_path / "state").put(source, "y")
    assert "refreshed" in copy.read_text()
    credentials.write_text(f"{kept}new\n")
    Remote(offsite, tmp_path / "state").put(source, "y")
    assert "new" in copy.read_text()


def test_a_machine_without_rclone_is_told_what_to_install(
    remote: Remote, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match="apt-get install rclone"):
        remote.put(source, "x")


def test_whatever_size_is_claimed_there_is_a_bound_on_time(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    remote = by_configuration(tmp_path, f"type = alias\nremote = {tmp_path}")
    (tmp_path / "x" / "y").write_bytes(CONTENT)
    assert remote.get("y", tmp_path / "back", 10**17) == len(CONTENT)


def test_a_place_that_drips_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rclone, "_LEAST_SECONDS", 2)
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not ended.wait(0.2):
                connection.sendall(b"x")

    def serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        text = f"type = webdav\nvendor = other\nurl = http://127.0.0.1:{server.getsockname()[1]}"
        try:
            with pytest.raises(UnreachableError, match="takes too long"):
                by_configuration(tmp_path, text).stat("x")
        finally:
            ended.set()


def test_what_rclone_says_has_an_end(remote: Remote, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.put(source, "x")
    monkeypatch.setattr(rclone, "_LONGEST_LISTING", 20)
    with pytest.raises(UnreachableError, match="says too much"):
        list(remote.list())
    monkeypatch.setattr(rclone, "_SMALL", 20)
    with pytest.raises(UnreachableError, match="says too much"):
        remote.stat("x")


@pytest.mark.parametrize("kind", ["disk", "place"])
def test_small_objects_are_read_together(remote: Remote, there: Path, tmp_path: Path, kind: str) -> None:
    if kind == "place":
        remote = by_configuration(tmp_path, f"type = alias\nremote = {there}", remote="there:")
    (there / "s").mkdir()
    for name in ("a", "b"):
        (there / "s" / name).write_bytes(name.encode() * 10)
    (tmp_path / "secret").write_bytes(b"secret")
    (there / "s/link").symlink_to(tmp_path / "secret")
    found = dict(remote.read_all("s", ["a", "b", "link", "gone"], 10))
    assert (found["a"], found["b"]) == (b"a" * 10, b"b" * 10)
    assert [type(found[name]).__name__ for name in ("link", "gone")].count("bytes") == 0
    (there / "s/a").write_bytes(b"a" * (1 << 20))
    (there / "s/b").write_bytes(b"b" * 11)
    errors = dict(remote.read_all("s", ["a", "b"], 10))
    assert all(isinstance(each, BackupError) for each in errors.values())
    assert ("longer than 10 bytes" if kind == "disk" else "max-transfer") in str(errors["a"])
