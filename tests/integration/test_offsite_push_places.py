"""Push to real places: S3 by requests counted, SFTP, WebDAV; and whatever a place or the way there does wrong."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.job import Site, site
from tests.support.meddler import BROKEN, DENIED, DROP, FULL, PASS, SLOW_DOWN, cut, shift, times
from tests.support.offsite_home import Key, check_there, new_key
from tests.support.offsite_places import Place, on_s3, write_config
from tests.support.offsite_s3 import S3
from tests.support.storm import describe

SIZE = 2_300_000


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return new_key(tmp_path_factory.mktemp("key") / "key")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    """A site with two files; `going` gives it an offsite."""
    with site(tmp_path / "site") as each:
        (each.data / "large").write_bytes(os.urandom(SIZE))
        (each.data / "small").write_text("small")
        yield each


def going(made: Site, place: Place, key: Key, **offsite: Any) -> None:
    """The job goes to a place, and has a backup that is not there."""
    table = {"remote": place.remote, "rclone_config": str(place.config), "recipients": [key.public], "slice": "1MiB"}
    made.configure({"app": {"paths": [str(made.data)]}}, offsite={"far": {**table, **offsite}})
    if not made.backups.exists():
        made.init().run("run", "app").succeeded()


def whole(made: Site, place: Place, key: Key, copy: Path) -> None:
    """What lies at the place is all backups, whole."""
    place.rclone("copy", place.at(), str(copy))
    (host,) = (each for each in copy.iterdir() if not each.name.startswith("."))
    assert check_there(host / "app", key, made) == made.ids()


@pytest.mark.slow
def test_each_kind_of_place_has_all_of_it(made: Site, each_place: Place, key: Key, tmp_path: Path) -> None:
    going(made, each_place, key)
    made.run("offsite", "push").succeeded()
    whole(made, each_place, key, tmp_path / "copy")


def test_requests_are_few(made: Site, s3_place: Place, key: Key) -> None:
    going(made, s3_place, key)
    made.run("offsite", "push").succeeded()
    objects = len(s3_place.listing())
    assert s3_place.meddler.counts["PUT"] == objects + 1  # each once, but for how this host stands
    assert sum(s3_place.meddler.counts.values()) <= objects + 8  # and whose the folder is
    s3_place.meddler.forget()
    made.run("offsite", "push").succeeded()
    assert not s3_place.meddler.counts
    time.sleep(2.1)
    made.run("run", "app").succeeded()
    made.run("offsite", "push").succeeded()
    s3_place.meddler.forget()
    time.sleep(1.1)
    made.run("run", "app").succeeded()
    made.run("offsite", "push").succeeded()
    assert set(s3_place.meddler.counts) == {"PUT"}
    assert s3_place.meddler.counts["PUT"] <= 6


@pytest.mark.parametrize("answer", [BROKEN, SLOW_DOWN, DROP, cut(100)])
def test_what_fails_once_is_tried_again(made: Site, s3_place: Place, key: Key, answer: str, tmp_path: Path) -> None:
    going(made, s3_place, key)
    s3_place.meddler.rule = times(1, answer, "PUT")
    made.run("offsite", "push").succeeded()
    whole(made, s3_place, key, tmp_path / "copy")


@pytest.mark.parametrize("kind", ["sftp", "webdav"])
def test_a_line_that_breaks_in_the_middle_of_a_slice(
    kind: str, request: pytest.FixtureRequest, made: Site, key: Key, tmp_path: Path
) -> None:
    """What has come of it by then may lie there under its name, where names prove nothing."""
    place: Place = request.getfixturevalue(f"{kind}_place")
    going(made, place, key)
    broken: list[str] = []

    def rule(method: str, path: str) -> str:
        if kind == "sftp" and any(Path(place.path).rglob("*.0000.age")):
            broken.append("")  # of all connections, only that of a slice has so much to say
        if broken or (kind != "sftp" and not (method == "PUT" and ".0000.age" in path)):
            return PASS
        broken.extend([path] * (kind != "sftp"))
        return cut(600_000)

    place.meddler.rule = rule
    made.run("offsite", "push").succeeded()
    assert broken
    whole(made, place, key, tmp_path / "copy")


@pytest.mark.parametrize("kind", ["locked", pytest.param("versioned", marks=pytest.mark.slow)])
def test_what_goes_from_a_bucket_with_versions_is_kept_there(
    kind: str, made: Site, s3: S3, key: Key, tmp_path: Path
) -> None:
    bucket = getattr(s3, kind)(f"push-{kind}")
    with on_s3(s3, tmp_path, bucket) as place:
        going(made, place, key)
        made.run("offsite", "push").succeeded()
        before = place.listing()
        time.sleep(1.1)
        (made.data / "large").write_bytes(os.urandom(SIZE))
        (made.data / "small").write_text("other")
        made.run("run", "app").succeeded()
        going(made, place, key, retention={"keep_last": 1})
        made.run("offsite", "push").succeeded()
        (row,) = made.run("offsite", "list", "--json").succeeded().json
        assert row["id"] == made.ids()[0]
        now = place.listing()
        assert not [name for name in now if made.ids()[1] in name]
        versions = {name.removeprefix("backups/") for name, _ in s3.versions(bucket)}
        assert before.keys() - now.keys()
        assert versions >= before.keys() | now.keys()


@pytest.mark.parametrize(("answer", "code"), [(DENIED, 77), (FULL, 73), (shift(1200), 69)])
def test_what_a_place_refuses_is_said_and_goes_on_later(
    made: Site, s3_place: Place, key: Key, tmp_path: Path, *, answer: str, code: int
) -> None:
    going(made, s3_place, key)
    puts: list[str] = []

    def third(method: str, path: str) -> str:
        puts.extend([path] * (method == "PUT"))
        return answer if method == "PUT" and len(puts) >= 3 else PASS

    s3_place.meddler.rule = third
    made.run("offsite", "push").failed(code, "offsite far failed")
    assert made.run("offsite", "list", "--json").json == []
    s3_place.meddler.rule = lambda _method, _path: PASS
    there = s3_place.listing()
    s3_place.meddler.forget()
    made.run("offsite", "push").succeeded()
    whole(made, s3_place, key, tmp_path / "copy")
    sent_twice = 1  # how this host stands, the first time
    assert s3_place.meddler.counts["PUT"] == len(s3_place.listing()) - len(there) + sent_twice


@pytest.mark.parametrize("seconds", [-1000, 1000])
def test_a_wrong_clock_is_named_and_harms_nothing(
    made: Site, s3_place: Place, key: Key, tmp_path: Path, seconds: float
) -> None:
    """S3 takes no request of a quarter of an hour ago, nor of one to come."""
    going(made, s3_place, key)
    before = describe(made.job())
    s3_place.meddler.rule = lambda _method, _path: shift(seconds)
    made.run("offsite", "push").failed(69, "this machine's clock is wrong", "RequestTimeTooSkewed", "timedatectl")
    assert sum(s3_place.meddler.counts.values()) <= 8  # and nothing of it is tried again
    assert "clock is wrong" in made.run("check").out
    made.run("list", "--from", "far").failed(69, "this machine's clock is", "timedatectl")
    made.run("verify", "--all").succeeded()
    assert describe(made.job()) == before
    assert s3_place.listing() == {}
    s3_place.meddler.rule = lambda _method, _path: PASS
    made.run("offsite", "push").succeeded()
    whole(made, s3_place, key, tmp_path / "copy")


def test_a_key_that_may_only_put_is_enough(made: Site, s3: S3, key: Key, tmp_path: Path) -> None:
    bucket = s3.bucket("putonly")
    s3.only_add(bucket)
    with on_s3(s3, tmp_path, bucket, "putter") as place:
        going(made, place, key)
        done = made.run("offsite", "push")
        assert done.code == 0, done.err
        assert "cannot be seen whose" in done.err
        whole(made, place, key, tmp_path / "copy")


def test_a_place_that_was_emptied_is_not_asked(made: Site, s3_place: Place, key: Key) -> None:
    """The journal is believed until the next reconcile, which looks."""
    going(made, s3_place, key)
    made.run("offsite", "push").succeeded()
    s3_place.empty()
    made.run("offsite", "push").succeeded()
    assert s3_place.listing() == {}


def test_a_place_that_is_away_is_said_once_and_its_secret_never(made: Site, s3_place: Place, key: Key) -> None:
    going(made, s3_place, key)
    s3_place.meddler.rule = lambda _method, _path: DROP
    done = made.run("--verbose", "offsite", "push")
    assert done.code == 69
    assert len(done.errors) == 1
    assert "the-admin's" not in done.err + done.out
    for path in made.state.rglob("*"):
        assert not path.is_file() or b"the-admin's" not in path.read_bytes()
    (facts,) = (made.state / "offsite/far").glob("*.json")
    assert '"failures": 1' in facts.read_text()


def test_no_traceback_has_a_secret_in_it(made: Site, tmp_path: Path, key: Key) -> None:
    """Rclone shows the whole of an address that it does not understand, a password with a percent sign, say."""
    config = write_config(tmp_path / "odd.conf", dav={"type": "webdav", "url": "http://me:hunter2%zz@127.0.0.1:9/"})
    table = {"remote": "dav:backups", "rclone_config": str(config), "recipients": [key.public]}
    made.configure({"app": {"paths": [str(made.data)]}}, offsite={"far": table})
    done = made.init().run("--verbose", "offsite", "push")
    assert done.code != 0
    assert "Traceback" in done.err
    assert "127.0.0.1:9" in done.err
    assert "hunter2" not in done.err + done.out


def test_a_key_that_may_not_remove_is_told_what_the_bucket_should_do(
    made: Site, s3: S3, key: Key, tmp_path: Path
) -> None:
    bucket = s3.bucket("addonly")
    s3.only_add(bucket)
    with on_s3(s3, tmp_path, bucket, "adder") as place:
        going(made, place, key)
        made.run("offsite", "push").succeeded()
        time.sleep(1.1)
        (made.data / "large").write_bytes(os.urandom(1000))
        made.run("run", "app").succeeded()
        going(made, place, key, retention={"keep_last": 1})
        done = made.run("offsite", "push")
        assert done.code == 0, done.err
        assert "lifecycle expire versions that are not current; never what is current, by its age" in done.err
        assert "keep_last = 1" in done.err
        whole(made, place, key, tmp_path / "copy")
        assert len(made.run("offsite", "list", "--json").succeeded().json) == 2
        place.meddler.forget()
        assert "lifecycle" not in made.run("offsite", "push").succeeded().err  # it is said once
        assert not place.meddler.counts
        assert "lifecycle" in made.run("offsite", "prune").err


def test_nothing_goes_whose_marker_stands(made: Site, s3_place: Place, key: Key) -> None:
    """One of them is not found, and rclone says so, whatever became of the others."""
    going(made, s3_place, key)
    made.run("offsite", "push").succeeded()
    (old,) = made.ids()
    time.sleep(1.1)
    made.run("run", "app").succeeded()
    before = {name for name in s3_place.listing() if f"/{old}" in name and ".sums" not in name}

    def rule(method: str, path: str) -> str:
        if method != "DELETE" or "SHA256SUMS" not in path:
            return PASS
        return "404 NoSuchKey" if ".sig" in path else DROP

    s3_place.meddler.rule = rule
    going(made, s3_place, key, retention={"keep_last": 1})
    made.run("offsite", "push").failed(69)
    assert before <= s3_place.listing().keys()
    s3_place.meddler.rule = lambda _method, _path: PASS
    made.run("offsite", "push").succeeded()
    assert not [name for name in s3_place.listing() if f"/{old}/" in name]


def test_a_server_that_lets_nobody_remove_is_told_of(
    made: Site, keeping_sftp_place: Place, key: Key, tmp_path: Path
) -> None:
    going(made, keeping_sftp_place, key)
    made.run("offsite", "push").succeeded()
    time.sleep(1.1)
    made.run("run", "app").succeeded()
    going(made, keeping_sftp_place, key, retention={"keep_last": 1})
    done = made.run("offsite", "push")
    assert done.code == 0, done.err
    assert "may not remove" in done.err
    whole(made, keeping_sftp_place, key, tmp_path / "copy")
