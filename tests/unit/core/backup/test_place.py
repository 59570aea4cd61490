"""Where a backup lies, by where its archives do."""

import pytest

from hiveden_backup.core.backup.place import Place, of_backup


@pytest.mark.parametrize(
    ("here", "there", "copied", "where"),
    [
        ("ab", "", False, Place.HERE),
        ("ab", "a", False, Place.HERE),
        ("ab", "ab", False, Place.HERE),  # its index did not arrive yet
        ("ab", "ab", True, Place.BOTH),
        ("a", "b", True, Place.THERE),
        ("", "ab", True, Place.THERE),
        ("a", "", True, Place.LOST),
        ("", "a", True, Place.LOST),
    ],
)
def test_of_backup(here: str, there: str, where: Place, *, copied: bool) -> None:
    assert of_backup("ab", set(here), set(there), copied=copied) is where


def test_one_without_files() -> None:
    assert of_backup((), (), (), copied=True) is Place.BOTH
    assert of_backup((), (), (), copied=False) is Place.HERE
