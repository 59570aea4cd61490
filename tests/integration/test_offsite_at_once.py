"""Two that do something at one place at once: hosts, pushes, prunings, runs. Nothing looks whole there that is not."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.job import Site, site, stands_still
from tests.support.offsite_home import Home, Key, check_there, configured, new_key
from tests.support.offsite_places import Place

SIZE = 2_300_000  # of random bytes: three slices


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return new_key(tmp_path_factory.mktemp("key") / "key")


@pytest.fixture
def home(tmp_path: Path, key: Key) -> Iterator[Home]:
    """One backup with a large file, and nothing pushed."""
    with site(tmp_path / "site") as made:
        (made.data / "large").write_bytes(os.urandom(SIZE))
        (made.data / "small").write_text("small")
        found = configured(made, tmp_path / "there", key)
        made.init()
        found.backup()
        yield found


def backup_of_other_files(home: Home) -> str:
    """A new backup, which needs nothing that the one before needs."""
    for path in home.site.data.iterdir():
        path.unlink()
    (home.site.data / "other").write_bytes(os.urandom(1000))
    time.sleep(1.1)
    return home.backup()


def insist_on_no_rest(home: Home) -> None:
    """There is nothing but what is complete there, and needed."""
    listed = home.listed()
    assert home.check() == listed
    needs = {path for path in home.objects if path.startswith("archives/")}
    named = {line.split()[2] for each in listed for line in _sums(home, each) if line.startswith("# needs ")}
    assert {path.partition(".tar.zst")[0] + ".tar.zst" for path in needs} == named
    assert {path.partition("/")[0] for path in home.objects} == {"archives", *listed}


def _sums(home: Home, backup: str) -> list[str]:
    return (home.host / "app" / backup / "SHA256SUMS").read_text().splitlines()


# ---- hosts


@contextmanager
def host(path: Path, offsite: dict[str, Any], key: Key, host_id: str = "") -> Iterator[Site]:
    """Another machine that is called as this one, with one backup of its own."""
    with site(path) as made:
        (made.data / "large").write_bytes(os.urandom(SIZE))
        (made.data / "small").write_text(path.name)
        made.configure(
            {"app": {"paths": [str(made.data)]}},
            offsite={"one": {"recipients": [key.public], "slice": "1MiB", **offsite}},
        )
        if host_id:
            made.state.mkdir()
            (made.state / "host.json").write_text(json.dumps({"id": host_id}))
        made.init().run("run", "app").succeeded()
        yield made


def folder(made: Site) -> str:
    """The host's there."""
    return str(json.loads((made.state / "offsite/one/.place.json").read_text())["host"])


def there(place: Place) -> dict[str, Any]:
    """What an offsite says of a place; of a disk, its directory."""
    return (
        {"remote": place.path} if place.kind == "disk" else {"remote": place.remote, "rclone_config": str(place.config)}
    )


@pytest.mark.parametrize("kind", ["disk", pytest.param("s3", marks=pytest.mark.slow)])
def test_hosts_push_to_one_place_at_once(kind: str, request: pytest.FixtureRequest, tmp_path: Path, key: Key) -> None:
    place: Place = request.getfixturevalue(f"{kind}_place")
    with host(tmp_path / "a", there(place), key) as one, host(tmp_path / "b", there(place), key) as two:
        points = {"slice@2:hold": one, "slice@3:hold": two}
        started = [(made, made.start("offsite", "push", failpoint=point)) for point, made in points.items()]
        for _, process in started:
            stands_still(process)
        for _, process in started:
            process.send_signal(signal.SIGCONT)
        for made, process in started:
            made.finish(process).succeeded()
        copy = tmp_path / "copy"
        place.rclone("copy", place.at(), str(copy))
        assert {path.name for path in copy.iterdir()} == {".status", folder(one), folder(two)}
        assert {path.stem for path in (copy / ".status").iterdir()} == {folder(one), folder(two)}
        for made in (one, two):
            assert check_there(copy / folder(made) / "app", key, made) == made.ids()


def test_a_host_prunes_there_while_another_one_pushes(tmp_path: Path, key: Key) -> None:
    place = tmp_path / "place"
    place.mkdir()
    offsite = {"remote": str(place)}
    with host(tmp_path / "a", offsite, key) as one, host(tmp_path / "b", offsite, key) as two:
        one.run("offsite", "push").succeeded()
        time.sleep(1.1)
        (one.data / "large").write_bytes(os.urandom(1000))
        one.run("run", "app").succeeded()
        one.run("offsite", "push").succeeded()
        one.configure(
            {"app": {"paths": [str(one.data)]}},
            offsite={"one": {**offsite, "recipients": [key.public], "retention": {"keep_last": 1}}},
        )
        pruning = one.start("offsite", "prune", failpoint="removing-there@2:hold")
        stands_still(pruning)
        two.run("offsite", "push").succeeded()
        one.finish(pruning, signal.SIGCONT).succeeded()
        assert check_there(place / folder(one) / "app", key, one) == one.ids()[:1]
        assert check_there(place / folder(two) / "app", key, two) == two.ids()


def test_the_second_host_of_a_name_is_refused_while_the_first_one_sends(tmp_path: Path, key: Key) -> None:
    """Of one name is whose id begins as another's does, too: as nobody's by chance."""
    place = tmp_path / "place"
    place.mkdir()
    ids = [f"01234567-0000-4000-8000-00000000000{number}" for number in range(2)]
    offsite = {"remote": str(place)}
    with host(tmp_path / "a", offsite, key, ids[0]) as one, host(tmp_path / "b", offsite, key, ids[1]) as two:
        process = one.start("offsite", "push", failpoint="slice@2:hold")
        stands_still(process)
        before = sorted(place.rglob("*"))
        two.run("offsite", "push").failed(73, "belongs to another host", "another name")
        assert sorted(place.rglob("*")) == before
        one.finish(process, signal.SIGCONT).succeeded()
        two.run("offsite", "push").failed(73, "belongs to another host")
        assert two.run("offsite", "list", "--json").json == []
        assert check_there(place / folder(one) / "app", key, one) == one.ids()


# ---- what else this host does there meanwhile


def test_while_it_is_pushed_nothing_else_is_done_there(home: Home) -> None:
    kept = configured(home.site, home.there, home.key, retention={"keep_last": 1})
    process = home.site.start("offsite", "push", failpoint="slice@2:hold")
    stands_still(process)
    written = home.objects
    for act in ("prune", "reconcile", "verify"):
        home.site.run("offsite", act).failed(75, "usb is busy", f"Process {process.pid}")
    assert home.objects == written
    home.site.finish(process, signal.SIGCONT).succeeded()
    assert kept.check() == kept.listed() == home.site.ids()


@pytest.mark.parametrize(
    "point", [pytest.param("removing-there@1:hold", marks=pytest.mark.slow), "removing-there@2:hold"]
)
def test_while_something_is_removed_there_nothing_is_pushed(home: Home, point: str) -> None:
    home.pushed()
    new = backup_of_other_files(home)
    home.pushed()
    kept = configured(home.site, home.there, home.key, retention={"keep_last": 1})
    process = home.site.start("offsite", "prune", failpoint=point)
    stands_still(process)
    time.sleep(1.1)
    newest = home.backup()
    home.push().failed(75, "usb is busy")
    assert kept.listed() == [new]
    home.site.finish(process, signal.SIGCONT).succeeded()
    assert kept.check() == [new]
    kept.pushed()
    assert kept.listed() == [newest]
    insist_on_no_rest(kept)


# ---- what becomes of it here meanwhile

REMOVALS = {"delete": ("delete", "app/{old}", "--yes"), "prune": ("prune", "app")}


@pytest.mark.parametrize(
    ("point", "removal", "is_whole"),
    [
        ("slice@1", "delete", False),
        ("slice@2", "prune", False),
        ("sums@1", "delete", False),
        ("slice@6", "delete", False),  # the first of its own files
        ("sums@2", "prune", True),  # all of it is there but for the word that it is
    ],
)
def test_what_goes_here_in_the_middle_of_its_upload(home: Home, point: str, removal: str, *, is_whole: bool) -> None:
    """Of an archive that no other backup needs, some slices are there."""
    (old,) = home.site.ids()
    new = backup_of_other_files(home)
    home.push(failpoint="push@2:error")
    assert home.listed() == [new]
    process = home.site.start("offsite", "push", "--json", failpoint=f"{point}:hold")
    stands_still(process)
    home.site.change(retention={"keep_last": 1})
    home.site.run(*(word.format(old=old) for word in REMOVALS[removal])).succeeded()
    assert home.site.ids() == [new]
    assert len(list((home.site.job() / "archives").iterdir())) == 1
    assert home.listed() == home.check() == [new]
    (pushed,) = home.site.finish(process, signal.SIGCONT).succeeded().json
    assert (pushed["backups"], pushed["skipped"]) == (([old], []) if is_whole else ([], [old]))
    assert home.listed() == [new, *pushed["backups"]]
    insist_on_no_rest(home)


def test_a_run_prunes_in_the_middle_of_an_upload(home: Home) -> None:
    """What the new backup needs of what is on its way stays there, and is not sent again."""
    home.site.change(retention={"keep_last": 1})
    time.sleep(2.1)  # what is as new as a backup is archived again by the next
    old = home.backup()
    process = home.site.start("offsite", "push", "--json", failpoint="slice@2:hold")
    stands_still(process)
    (home.site.data / "more").write_text("more")
    time.sleep(1.1)
    new = home.backup()
    assert home.site.ids() == [new]
    (pushed,) = home.site.finish(process, signal.SIGCONT).succeeded().json
    assert (pushed["backups"], pushed["skipped"]) == ([], [old])
    assert home.check() == home.listed() == []
    sent = home.objects
    assert sum(name.endswith(".age") for name in sent) == 3
    home.pushed()
    assert home.listed() == [new]
    insist_on_no_rest(home)
    assert {name: home.objects[name] for name in sent} == sent
