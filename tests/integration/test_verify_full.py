"""A verify that has no room for its own lists says so: that is nothing against the backup."""

from pathlib import Path

from tests.support.disks import small_disk
from tests.support.job import site


def test_a_full_temporary_directory_is_no_damage(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        for number in range(2000):
            (made.data / f"file-{number}").touch()
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        with small_disk(made.temporary, "64k"):
            done = made.run("verify", "app/latest")
        assert done.out == f"app/{made.ids()[0]}: inconclusive\n"
        done.failed(74, str(made.temporary), "No space left on device")
        made.run("status").succeeded()
        assert not list(made.state.glob("verified/app/*")), "nothing is known of it"
        made.run("verify", "app/latest").succeeded()
