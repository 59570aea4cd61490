"""What is written durably grows in a file of its own, whatever somebody has put in its way."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hiveden_backup.host.disk.durable import write_durably

FOREIGN = b"somebody else's"


def _link(place: Path) -> None:
    place.symlink_to("victim")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_bytes(FOREIGN)
    return tmp_path / "victim"


def _second_name(place: Path) -> None:
    place.hardlink_to(place.parent / "victim")


@pytest.mark.parametrize("plant", [_link, _second_name, os.mkfifo])
@pytest.mark.parametrize("given", ["", ".growing"])
def test_what_waits_where_it_grows_gets_nothing(victim: Path, plant: Callable[[Path], None], given: str) -> None:
    path = victim.with_name("kit.svg")
    foreseen = path.with_name(given or f".kit.svg.{os.getpid()}.tmp")
    plant(foreseen)
    write_durably(path, b"a secret", foreseen if given else None)
    assert path.read_bytes() == b"a secret"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert victim.read_bytes() == FOREIGN


def test_a_name_may_be_as_long_as_names_are(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_durably(path, b"content")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"content"
