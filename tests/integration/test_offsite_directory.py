"""An offsite that is a directory of this machine: links that somebody puts there lead nothing of ours elsewhere."""

import os
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import StorageError
from hiveden_backup.host.offsite.rclone import Remote

NAME = "nas-00000000/a/20261101T023000Z/manifest.json.age"
OWN = b"ours, and secret"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory that stands for a disk that others write to."""
    place = tmp_path / "there"
    place.mkdir()
    return place


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of ours that links lead to."""
    path = tmp_path / "own" / "manifest.json.age"
    path.parent.mkdir()
    path.write_bytes(OWN)
    return path


@pytest.fixture
def remote(there: Path, tmp_path: Path) -> Remote:
    return Remote(Offsite(name="usb", remote=str(there), encrypt=False), tmp_path / "state")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


def test_a_link_in_place_of_a_file_is_replaced(remote: Remote, there: Path, own: Path, source: Path) -> None:
    (there / NAME).parent.mkdir(parents=True)
    (there / NAME).symlink_to(own)
    remote.put(source, NAME)
    assert own.read_bytes() == OWN
    assert not (there / NAME).is_symlink()
    assert (there / NAME).read_bytes() == b"content"
    assert os.listdir((there / NAME).parent) == [Path(NAME).name]
    assert (there / NAME).stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_read_or_removed_through_a_link_in_place_of_a_folder(
    remote: Remote, there: Path, own: Path, source: Path
) -> None:
    folder = (there / NAME).parent
    folder.parent.mkdir(parents=True)
    folder.symlink_to(own.parent)
    for act in (
        lambda: remote.put(source, NAME),
        lambda: remote.read(NAME, 100),
        lambda: remote.remove([NAME]),
    ):
        with pytest.raises(StorageError, match=r"It is a symbolic link: .*20261101T023000Z"):
            act()
        assert [path.name for path in own.parent.iterdir()] == [own.name]
        assert own.read_bytes() == OWN


def test_a_link_in_place_of_a_file_is_not_read_and_is_removed_itself(remote: Remote, there: Path, own: Path) -> None:
    (there / NAME).parent.mkdir(parents=True)
    (there / NAME).symlink_to(own)
    with pytest.raises(StorageError, match="It is a symbolic link"):
        remote.read(NAME, 100)
    remote.remove([NAME])
    assert own.read_bytes() == OWN
    assert not (there / NAME).is_symlink()


def test_what_is_no_file_is_not_read(remote: Remote, there: Path) -> None:
    os.mkfifo(there / "x")
    with pytest.raises(StorageError, match="no regular file"):
        remote.read("x", 100)


def test_what_was_broken_off_is_in_nobodys_way(remote: Remote, there: Path, own: Path, source: Path) -> None:
    (there / "x.hiveden.partial").symlink_to(own)
    for name in ("x", "y" * 255):
        remote.put(source, name)
        assert (there / name).read_bytes() == b"content"
    assert own.read_bytes() == OWN
    assert "x.hiveden.partial" not in os.listdir(there)


def test_a_path_that_leads_over_a_link_is_said(there: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(there)
    remote = Remote(Offsite(name="usb", remote=f"{tmp_path}/link", encrypt=False), tmp_path / "state")
    with pytest.raises(StorageError, match="It is a symbolic link"):
        remote.put(source, NAME)
    assert not [*there.iterdir()]
