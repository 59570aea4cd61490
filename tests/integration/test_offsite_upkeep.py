"""A push compares what is there when that is due, and `offsite reconcile` and `offsite verify` do so by hand."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.host.state.key import this_key
from tests.support.job import Site, site
from tests.support.meddler import DENIED, PASS
from tests.support.offsite_home import Home, Key, configured, new_key
from tests.support.offsite_places import Place, is_listing, on_s3
from tests.support.offsite_s3 import S3

SIZE = 1_300_000  # of random bytes: two slices


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return new_key(tmp_path_factory.mktemp("key") / "key")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "site") as each:
        (each.data / "large").write_bytes(os.urandom(SIZE))
        yield each


@pytest.fixture
def home(made: Site, key: Key, tmp_path: Path) -> Home:
    """One backup, pushed."""
    found = configured(made, tmp_path / "there", key)
    made.init()
    found.backup()
    found.pushed()
    return found


def later(home: Home, **facts: object) -> None:
    """As if what is there had been compared a month ago."""
    path = home.site.state / "offsite/usb/app.json"
    then = (datetime.now(UTC) - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    path.write_text(json.dumps({**json.loads(path.read_text()), "reconciled": then, **facts}))


def test_a_place_that_was_emptied_is_filled_when_it_is_compared(home: Home) -> None:
    before = home.objects
    shutil.rmtree(home.host / "app")
    assert home.pushed()["objects"] == 0  # nobody has looked
    later(home)
    assert home.pushed()["objects"] == len(before)
    assert home.check() == home.listed() == home.site.ids()
    assert home.site.run("offsite", "reconcile").succeeded().out.rstrip().endswith("all as sent.")


def test_a_lost_journal_costs_no_upload(home: Home) -> None:
    before = home.objects
    (home.site.state / "offsite/usb/app.jsonl").unlink()
    assert home.listed() == []
    assert home.pushed()["objects"] == 0
    assert home.listed() == home.site.ids()
    assert home.objects == before


def test_one_object_is_sent_again_and_no_more(home: Home) -> None:
    name = next(name for name in home.objects if name.endswith(".0000.age"))
    (home.host / "app" / name).unlink()
    done = home.site.run("offsite", "reconcile", "usb", "app", "--json").succeeded()
    (found,) = done.json
    assert found["findings"] == [{"object": name, "wrong": "missing", "sent_again": True}]
    assert home.listed() == []
    assert home.pushed()["objects"] <= 5  # the slice, and the sums of the archive, signed
    assert home.check() == home.listed() == home.site.ids()


def test_what_is_gone_here_and_there_is_damaged(home: Home) -> None:
    name = next(name for name in home.objects if name.endswith(".0000.age"))
    (archive,) = (home.site.job() / "archives").iterdir()
    archive.unlink()
    (home.host / "app" / name).write_bytes(b"x" * 10)
    home.site.run("offsite", "reconcile").failed(65, name, "cannot be sent again", home.site.ids()[0])
    (status,) = home.site.run("status", "--json").json
    found = status["offsite"][0]
    assert (found["state"], found["damaged"], found["newest"]) == ("damaged", 1, None)
    assert home.listed() == [], "what is listed there is whole"
    assert home.site.run("offsite", "status", "--json").json[0]["backups"] == 0


def test_sums_of_somebody_else_are_forged(home: Home, tmp_path: Path) -> None:
    sums = home.host / "app" / home.site.ids()[0] / "SHA256SUMS"
    (tmp_path / "other").mkdir()
    with this_key(tmp_path / "other").signing(sums.read_bytes()) as signature:
        sums.with_name("SHA256SUMS.sig").write_bytes(signature())
    home.site.run("offsite", "verify", "usb").failed(65, "signed by somebody else")
    home.pushed()
    home.site.run("offsite", "verify", "usb").succeeded()


def test_all_of_it_is_read_back(home: Home, key: Key, tmp_path: Path) -> None:
    (found,) = home.site.run("offsite", "verify", "--identity", str(key.path), "--json").succeeded().json
    assert found["findings"] == []
    assert found["since"]
    assert found["bytes"] == sum(map(len, home.objects.values()))
    wrong = new_key(tmp_path / "wrong")
    home.site.run("offsite", "verify", "--identity", str(wrong.path)).failed(77, "does not open", key.public)


def test_reading_back_that_was_killed_leaves_nothing_for_long(home: Home) -> None:
    spool = home.site.state / "spool/.offsite-usb"
    assert home.site.run("offsite", "verify", failpoint="offsite-verify@3:kill").code == -signal.SIGKILL
    assert len(list(spool.iterdir())) == 1
    (found,) = home.site.run("offsite", "verify", "--json").succeeded().json
    assert (found["findings"], found["read"]) == ([], found["objects"] - 4)  # but for sums and their signatures
    assert list(spool.iterdir()) == []
    later(home)
    assert home.push(failpoint="offsite-verify@2:kill").code == -signal.SIGKILL
    assert home.pushed()["errors"] == []
    assert home.check() == home.listed() == home.site.ids()
    assert not list(spool.glob("*"))


def test_what_was_read_back_before_it_was_broken_off_counts(home: Home) -> None:
    home.site.run("offsite", "verify", failpoint="offsite-verify@3:error").failed(1, "offsite-verify")
    checked = json.loads((home.site.state / "offsite/usb/app.checked.json").read_text())
    assert sum(name.endswith(".age") for name in checked["objects"]) == 2  # beside the sums that they stand in
    (found,) = home.site.run("offsite", "verify", "--json").succeeded().json
    assert found["since"]


def test_a_push_reads_a_part_of_it_back(home: Home) -> None:
    name = next(name for name in home.objects if name.endswith(".0001.age"))
    content = home.objects[name]
    (home.host / "app" / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    later(home)
    assert name in home.push().succeeded().err
    assert home.pushed()["objects"]
    assert home.check() == home.site.ids()


def test_a_key_that_may_only_put_is_told_of_once(made: Site, key: Key, s3: S3, tmp_path: Path) -> None:
    bucket = s3.bucket("only-put")
    s3.only_add(bucket)
    with on_s3(s3, tmp_path, bucket, "putter") as place:
        home = configured(made, tmp_path / "none", key, remote=place.remote, rclone_config=str(place.config))
        made.init()
        home.backup()
        assert "cannot be compared" in home.push().succeeded().err
        assert home.listed() == home.site.ids()
        place.meddler.forget()
        assert home.push().succeeded().err.count("cannot be compared") == 0
        assert place.meddler.requests == []


def test_comparing_is_tried_again_where_it_was_denied(made: Site, key: Key, s3_place: Place, tmp_path: Path) -> None:
    home = configured(made, tmp_path / "none", key, remote=s3_place.remote, rclone_config=str(s3_place.config))
    made.init()
    home.backup()
    home.pushed()
    later(home)
    s3_place.meddler.rule = lambda method, path: DENIED if is_listing(method, path) else PASS
    home.push().succeeded()
    (status,) = made.run("status", "--json").json
    assert any("may not list what is there" in each for each in status["attention"])
    (row,) = made.run("offsite", "status", "--json").json
    assert "may not list what is there" in row["unlisted"]
    s3_place.meddler.rule = lambda _method, _path: PASS
    then = (datetime.now(UTC) - timedelta(days=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    later(home, unlisted_at=then)
    home.push().succeeded()
    assert made.run("offsite", "status", "--json").succeeded().json[0]["unlisted"] == ""


def test_an_unchanged_run_asks_for_little(made: Site, key: Key, s3_place: Place, tmp_path: Path) -> None:
    home = configured(made, tmp_path / "none", key, remote=s3_place.remote, rclone_config=str(s3_place.config))
    made.init()
    time.sleep(2.1)  # what was only just written counts as changed the next time
    home.backup()
    home.pushed()
    home.backup()
    s3_place.meddler.forget()
    home.pushed()
    assert len(s3_place.meddler.requests) <= 6
