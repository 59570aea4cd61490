"""How much of a disk stays free while archives leave it."""

from pathlib import Path

import pytest

from hiveden_backup.core.config.values import Offsite
from hiveden_backup.jobs.run.room import SPARE, spare

MIB = 1 << 20
STAYS = Offsite("nas", "/nas", slice=8 * MIB)
LEAVES = Offsite("b2", "b2:x", slice=128 * MIB, keep_local="newest")


@pytest.mark.parametrize(
    ("state", "offsites", "slices"),
    [
        ("here", [STAYS, LEAVES], 3 * 136 * MIB),  # a push needs room for what is on its way, on the same disk
        ("/proc", [STAYS, LEAVES], 0),
        ("here", [STAYS], 0),
        ("here", [], 0),
    ],
)
def test_slices_have_room_where_they_are_made_on_the_same_disk(
    tmp_path: Path, state: str, offsites: list[Offsite], slices: int
) -> None:
    (tmp_path / "here").mkdir()
    assert spare(tmp_path / state, tmp_path, offsites) == SPARE + slices
