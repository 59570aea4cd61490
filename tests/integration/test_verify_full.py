"""Verify and restore without room for their own lists say so: that is nothing against the backup, or the target."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.job import Site, site


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    """A backup of so many names that their list is larger than a small disk."""
    with site(tmp_path) as made:
        for number in range(2000):
            (made.data / f"file-{number}").touch()
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        yield made


def test_a_full_temporary_directory_is_no_damage(made: Site) -> None:
    with small_disk(made.temporary, "64k"):
        done = made.run("verify", "app/latest")
    assert done.out.startswith(f"app/{made.ids()[0]}: inconclusive, signed here. Writing the list ")
    assert "0 of 1 backup proven" in done.out
    done.failed(74, str(made.temporary), "No space left on device")
    made.run("status").succeeded()
    assert not list(made.state.glob("verified/app/*")), "nothing is known of it"
    made.run("verify", "app/latest").succeeded()


@pytest.mark.parametrize("size", ["64k", "220k"])
def test_a_restore_names_the_disk_that_is_full(made: Site, size: str) -> None:
    """Not that of its target, which has room."""
    with small_disk(made.temporary, size):
        made.run("restore", "app/latest", "--to", str(made.path / "x")).failed(
            74, f"{made.temporary}/", "No space left on device"
        )
