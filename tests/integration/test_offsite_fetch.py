"""Files out of their slices: what would not fit is not even asked for."""

from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.errors import StorageError
from hiveden_backup.core.offsite.sums import Content, Piece
from hiveden_backup.jobs.offsite.asked import There
from hiveden_backup.jobs.offsite.fetch import Sliced, fetch
from tests.support.disks import small_disk

PATH = "archives/20261101T023000Z.hot-0001.tar.zst"


def test_what_has_no_room_is_not_fetched(tmp_path: Path) -> None:
    for name in ("disk", "there"):
        (tmp_path / name).mkdir()
    there = There(Offsite("usb", f"{tmp_path}/there", encrypt=False), "nas-00000000", tmp_path / "state", None, "")
    piece = Piece(f"{PATH.partition('/')[2]}.0000", 3 << 20, "0" * 64)
    file = Sliced("app/archives", Content(PATH, 3 << 20, "0" * 64), (piece,), ())
    with small_disk(tmp_path / "disk", "2m"):
        with pytest.raises(StorageError, match="There is no room") as caught:
            fetch(there, file, tmp_path / "disk" / "x")
        assert list((tmp_path / "disk").iterdir()) == []
    assert "6.0 MiB" in str(caught.value)
