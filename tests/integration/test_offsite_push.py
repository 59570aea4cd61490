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


def test_a_damaged_archive_is_named_and_not_sent_and_the_rest_goes_on(home: Home) -> None:
    (old,) = home.site.ids()
    (archive,) = (home.site.job() / "archives").iterdir()
    (home.site.data / "large").write_bytes(os.urandom(1000))
    time.sleep(2.1)
    new = home.backup()
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    done = home.push()
    assert (done.code, len(done.errors)) == (65, 1)
    assert archive.name in done.err
    assert not [name for name in home.objects if name.endswith(f"{archive.name}.sums")]
    listed = home.listed()
    assert old not in listed
    needs = [each["path"] for each in home.site.manifest(new)["archives"]]
    assert (new in listed) == (f"archives/{archive.name}" not in needs)
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    home.pushed()
    assert home.check() == home.site.ids()


def test_a_rotten_archive_goes_over_nothing_that_is_there(home: Home) -> None:
    """Only its sums were lost there, and here one byte of it is wrong: the last good copy is there."""
    home.pushed()
    (archive,) = (home.site.job() / "archives").iterdir()
    before = home.objects
    (home.host / "app/archives" / f"{archive.name}.sums").unlink()
    content = bytearray(archive.read_bytes())
    content[100] ^= 1
    archive.write_bytes(content)
    home.site.run("offsite", "reconcile")
    home.push().failed(65, f"{archive.name} is damaged")
    left = {name: content for name, content in before.items() if not name.endswith(".tar.zst.sums")}
    assert home.objects == left
    content[100] ^= 1
    archive.write_bytes(content)
    assert home.pushed()["objects"] < len(before) / 2  # its slices are there
    assert home.check() == home.site.ids()


def test_what_rots_while_it_is_sent_is_not_sent(home: Home) -> None:
    (archive,) = (home.site.job() / "archives").iterdir()
    process = home.site.start("offsite", "push", failpoint="slice@1:hold")
    stands_still(process)
    whole = archive.read_bytes()
    content = bytearray(whole)
    content[-10] ^= 1
    with archive.open("r+b") as file:
        file.write(content)
    done = home.site.finish(process, signal.SIGCONT)
    assert (done.code, "is damaged" in done.err) == (65, True)
    assert not [name for name in home.objects if "tar.zst.0003" in name]
    archive.write_bytes(whole)
    home.pushed()
    assert home.check() == home.site.ids()


def test_a_backup_disk_that_vanishes_is_no_pruning(home: Home) -> None:
    process = home.site.start("offsite", "push", failpoint="push@1:hold")
    stands_still(process)
    away = home.site.backups.rename(home.site.backups.with_name("away"))
    home.site.backups.mkdir()  # where it was mounted
    done = home.site.finish(process, signal.SIGCONT)
    home.site.backups.rmdir()
    away.rename(home.site.backups)
    assert (done.code, "removed while" in done.err) == (73, False), done.err
    assert home.pushed()["backups"] == home.site.ids()


def test_a_backup_that_is_pruned_meanwhile_is_skipped(home: Home) -> None:
    (old,) = home.site.ids()
    (home.site.data / "more").write_bytes(os.urandom(SIZE))
    time.sleep(2.1)
    home.backup()
    process = home.site.start("offsite", "push", "--json", failpoint="push@2:hold")
    stands_still(process)
    home.site.run("delete", f"app/{old}", "--yes").succeeded()
    done = home.site.finish(process, signal.SIGCONT).succeeded()
    (pushed,) = done.json
    assert pushed["skipped"] == [old]
    assert home.check() == home.listed() == home.site.ids()


def test_two_pushes_do_not_meet(home: Home) -> None:
    process = home.site.start("offsite", "push", failpoint="slice@2:hold")
    stands_still(process)
    home.push().failed(75, "usb is busy")
    home.site.run("run", "app").succeeded()  # which does not wait for it
    home.site.finish(process, signal.SIGCONT).succeeded()
    home.pushed()
    assert home.check() == home.site.ids()


def test_other_keys_are_for_what_is_sent_from_then_on(home: Home, tmp_path: Path) -> None:
    assert home.push(failpoint="slice@3:kill").code == -signal.SIGKILL
    other = new_key(tmp_path / "other")
    again = configured(home.site, home.there, other)
    again.pushed()
    assert again.check() == home.site.ids()  # no slice of it is for the old key


def test_without_keys_what_lies_there_is_plain(home: Home) -> None:
    plain = configured(home.site, home.there, home.key, recipients=[], encrypt=False)
    plain.pushed()
    assert plain.check() == home.site.ids()
    assert not [name for name in plain.objects if name.endswith(".age")]


def test_of_two_places_the_one_that_is_away_does_not_matter_to_the_other(home: Home, tmp_path: Path) -> None:
    table = {"recipients": [home.key.public], "slice": "1MiB"}
    places = {name: {**table, "remote": str(tmp_path / name)} for name in ("away", "there", "also")}
    (tmp_path / "also").mkdir()
    home.site.configure({"app": {"paths": [str(home.site.data)]}}, offsite=places)
    home.push().failed(69, "perhaps its disk is not mounted")
    rows = home.site.run("offsite", "list", "--json").json
    assert sorted(row["offsite"] for row in rows) == ["also", "there"]
    assert home.check() == home.site.ids()
    (tmp_path / "away").mkdir()
    home.push("away").succeeded()
    home.push("nowhere").failed(66, "There is no offsite nowhere")


def test_another_place_under_the_same_name_gets_all_of_it(home: Home, tmp_path: Path) -> None:
    home.pushed()
    again = configured(home.site, tmp_path / "elsewhere", home.key)
    assert again.listed() == []
    again.pushed()
    assert again.check() == again.listed() == home.site.ids() == home.check()
    (archive,) = (home.site.job() / "archives").iterdir()
    archive.unlink()  # as if it had left this machine
    third = configured(home.site, tmp_path / "third", home.key)
    third.push().failed(78, "may be there alone", "another name")
    assert not list((tmp_path / "third").iterdir())


def test_a_job_that_goes_nowhere_is_not_sent(home: Home) -> None:
    home.site.change(offsite=[])
    home.push().failed(2, "goes to usb")
    assert home.listed() == []


def test_a_large_file_of_a_backup_goes_in_slices(home: Home) -> None:
    """An index of many paths, which do not compress well."""
    names = home.site.data / "names"
    names.mkdir()
    for number in range(12_000):
        (names / f"{number}-{os.urandom(110).hex()}").touch()
    time.sleep(2.1)
    home.backup()
    home.pushed()
    assert [name for name in home.objects if "/files.index.zst.0001" in name]
    assert home.check() == home.site.ids()


# ---- what goes there


def several(home: Home, count: int) -> list[str]:
    """So many more backups, each with a file of its own that was another one before; all are sent."""
    for _ in range(count):
        time.sleep(1.1)
        (home.site.data / "large").write_bytes(os.urandom(100_000))
        home.backup()
    home.pushed()
    return home.site.ids()


def test_retention_there_is_its_own(home: Home) -> None:
    ids = several(home, 3)
    assert home.check() == ids
    kept = configured(home.site, home.there, home.key, retention={"keep_last": 2})
    rows = home.site.run("offsite", "prune", "--dry-run", "--json").succeeded().json
    assert [row["id"] for row in rows if row["keep"]] == ids[:2]
    assert kept.check() == ids
    home.site.run("offsite", "prune").succeeded()
    assert kept.check() == kept.listed() == ids[:2]
    left = {name.split("/")[0] for name in kept.objects}
    assert left == {"archives", *ids[:2]}
    needed = {each["path"] for backup in ids[:2] for each in home.site.manifest(backup)["archives"]}
    assert {name.partition(".tar.zst")[0] + ".tar.zst" for name in kept.objects if "archives/" in name} == needed
    assert kept.pushed()["objects"] == 0  # and nothing of it is sent again


@pytest.mark.parametrize("point", ["removing-there@1:kill", "removing-there@2:kill"])
def test_a_prune_there_that_was_killed_leaves_nothing_that_looks_whole(home: Home, point: str) -> None:
    ids = several(home, 2)
    kept = configured(home.site, home.there, home.key, retention={"keep_last": 1})
    assert home.site.run("offsite", "prune", failpoint=point).code == -signal.SIGKILL
    assert kept.listed() == ids[:1]
    home.site.run("offsite", "prune").succeeded()
    assert kept.check() == ids[:1]
    assert {name.split("/")[0] for name in kept.objects} == {"archives", ids[0]}


def test_push_lets_go_what_retention_there_does(home: Home) -> None:
    several(home, 1)
    kept = configured(home.site, home.there, home.key, retention={"keep_last": 1})
    time.sleep(1.1)
    new = home.backup()
    assert kept.pushed()["removed"] > 0
    assert kept.check() == [new]
