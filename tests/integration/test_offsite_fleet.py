"""`fleet`: one line for each host that sends to a place, by one listing and one request for each of them."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.offsite.fleet import HostStanding, JobStanding, dump
from hiveden_backup.core.offsite.layout import status_object
from hiveden_backup.host.state.due import FOLDER
from hiveden_backup.host.state.offsites import offsite_lock
from tests.support.job import Site
from tests.support.job import site as make_site
from tests.support.meddler import DENIED, PASS
from tests.support.offsite_places import Place, is_listing

NOW = datetime.now(UTC)
FINE = JobStanding("immich", "20261127T023000Z", "success")


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
        ("odd-00000004", "unreadable"),
        ("bad-00000003", "failing"),
        ("silent-00000002", "late"),
        ("good-00000001", "ok"),
    ]
    bad = done.json[1]
    assert (bad["host"], bad["newest"], bad["lag_bytes"]) == ("bad", "20261127T023000Z", 5000)
    assert bad["lag_seconds"] >= 3 * 3600  # two when it told that, an hour ago
    text = site.run("fleet", "there").out
    assert "bad-00000003: x: its last run ended as failed" in text
    assert text.count("good-00000001") == 1


def test_a_fleet_costs_one_listing_and_a_request_for_each_host(site: Site, s3_place: Place, tmp_path: Path) -> None:
    configured(site, s3_place)
    folder = tmp_path / "many"
    for number in range(30):
        name, content = told(f"host{number}-{number:08}", FINE)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    s3_place.rclone("copy", str(folder), s3_place.at())
    s3_place.meddler.forget()
    assert len(json.loads(site.run("fleet", "there", "--json").succeeded().out)) == 30
    requests = [request.split(" ", 1) for request in s3_place.meddler.requests]
    assert len([each for each in requests if is_listing(each[0], each[1])]) == 1
    assert len(requests) <= 30 + 2  # rclone asks first whether the folder is a file


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
