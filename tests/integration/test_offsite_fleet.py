"""`fleet`: one line for each host that sends to a place, by two listings and one request for each of them."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.offsite.fleet import HostStanding, JobStanding, dump
from hiveden_backup.core.offsite.layout import status_object
from hiveden_backup.host.state.due import FOLDER
from hiveden_backup.host.state.offsites import offsite_lock
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.offsite import fleet
from tests.support.job import Site
from tests.support.job import site as make_site
from tests.support.meddler import DENIED, PASS
from tests.support.offsite_places import Place, is_listing
from tests.support.readme import GUIDES

NOW = datetime.now(UTC)
FINE = JobStanding("immich", "20261127T023000Z", "success")
GUIDE = (GUIDES / "offsite.md").read_text(encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with make_site(tmp_path / "site") as made:
        yield made


def configured(site: Site, place: Place) -> Site:
    offsite: dict[str, Any] = {"remote": place.remote, "rclone_config": str(place.config), "encrypt": False}
    site.configure({"app": {"paths": [str(site.data)]}}, offsite={"there": offsite})
    return site


def told(name: str, *jobs: JobStanding, hours: float = 1) -> tuple[str, bytes]:
    return status_object(name), dump(HostStanding(name[:-9], "6f0c", "0.3.0", NOW - timedelta(hours=hours), jobs))


def test_hosts_tell_how_they_are(site: Site, each_place: Place) -> None:
    configured(site, each_place)
    done = site.run("fleet", "there").succeeded()
    assert done.out == "No host has sent anything to there yet.\n"
    for name, content in (
        told("good-00000001", FINE),
        told("silent-00000002", FINE, hours=100),
        told("bad-00000003", FINE, JobStanding("x", None, "failed", 7200.0, 5000)),
        (status_object("odd-00000004"), b"{}"),
        (status_object("huge-00000005"), b"x" * 100_000),
        (".status/other", b"not ours"),
        ("good-00000001/.host.json", b"{}"),
    ):
        each_place.put(name, content)
    done = site.run("fleet", "there", "--json")
    assert done.code == 1
    assert [(row["name"], row["state"]) for row in done.json] == [
        ("huge-00000005", "unreadable"),
        ("odd-00000004", "unreadable"),
        ("bad-00000003", "failing"),
        ("silent-00000002", "late"),
        ("good-00000001", "ok"),
    ]
    bad = done.json[2]
    assert (bad["host"], bad["newest"], bad["lag_bytes"]) == ("bad", "20261127T023000Z", 5000)
    assert bad["lag_seconds"] >= 3 * 3600  # two when it told that, an hour ago
    text = site.run("fleet", "there").out
    assert "bad-00000003: x: its last run ended as failed" in text
    assert text.count("good-00000001") == 1


def many(folder: Path, count: int) -> Path:
    """A folder with what so many hosts tell of 100 jobs together."""
    for number in range(count):
        name, content = told(f"host{number}-{number:08}", *[replace(FINE, job=f"job{each}") for each in range(5)])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_thousand_hosts_cost_what_the_guide_says_and_no_minute(site: Site, s3_place: Place, tmp_path: Path) -> None:
    configured(site, s3_place)
    s3_place.rclone("copy", "--no-check-dest", "--transfers=32", str(many(tmp_path / "many", 1000)), s3_place.at())
    s3_place.meddler.forget()
    began = time.monotonic()
    rows = site.run("fleet", "there", "--json").succeeded().json
    assert time.monotonic() - began < 60
    assert len({row["name"] for row in rows if row["state"] == "ok"}) == 1000
    requests = [request.split(" ", 1) for request in s3_place.meddler.requests]
    assert len([each for each in requests if is_listing(each[0], each[1])]) == 2
    (told_in_guide,) = re.findall(r"^\| `fleet`, each time somebody asks \| ([0-9 ]+) \|$", GUIDE, re.MULTILINE)
    assert len(requests) == int(told_in_guide.replace(" ", ""))


def test_a_host_that_cannot_be_read_hides_no_other(site: Site, s3_place: Place) -> None:
    configured(site, s3_place)
    for number in range(3):
        s3_place.put(*told(f"host{number}-{number:08}", FINE))
    s3_place.meddler.rule = lambda method, path: DENIED if method == "GET" and "host1" in path else PASS
    done = site.run("fleet", "there", "--json")
    assert [(row["name"], row["state"]) for row in done.json] == [
        ("host1-00000001", "unreadable"),
        ("host0-00000000", "ok"),
        ("host2-00000002", "ok"),
    ]
    assert "AccessDenied" in done.json[0]["attention"][0]
    assert done.code == 1
    s3_place.meddler.rule = lambda method, path: DENIED if method == "GET" and "json" in path else PASS
    site.run("fleet", "there").failed(77, "Reading the offsite there failed")


def test_a_crowd_is_told_and_not_read(site: Site, disk_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(site, disk_place)
    many(Path(disk_place.path), 5)
    monkeypatch.setattr(fleet, "_MOST_HOSTS", 3)
    found = fleet.fleet(Installation(site.config, site.state, lambda: NOW), "there")
    assert (len(found.rows), found.left_out) == (3, 2)


def test_a_crowd_is_told_to_a_person(site: Site, disk_place: Place) -> None:
    configured(site, disk_place)
    folder = Path(disk_place.path, ".status")
    folder.mkdir()
    for number in range(5001):
        (folder / f"x-{number:08}.json").touch()
    done = site.run("fleet", "there")
    assert (done.code, "1 more host tell" in done.err) == (1, True), done.err


def test_no_line_of_the_table_is_longer_than_a_terminal(site: Site, disk_place: Place) -> None:
    configured(site, disk_place)
    worst = replace(FINE, result="failed", state="overdue", offsite="late")
    behind = replace(FINE, lag_seconds=46.1 * 3600, lag_bytes=1023 << 20)
    for name, content in (
        told("frankfurt-01-00000001", behind, *[replace(worst, job=f"job{each}") for each in range(20)], hours=1.98),
        told("good-00000002", FINE),
        (status_object("odd-00000003"), b"{}"),
    ):
        disk_place.put(name, content)
    lines = site.run("fleet", "there").out.splitlines()
    assert max(map(len, lines[:4])) <= 80
    assert lines[2].startswith("frankfurt-01-00000001  failing")
    assert sum(line.startswith("frankfurt-01-00000001: ") for line in lines) == 6
    assert "frankfurt-01-00000001: 36 more; --json has all" in lines
    assert lines[-1] == "Why, `hiveden-backup status` says on the host."


def test_an_offsite_that_is_not_configured_or_away(site: Site, s3_place: Place) -> None:
    configured(site, s3_place)
    site.run("fleet", "there2").failed(66, "There is no offsite there2", "Did you mean there?")
    s3_place.config.unlink()
    assert site.run("fleet", "there").code != 0


def test_a_push_tells_how_this_host_is_and_does_so_each_day(site: Site, s3_place: Place) -> None:
    configured(site, s3_place).init()
    (site.data / "file").write_text("x")
    time.sleep(2.1)  # what is younger than the margin would be archived again
    ran = site.run("run", "app").succeeded()
    assert "Send it to there: hiveden-backup offsite push" in ran.err
    site.run("offsite", "push").succeeded()
    (row,) = site.run("fleet", "there", "--json").succeeded().json
    assert (row["state"], row["newest"], row["lag_seconds"], row["lag_bytes"]) == ("ok", site.ids()[0], 0, 0)
    assert row["jobs"] == [
        {
            "job": "app",
            "newest": site.ids()[0],
            "result": "success",
            "lag_seconds": 0,
            "lag_bytes": 0,
            "state": "ok",
            "offsite": "ok",
        }
    ]
    assert s3_place.listing().keys() >= {f".status/{row['name']}.json", f"{row['name']}/.host.json"}

    s3_place.meddler.forget()
    site.run("offsite", "push").succeeded()
    assert s3_place.meddler.requests == []
    site.run("run", "app").succeeded()
    site.run("offsite", "push").succeeded()
    assert s3_place.meddler.counts == {"PUT": 6}
    s3_place.meddler.forget()
    yesterday = time.time() - 86400
    os.utime(site.state / "offsite/there/.told", (yesterday, yesterday))
    site.run("offsite", "push", "--job", "app").succeeded()
    assert s3_place.meddler.counts == {"PUT": 1}


def test_when_the_next_push_is_due(site: Site, s3_place: Place) -> None:
    configured(site, s3_place).init()
    (site.data / "file").write_text("x")
    due = site.state / FOLDER / "app"
    site.run("run", "app").succeeded()
    assert not due.exists()
    site.run("offsite", "push").succeeded()
    assert 86000 < due.stat().st_mtime - time.time() < 86800
    site.run("run", "app").succeeded()
    assert not due.exists()
    s3_place.meddler.rule = lambda _method, _path: DENIED
    for minutes in (15, 30, 60):
        assert site.run("offsite", "push").code == 77
        assert (minutes - 1) * 60 < due.stat().st_mtime - time.time() < (minutes + 1) * 60
    assert "AccessDenied" in site.run("status").out
    s3_place.meddler.rule = lambda _method, _path: PASS
    site.run("offsite", "push").succeeded()
    assert due.stat().st_mtime - time.time() > 86000
    with offsite_lock(site.state, "there"):
        due.unlink()
        site.run("run", "app").succeeded()
        assert site.run("offsite", "push").code == 75
    assert not due.exists()  # somebody else was sending: the timer asks again
