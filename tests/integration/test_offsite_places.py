"""The places that the tests of offsites use are what they are said to be, and their proxies do what they are told."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.meddler import BROKEN, DENIED, DROP, FULL, OLD, PASS, SLOW_DOWN, cut, delay, times, truncate
from tests.support.offsite_places import Place, is_listing, on_s3
from tests.support.offsite_s3 import S3


def put(place: Place, name: str, content: bytes) -> "subprocess.CompletedProcess[str]":
    """One try to put an object through the proxy."""
    source = place.config.with_name("source")
    source.write_bytes(content)
    return ask(place, "copyto", str(source), f"{place.remote}/{name}")


def ask(place: Place, *arguments: str) -> "subprocess.CompletedProcess[str]":
    quick = ["--retries=1", "--low-level-retries=1", "--timeout=10s", "--contimeout=5s"]
    straight = ["--s3-no-check-bucket", "--s3-no-head", "--no-check-dest"]
    return subprocess.run(
        ["rclone", f"--config={place.config}", *quick, *straight, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(place.config.parent), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_place_keeps_what_is_put_there(each_place: Place) -> None:
    done = put(each_place, "a/b c", b"content" * 1000)
    assert (done.returncode, done.stderr) == (0, "")
    assert each_place.listing() == {"a/b c": 7000}
    assert each_place.get("a/b c") == b"content" * 1000
    each_place.put("other", b"x")
    listed = json.loads(ask(each_place, "lsjson", "-R", "--files-only", each_place.remote).stdout)
    assert {entry["Path"] for entry in listed} == {"a/b c", "other"}
    each_place.empty()
    assert each_place.listing() == {}


def test_requests_are_counted(s3_place: Place) -> None:
    put(s3_place, "a", b"content")
    assert s3_place.meddler.counts == {"PUT": 1}
    assert s3_place.meddler.requests[0].startswith(f"PUT /{s3_place.bucket}/backups/a")
    s3_place.meddler.forget()
    ask(s3_place, "lsjson", "-R", s3_place.remote)
    assert s3_place.meddler.counts["GET"] == 1


@pytest.mark.parametrize("answer", [DENIED, BROKEN, SLOW_DOWN, FULL, DROP, cut(100_000)])
def test_a_proxy_refuses(s3_place: Place, answer: str) -> None:
    s3_place.meddler.rule = times(1, answer, "PUT")
    assert put(s3_place, "a", b"x" * 3_000_000).returncode
    assert s3_place.listing() == {}
    assert put(s3_place, "a", b"x" * 3_000_000).returncode == 0
    assert s3_place.listing() == {"a": 3_000_000}


@pytest.mark.parametrize("kind", ["sftp", "webdav"])
def test_what_is_cut_keeps_its_name_where_names_prove_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(f"{kind}_place")
    place.meddler.rule = lambda method, _path: cut(2_000_000) if method in ("PUT", "CONNECTION") else PASS
    assert put(place, "a", b"x" * 8_000_000).returncode
    place.meddler.rule = lambda _method, _path: PASS
    assert set(place.listing()) <= {"a"}
    assert place.listing().get("a", 0) < 8_000_000
    assert put(place, "a", b"x" * 8_000_000).returncode == 0
    assert place.listing() == {"a": 8_000_000}


def test_a_proxy_delays_and_truncates(s3_place: Place) -> None:
    s3_place.put("a", b"x" * 1_000_000)
    target = s3_place.config.with_name("target")
    s3_place.meddler.rule = times(1, truncate(10_000), "GET", "/a")
    assert ask(s3_place, "copyto", f"{s3_place.remote}/a", str(target)).returncode
    began = time.monotonic()
    s3_place.meddler.rule = times(1, delay(0.5), "PUT")
    assert put(s3_place, "b", b"x").returncode == 0
    assert time.monotonic() - began >= 0.5


def test_a_proxy_shows_an_old_listing(s3_place: Place) -> None:
    s3_place.put("a", b"x")
    assert "a" in ask(s3_place, "lsf", s3_place.remote).stdout
    s3_place.put("b", b"x")
    s3_place.meddler.rule = lambda method, path: OLD if is_listing(method, path) else PASS
    assert ask(s3_place, "lsf", s3_place.remote).stdout == "a\n"
    s3_place.meddler.rule = lambda _method, _path: PASS
    assert ask(s3_place, "lsf", s3_place.remote).stdout == "a\nb\n"


def test_a_key_that_may_only_put(s3: S3, tmp_path: Path) -> None:
    bucket = s3.bucket("put-only")
    s3.only_add(bucket)
    with on_s3(s3, tmp_path, bucket, "putter") as place:
        assert put(place, "a", b"content").returncode == 0
        assert ask(place, "deletefile", f"{place.remote}/a").returncode
        assert ask(place, "lsf", place.remote).returncode
        assert place.get("a") == b"content"
    with on_s3(s3, tmp_path, bucket, "adder") as place:
        assert ask(place, "lsf", place.remote).stdout == "a\n"
        assert ask(place, "cat", f"{place.remote}/a").stdout == "content"
        assert ask(place, "deletefile", f"{place.remote}/a").returncode
        assert place.get("a") == b"content"


@pytest.mark.parametrize("kind", ["versioned", "locked"])
def test_a_bucket_with_versions(s3: S3, tmp_path: Path, kind: str) -> None:
    bucket = getattr(s3, kind)(f"{kind}-bucket")
    with on_s3(s3, tmp_path, bucket) as place:
        for content in (b"first", b"second"):
            assert put(place, "a", content).returncode == 0
        assert ask(place, "deletefile", f"{place.remote}/a").returncode == 0
        assert place.listing() == {}
        versions = s3.versions(bucket)
        assert [name for name, _ in versions] == ["backups/a"] * 2
        if kind == "locked":
            with pytest.raises(OSError, match="AccessDenied"):
                s3.ask("DELETE", "/locked-bucket/backups/a", query={"versionId": versions[0][1]})


def test_an_sshd_that_lets_nobody_remove(keeping_sftp_place: Place) -> None:
    """It still lets what is there be overwritten."""
    place = keeping_sftp_place
    assert put(place, "a", b"first").returncode == 0
    assert ask(place, "deletefile", f"{place.remote}/a").returncode
    assert put(place, "a", b"second").returncode == 0
    assert place.get("a") == b"second"


def test_a_place_that_is_away(each_place: Place) -> None:
    if each_place.proxy is not None:
        each_place.proxy.down()
        assert put(each_place, "a", b"content").returncode
        each_place.proxy.up()
    assert put(each_place, "a", b"content").returncode == 0
