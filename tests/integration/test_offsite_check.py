"""`check` and offsites: places that take, keep and give back, keys that may do less, credentials, recipients."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.job import Site
from tests.support.job import site as make_site
from tests.support.meddler import BROKEN, DENIED, PASS
from tests.support.offsite_places import Place, on_s3
from tests.support.offsite_s3 import S3


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with make_site(tmp_path / "site") as made:
        yield made


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Two recipients."""
    made = [subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    return [next(line.split()[-1] for line in text.splitlines() if "public key" in line) for text in made]


def table(place: Place, keys: list[str], **more: Any) -> dict[str, Any]:
    if place.kind == "disk":
        return {"remote": place.path, "recipients": keys, **more}
    return {"remote": place.remote, "rclone_config": str(place.config), "recipients": keys, **more}


def findings(site: Site, code: int = 0) -> list[tuple[str, str]]:
    """What `check` says of offsites and programs: status and message."""
    done = site.run("check", "--json")
    assert done.code == code, done.out + done.err
    return [(row["status"], row["message"]) for row in done.json if row["name"] in ("offsite", "tools")]


def configured(site: Site, offsite: dict[str, Any]) -> Site:
    (site.data / "file").write_text("x")
    site.configure({"app": {"paths": [str(site.data)]}}, offsite={"there": offsite})
    site.run("init", "--directory", str(site.backups)).succeeded()
    return site


def test_a_place_takes_what_is_sent_and_keeps_no_trace_of_that(site: Site, each_place: Place, keys: list[str]) -> None:
    configured(site, table(each_place, keys))
    found = findings(site)
    assert ("OK", f"there: {table(each_place, keys)['remote']} takes what is sent, and gives it back") in found
    assert ("OK", "there: 2 keys open what lies there") in found
    assert any("rclone v" in message and "age" in message for _, message in found)
    warned = [message for status, message in found if status == "WARN"]
    assert [("no versions" in each) for each in warned] == ([True] if each_place.kind == "s3" else [])
    assert each_place.rclone("lsf", each_place.at()) == b""


@pytest.mark.parametrize("kind", ["versioned", "locked", "adder", "putter"])
def test_what_a_bucket_keeps_and_its_key_may_do(site: Site, s3: S3, tmp_path: Path, keys: list[str], kind: str) -> None:
    bucket = s3.locked("check-locked") if kind == "locked" else s3.versioned(f"check-{kind}")
    if kind in ("adder", "putter"):
        s3.only_add(bucket)
    with on_s3(s3, tmp_path, bucket, kind if kind in ("adder", "putter") else "admin") as place:
        configured(site, table(place, keys))
        found = findings(site)
    warned = " ".join(message for status, message in found if status == "WARN")
    assert ("may not remove" in warned) == (kind in ("adder", "putter"))
    assert ("can still write over what is there" in warned) == (kind in ("adder", "putter"))
    assert ("may not read" in warned) == (kind == "putter")
    assert (("OK", "there: the bucket keeps versions") in found) == (kind != "putter")


def test_a_server_that_removes_nothing_is_no_failure(site: Site, keeping_sftp_place: Place, keys: list[str]) -> None:
    configured(site, table(keeping_sftp_place, keys))
    warned = [message for status, message in findings(site) if status == "WARN"]
    assert any("may not remove" in message for message in warned)


def test_a_place_that_is_away_or_refuses_fails(site: Site, s3_place: Place, keys: list[str]) -> None:
    configured(site, table(s3_place, keys))
    for answer, word in ((BROKEN, "InternalError"), (DENIED, "AccessDenied")):
        s3_place.meddler.rule = functools.partial(answering, answer)
        found = findings(site, 1)
        assert any(status == "FAIL" and word in message for status, message in found)


def answering(answer: str, method: str, _path: str) -> str:
    return answer if method == "PUT" else PASS


def test_what_others_could_read_and_who_could_decrypt(site: Site, sftp_place: Place, keys: list[str]) -> None:
    configured(site, table(sftp_place, keys[:1]))
    sftp_place.config.chmod(0o640)
    found = findings(site, 1)
    assert any(status == "FAIL" and "others may read or change" in message for status, message in found)
    assert any(status == "WARN" and "only one key" in message for status, message in found)
    assert not any("gives it back" in message for _, message in found)
    sftp_place.config.chmod(0o600)
    site.configure(
        {"app": {"paths": [str(site.data)]}},
        offsite={"there": {"remote": sftp_place.remote, "rclone_config": str(sftp_place.config), "encrypt": False}},
    )
    assert any(status == "WARN" and "in the clear" in message for status, message in findings(site))
    sftp_place.config.unlink()
    assert any(status == "FAIL" and str(sftp_place.config) in message for status, message in findings(site, 1))


def test_what_rclones_configuration_names_is_looked_at_too(site: Site, sftp_place: Place, keys: list[str]) -> None:
    """The key of SSH opens the place; and the unit that sends backups does not see what is at somebody's home."""
    configured(site, table(sftp_place, keys))
    text = sftp_place.config.read_text()
    (used,) = set(re.findall(r"key_file = (.*)", text))
    copy = site.path / "id"
    shutil.copy(used, copy)
    sftp_place.config.write_text(
        text.replace(used, str(copy)).replace("[place]", "[place]\nknown_hosts_file = /root/no")
    )
    copy.chmod(0o640)
    found = findings(site, 1)
    assert any(status == "FAIL" and f"others may read or change {copy}" in message for status, message in found)
    assert any(status == "WARN" and message.endswith("does not see /root/no") for status, message in found)
    copy.unlink()
    assert any(status == "FAIL" and str(copy) in message for status, message in findings(site, 1))


def test_what_is_wrong_with_one_place_hides_nothing_of_another(
    site: Site, sftp_place: Place, disk_place: Place, keys: list[str]
) -> None:
    configured(site, table(sftp_place, keys))
    two = {"there": table(sftp_place, keys), "usb": table(disk_place, keys)}
    site.configure({"app": {"paths": [str(site.data)]}}, offsite=two)
    sftp_place.config.chmod(0o644)
    Path(disk_place.path).rmdir()
    found = [message for status, message in findings(site, 1) if status == "FAIL"]
    assert [("others may read" in each, "usb is not there" in each) for each in found] == [(True, False), (False, True)]


@pytest.mark.parametrize("said", ["rclone v1.53.3-DEV", "age v1.0.0-rc.1"])
def test_a_program_that_is_too_old_is_named(
    site: Site, disk_place: Place, keys: list[str], monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    configured(site, table(disk_place, keys))
    program, _, version = said.partition(" ")
    old = site.path / "old" / program
    old.parent.mkdir()
    old.write_text(f"#!/bin/sh\necho '{version if program == 'age' else said}'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    done = site.run("check", "--json")
    assert done.code == 1
    (finding,) = (row for row in done.json if row["name"] == "tools" and row["status"] == "FAIL")
    assert program in finding["message"]
    assert finding["hint"].endswith(f"apt-get install {program}")
