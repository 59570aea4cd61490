"""`offsite status`: what a person asks when the disk, or the bill, comes."""

import os
import shutil
from pathlib import Path

from tests.support.job import site
from tests.support.offsite_home import configured, new_key


def test_from_nothing_to_trouble(tmp_path: Path) -> None:
    with site(tmp_path / "site") as made:
        (made.data / "photo").write_bytes(os.urandom(1000))
        home = configured(made, tmp_path / "there", new_key(tmp_path / "key"))
        made.init()

        def row() -> dict[str, object]:
            done = made.run("offsite", "status", "--json")
            ((found,), code) = (done.json, done.code)
            assert code == (1 if found["failures"] else 0), done.err
            return {str(key): value for key, value in found.items()}

        assert (row()["state"], row()["backups"], row()["newest"]) == ("never", 0, None)
        backup = home.backup()
        assert (row()["state"], int(str(row()["lag_bytes"])) > 0) == ("never", True)
        home.pushed()
        found = row()
        assert (found["state"], found["newest"], found["backups"], found["lag_bytes"]) == ("ok", backup, 1, 0)
        assert found["bytes"] == sum(map(len, home.objects.values()))
        assert found["versions"] is None, "a directory does not tell"
        assert found["damaged"] == []
        said = made.run("offsite", "status").succeeded().out
        assert backup in said
        shutil.rmtree(home.there)
        home.backup()
        home.push().failed(69, "is not there")
        found = row()
        assert (found["state"], found["failures"], found["newest"]) == ("failed", 1, backup)
        assert "is no directory" in str(found["error"])
        assert found["next_try"] is not None
        told = made.run("offsite", "status")
        assert (told.code, "Nothing could be sent to the offsite usb" in told.out) == (1, True)
