"""`offsite status`: what a person asks when the disk, or the bill, comes."""

import os
import re
import secrets
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.offsite import layout
from hiveden_backup.core.offsite.journal import Did, Line
from hiveden_backup.host.state.offsites import Facts, Offsites, offsite_lock
from tests.support.job import Site, site
from tests.support.offsite_home import configured, new_key
from tests.support.offsite_places import on_s3
from tests.support.offsite_s3 import S3


@pytest.mark.parametrize("kept", [True, False])
def test_after_one_push_it_tells_whether_the_bucket_keeps_versions(tmp_path: Path, s3: S3, *, kept: bool) -> None:
    name = f"status-{secrets.token_hex(4)}"
    bucket = s3.versioned(name) if kept else s3.bucket(name)
    with site(tmp_path / "site") as made, on_s3(s3, tmp_path, bucket) as place:
        table = {"remote": place.remote, "rclone_config": str(place.config), "encrypt": False}
        made.configure({"app": {"paths": [str(made.data)]}}, offsite={"far": table})
        (made.data / "photo").write_bytes(b"x")
        made.init().run("run", "app").succeeded()
        (row,) = made.run("offsite", "status", "--json").json
        assert row["versions"] is None, "nothing is there yet that could tell"
        made.run("offsite", "push").succeeded()
        (row,) = made.run("offsite", "status", "--json").json
        assert row["versions"] is kept
        assert ("keeps no versions" in made.run("offsite", "status").out) is not kept


def test_where_nothing_is_yet_that_is_said(tmp_path: Path) -> None:
    with site(tmp_path / "site") as made:
        home = configured(made, tmp_path / "there", new_key(tmp_path / "key"))
        made.init()
        assert home.push().succeeded().out == "usb: app: there is no backup yet.\n"
        assert made.run("offsite", "list").succeeded().out.startswith("Nothing is complete there yet")
        assert "nothing of it is there yet" in made.run("offsite", "verify").succeeded().out


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
        behind = r"\d+(\.\d+)? s +\d+(\.\d+)? [KM]?i?B"
        assert re.search(rf"^usb +app +never +- +{behind} +never$", made.run("status").out, re.MULTILINE)
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
        assert re.search(rf"^usb +app +failed +{backup} +{behind} +20", made.run("status").out, re.MULTILINE)
        told = made.run("offsite", "status")
        assert (told.code, "Nothing could be sent to the offsite usb" in told.out) == (1, True)


NOW = datetime.now(UTC).replace(microsecond=0)
STANDS = {
    "never": Facts(),
    "waiting": Facts(waiting_bytes=1023 << 20, waiting_since=NOW - timedelta(hours=23, minutes=59)),
    "late": Facts(waiting_bytes=1023 << 20, waiting_since=NOW - timedelta(minutes=59, days=99)),
    "failed": Facts(failures=3, error="It was away."),
    "damaged": Facts(damaged=tuple(f"archives/20261101T023000Z.hot-0001.tar.zst.{each:04}.age" for each in range(25))),
}


def in_all_states(made: Site, tmp_path: Path) -> None:
    """A job for each state of an offsite, and for each of these every offsite."""
    places = {name: {"remote": str(tmp_path / name), "encrypt": False} for name in ("nas", "friend")}
    jobs = {f"nextcloud-{state[:4]}": {"paths": [str(made.data)]} for state in STANDS}
    made.configure(jobs, offsite=places)
    known = Offsites(made.state)
    for name in places:
        with offsite_lock(made.state, name) as held:
            for job, facts in zip(jobs, STANDS.values(), strict=True):
                if facts != Facts():
                    sums = layout.backup_sums("20261123T023000Z")
                    known.note(held, job, [Line(NOW, Did.PUT, sums, 1023 << 20)])
                    known.put_facts(held, job, replace(facts, reconciled=NOW))


def test_every_state_fits_a_terminal(tmp_path: Path) -> None:
    with site(tmp_path / "site") as made:
        in_all_states(made, tmp_path)
        made.init()
        done = made.run("offsite", "status")
        assert done.code == 1
        head, *lines = done.out.splitlines()
        rows = [line for line in lines if line.split()[:1] in (["nas"], ["friend"])]
        assert [row.split()[2] for row in rows] == [*STANDS] * 2
        assert max(map(len, (head, *rows))) <= 80
        assert "nas: 4 backups of 5 jobs, 4.0 GiB. Nothing tells whether it keeps versions." in lines
        assert "nextcloud-dama at friend: 5 more are damaged; --json has all" in lines
        told = made.run("status").out
        assert all(row in told.splitlines() for row in (head, *rows)), told


def test_a_place_that_is_not_known_is_looked_at_before_anything_is_sent(tmp_path: Path) -> None:
    with site(tmp_path / "site") as made:
        (made.data / "photo").write_bytes(os.urandom(1000))
        home = configured(made, tmp_path / "there", new_key(tmp_path / "key"))
        made.init()
        home.backup()
        home.pushed()
        place = made.state / "offsite/usb/.place.json"
        place.write_bytes(b"{")
        home.push().failed(74, "not known which place the offsite usb was", "remove the file")
        for command in (("status",), ("offsite", "status")):
            told = made.run(*command)
            assert (told.code, "not known which place" in told.out) == (1, True)
        failed = [row["message"] for row in made.run("check", "--json").json if row["status"] == "FAIL"]
        assert any("not known which place" in each for each in failed)
        place.unlink()
        (home.host / "app" / home.listed()[0] / "SHA256SUMS").unlink()
        assert home.pushed()["objects"] > 0
        assert home.check() == home.listed()
