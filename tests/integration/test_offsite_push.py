"""Push: what is there afterwards is whole, and is what is here; whatever ends it, the next one goes on."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.job import Site, site, stands_still
from tests.support.offsite_home import Home, Key, configured, new_key

SIZE = 3_300_000  # of random bytes: four slices and a bit


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return new_key(tmp_path_factory.mktemp("key") / "key")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "site") as each:
        (each.data / "small").write_text("small")
        yield each


@pytest.fixture
def home(made: Site, key: Key, tmp_path: Path) -> Home:
    """One backup with a large file, and nothing pushed."""
    (made.data / "large").write_bytes(os.urandom(SIZE))
    found = configured(made, tmp_path / "there", key)
    made.init()
    found.backup()
    return found


def test_what_was_pushed_is_there_and_can_be_had_by_stock_tools(home: Home) -> None:
    assert home.listed() == []
    pushed = home.pushed()
    backups = home.site.ids()
    assert pushed["backups"] == backups == home.listed() == home.check()
    objects = home.objects
    assert pushed["objects"] == len(objects)
    assert pushed["bytes"] == sum(map(len, objects.values()))
    assert max(map(len, objects.values())) < (1 << 20) + 1000
    assert sum(name.endswith("hot-0001.tar.zst.0003.age") for name in objects) == 1
    assert not any(b"small" in content for name, content in objects.items() if name.endswith(".age"))
    assert not list((home.site.state / "spool").rglob("piece*"))


def test_nothing_to_do_is_nothing_done(home: Home) -> None:
    home.pushed()
    shutil.rmtree(home.there)  # whoever asks there fails
    pushed = home.pushed()
    assert (pushed["backups"], pushed["objects"]) == ([], 0)
    assert "everything is there" in home.push().succeeded().out


def test_an_unchanged_backup_is_a_few_small_files(home: Home) -> None:
    home.pushed()
    time.sleep(2.1)
    home.backup()
    home.pushed()
    time.sleep(1.1)
    home.backup()
    pushed = home.pushed()
    assert pushed["objects"] == 5
    assert pushed["bytes"] < 10_000
    assert home.check() == home.site.ids()


def test_a_host_has_one_folder_there_under_its_own_id(home: Home) -> None:
    home.pushed()
    told = json.loads((home.host / ".host.json").read_text())
    assert told["host_id"] == json.loads((home.site.state / "host.json").read_text())["id"]
    assert home.host.name.endswith(told["host_id"][:8])


def test_another_host_of_that_name_is_refused(home: Home) -> None:
    home.pushed()
    told = json.loads((home.host / ".host.json").read_text())
    (home.host / ".host.json").write_text(json.dumps({**told, "host_id": told["host_id"][:8] + "-another"}))
    shutil.rmtree(home.site.state / "offsite")  # a machine that comes there for the first time
    before = home.objects
    home.push().failed(73, "belongs to another host")
    assert home.objects == before


POINTS = ("push", "slice@1", "slice@3", "slice@9", "sums@1", "sums@2")


@pytest.mark.parametrize(
    ("point", "code"),
    [
        *((f"{point}:kill", -signal.SIGKILL) for point in POINTS),
        *[("push:error", 1), ("slice@3:error", 1), ("slice@2:enospc", 74), ("sums@2:error", 1)],
    ],
)
def test_a_push_that_was_broken_off_goes_on_within_a_slice(home: Home, point: str, code: int) -> None:
    assert home.push(failpoint=point).code == code
    assert home.listed() == []
    written = home.objects
    assert not [name for name in written if name.endswith("SHA256SUMS")]
    home.pushed()
    assert home.check() == home.listed() == home.site.ids()
    assert sum(home.objects[name] != content for name, content in written.items()) <= 1
    assert not list((home.site.state / "spool").rglob("piece*"))


def test_a_push_that_is_told_to_end_does_so_and_goes_on_later(home: Home) -> None:
    process = home.site.start("offsite", "push", failpoint="slice@2:hold")
    stands_still(process)
    process.send_signal(signal.SIGTERM)
    done = home.site.finish(process, signal.SIGCONT)
    assert done.code == 128 + signal.SIGTERM
    home.pushed()
    assert home.check() == home.site.ids()
