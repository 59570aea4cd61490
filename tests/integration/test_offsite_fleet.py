"""`fleet`: one line for each host that sends to a place, by one listing and one request for each of them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hiveden_backup.core.offsite.fleet import HostStanding, JobStanding, dump
from hiveden_backup.core.offsite.layout import status_object
from tests.support.job import Site
from tests.support.job import site as make_site
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
    site.run("fleet", "ther").failed(66, "There is no offsite ther", "Did you mean there?")
    s3_place.config.unlink()
    assert site.run("fleet", "there").code != 0
