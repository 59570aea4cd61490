"""`keep_local = "newest"`: archives leave this machine once they are whole elsewhere, and nothing is lost by it."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.job import held, site
from tests.support.offsite_home import Home, configured, new_key

MIB = 1 << 20
FILES, EACH = 12, MIB // 2


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """One backup of four archives, and nothing pushed."""
    with site(tmp_path / "site") as made:
        made.archive_bytes = 2 * MIB
        for number in range(FILES):
            (made.data / f"file-{number:03}").write_bytes(os.urandom(EACH - 512))
        time.sleep(2.1)  # what is younger is archived again in any case
        found = configured(made, tmp_path / "there", new_key(tmp_path / "key"), keep_local="newest")
        made.init()
        found.backup()
        yield found


def here(home: Home) -> list[str]:
    return sorted(path.name for path in (home.site.job() / "archives").glob("*.tar.zst"))


def stubs(home: Home) -> dict[str, Any]:
    found = (home.site.job() / "archives").glob("*.offsite")
    return {path.name.removesuffix(".offsite"): json.loads(path.read_bytes()) for path in found}


def where(home: Home) -> list[str]:
    return [row["where"] for row in home.site.run("list", "--json").succeeded().json]


def test_they_leave_and_runs_go_on(home: Home) -> None:
    before = {path: (home.site.job() / "archives" / path).read_bytes() for path in here(home)}
    assert where(home) == ["here"]
    pushed = home.pushed()
    assert (pushed["evicted"], here(home)) == (len(before), [])
    for name, stub in stubs(home).items():
        assert (stub["path"], stub["bytes"], stub["offsites"]) == (f"archives/{name}", len(before[name]), ["usb"])
    assert where(home) == ["there"]
    assert home.check() == home.listed() == home.site.ids()
    (home.site.data / "new").write_text("new")
    second = home.site.run("run", "app").succeeded()
    assert "archived again" not in second.err
    assert len(here(home)) == 1, "only what is new is archived"
    assert home.pushed()["evicted"] == 1
    assert len(home.check()) == len(home.site.ids()) == 2
    assert home.pushed()["objects"] == 0


def test_nothing_of_it_is_called_damaged(home: Home) -> None:
    home.pushed()
    done = home.site.run("verify", "--all", "--json").succeeded()
    (row,) = done.json
    assert (row["result"], row["error"], row["away"], row["where"]) == ("ok", None, len(stubs(home)), "there")
    said = home.site.run("verify", "--all").succeeded().out
    assert f"{home.site.ids()[0]} (there): " in said
    assert "at an offsite alone" in said
    assert "proven" not in said
    assert home.site.run("list", "--json").json[0]["verified"] is None, "what was not read is not proven"
    assert "Lies      there (at an offsite)" in home.site.run("show", "app/latest").succeeded().out
    head, line, *_ = home.site.run("status").succeeded().out.splitlines()
    assert line[head.index("WHERE") :].split()[0] == "there"


def test_a_plain_restore_says_where_it_lies(home: Home) -> None:
    home.pushed()
    target = home.site.path / "target"
    done = home.site.run("restore", "app/latest", "--to", str(target))
    done.failed(66, "is not on this machine", "It lies at the offsite usb", "--from usb --identity FILE")


def test_what_is_neither_here_nor_there_is_archived_again(home: Home) -> None:
    home.pushed()
    shutil.rmtree(home.site.state / "offsite")  # so that nothing tells any more that it is there
    assert where(home) == ["lost"]
    (status,) = home.site.run("status", "--json").json
    assert (status["state"], status["where"]) == ("attention", "lost")
    assert "partly neither here nor at an offsite" in status["attention"][0]
    again = home.site.run("run", "app").succeeded()
    assert "missing or cut short: what it held is archived again" in again.err
    assert where(home)[0] == "here"


def test_a_stub_proves_nothing(home: Home) -> None:
    """Who can write to the backup directory can take an archive away, and leave a stub."""
    (gone, *_) = here(home)
    path = home.site.job() / "archives" / gone
    stub = {"path": f"archives/{gone}", "bytes": path.stat().st_size, "sha256": "0" * 64, "offsites": ["usb"]}
    path.with_name(f"{gone}.offsite").write_text(json.dumps(stub))
    path.unlink()
    assert where(home) == ["lost"]
    done = home.site.run("verify", "--all")
    done.failed(65, f"{gone} is missing")
    assert f"{home.site.ids()[0]} (lost): " in done.out
    assert "archived again" in home.site.run("run", "app").succeeded().err


@pytest.mark.parametrize("exact", [False, True])
def test_stubs_prove_nothing_where_there_is_no_offsite(home: Home, *, exact: bool) -> None:
    """Not even that they say what the manifest says: this host made the backup, and sent it nowhere."""
    home.site.configure({"app": {"paths": [str(home.site.data)]}})
    for archive in home.site.manifest()["archives"]:
        path = home.site.job() / archive["path"]
        stub = {**{key: archive[key] for key in ("path", "bytes", "sha256")}, "offsites": ["usb"]}
        path.with_name(f"{path.name}.offsite").write_text(json.dumps(stub) if exact else "")
        path.unlink()
    done = home.site.run("verify", "--all")
    assert (done.code, len(done.errors)) == (65, len(home.site.manifest()["archives"])), done.err
    if exact:  # another id of the directory makes it no other host's
        marker = home.site.backups / ".hiveden-backup.json"
        table = json.loads(marker.read_text())
        marker.write_text(json.dumps({**table, "id": "0" * len(table["id"])}))
        assert home.site.run("verify", "--all").code == 65


def test_while_it_cannot_be_told_what_is_damaged_there_all_of_it_stays(home: Home) -> None:
    there = configured(home.site, home.there, home.key, keep_local="all")
    there.pushed()
    now = configured(home.site, home.there, home.key, keep_local="newest")
    record = now.site.state / "offsite/usb/app.json"
    whole, before = record.read_bytes(), here(now)
    record.write_bytes(whole.replace(b'"error": ""', b'"error": "a\\u0000b"'))
    now.push().failed(74, "it is not known how app stands at the offsite usb")
    assert (here(now), where(now)) == (before, ["here"])
    (status,) = now.site.run("status", "--json").json
    assert (status["state"], status["offsite"][0]["state"]) == ("attention", "failed")
    assert any("not known how app stands" in each for each in status["attention"])
    now.site.run("run", "app").succeeded()
    record.write_bytes(whole)
    assert now.pushed()["evicted"]


@pytest.mark.slow
@pytest.mark.parametrize("meddle", ["truncated", "flipped", "gone", "sums"])
def test_what_is_not_whole_there_stays_here(home: Home, meddle: str) -> None:
    there = configured(home.site, home.there, home.key, keep_local="all")
    there.pushed()
    name = next(each for each in there.objects if ".tar.zst.0000.age" in each)
    archive = Path(name).name.partition(".0000")[0]
    path = there.host / "app" / (name if meddle != "sums" else f"archives/{archive}.sums")
    content = path.read_bytes()
    match meddle:
        case "truncated":
            path.write_bytes(content[:-1])
        case "gone":
            path.unlink()
        case "flipped":  # a directory tells no digests: it is read
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "sums":
            path.write_bytes(content.replace(b"# archive", b"# Archive"))
    now = configured(home.site, home.there, home.key, keep_local="newest")
    assert now.pushed()["evicted"] == len(stubs(now)) > 0
    assert here(now) == [archive]
    assert where(now) == ["there"]


@pytest.mark.parametrize("number", [1, 2])
def test_killed_between_stub_and_removal(home: Home, number: int) -> None:
    assert home.push(failpoint=f"evict@{number}:kill").code == -9
    assert len(here(home)) == 4 - number + 1
    assert where(home) == ["both" if number == 1 else "there"]
    assert home.pushed()["evicted"] == 4 - number + 1
    assert here(home) == []
    home.check()


def test_while_a_run_goes_on_they_stay(home: Home) -> None:
    (home.site.data / "large").write_bytes(os.urandom(3 * MIB))
    home.site.change(compression_level=16)
    process = home.site.start("run", "app")
    with held(home.site, process, "*.hot-*.tar.zst"):
        assert home.pushed()["evicted"] == 0
        assert len(here(home)) >= 4
    home.site.finish(process).succeeded()
    assert home.pushed()["evicted"] > 0
    assert here(home) == []


def test_prune_takes_stubs_along_and_the_offsite_keeps_what_only_it_has(home: Home) -> None:
    first = home.pushed()
    assert first["evicted"]
    for path in home.site.data.iterdir():
        path.write_bytes(os.urandom(EACH))
    home.backup()
    tight = configured(home.site, home.there, home.key, keep_local="newest", retention={"keep_last": 1})
    tight.pushed()
    old = first["backups"][0]
    assert tight.listed() == [tight.site.ids()[0]]
    archives = [name for name in tight.objects if name.startswith(f"archives/{old}")]
    assert archives, "this machine's older backup needs them, and only that place has them"
    tight.site.run("delete", f"app/{old}", "--yes").succeeded()
    assert not any(name.startswith(old) for name in stubs(tight))
    tight.site.run("offsite", "prune").succeeded()
    assert not any(name.startswith(f"archives/{old}") for name in tight.objects)
    tight.check()


def test_what_another_place_is_to_get_stays(home: Home) -> None:
    second = home.there.with_name("second")
    table = {"recipients": [home.key.public], "slice": "1MiB", "keep_local": "newest"}
    offsites = {"usb": {**table, "remote": str(home.there)}, "late": {**table, "remote": str(second)}}
    home.site.configure({"app": {"paths": [str(home.site.data)]}}, offsite=offsites)
    assert home.site.run("offsite", "push").code == 69
    assert len(here(home)) == 4
    second.mkdir()
    home.site.run("offsite", "push").succeeded()
    assert here(home) == []
    assert all(sorted(stub["offsites"]) == ["late", "usb"] for stub in stubs(home).values())


def test_what_only_a_lost_key_opens_stays(home: Home) -> None:
    configured(home.site, home.there, home.key, keep_local="all").pushed()
    other = new_key(home.there.with_name("other"))
    now = configured(home.site, home.there, other, keep_local="newest")
    assert now.pushed()["evicted"] == 0
    assert len(here(now)) == 4


def test_another_disk_in_its_place_gets_nothing(home: Home) -> None:
    home.pushed()
    home.there.rename(home.there.with_name("unmounted"))
    home.there.mkdir()
    (home.site.data / "new").write_text("new")
    home.backup()
    home.push().failed(69, "is not the place that the offsite usb was", "not mounted")
    assert list(home.there.iterdir()) == []
    assert len(here(home)) == 1


def test_an_offsite_that_alone_has_archives_is_not_moved(home: Home) -> None:
    home.pushed()
    (home.there.with_name("new")).mkdir()
    moved = configured(home.site, home.there.with_name("new"), home.key, keep_local="newest")
    for command in ("reconcile", "push"):
        moved.site.run("offsite", command).failed(78, "may be there alone")
    assert where(moved) == ["there"]


def test_what_a_directory_with_another_marker_needs_is_not_removed(home: Home) -> None:
    home.pushed()
    for path in home.site.data.iterdir():
        path.write_bytes(os.urandom(EACH))
    home.backup()
    home.pushed()
    marker = home.site.backups / ".hiveden-backup.json"
    table = json.loads(marker.read_text())
    marker.write_text(json.dumps({**table, "id": "another"}))
    before = home.objects.keys()
    tight = configured(home.site, home.there, home.key, keep_local="newest", retention={"keep_last": 1})
    assert "Another backup directory has backups of it" in tight.push().err
    assert tight.objects.keys() >= before
