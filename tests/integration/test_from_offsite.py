"""Reading from an offsite: what comes back is what was sent, nothing travels that is not needed, no lie is believed."""

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.job import site
from tests.support.meddler import HANG, PASS, truncate
from tests.support.offsite_places import on_s3, write_config
from tests.support.offsite_s3 import S3
from tests.support.postgres import Server
from tests.support.sent import HOST, Sent, below, key, spool
from tests.support.storm import describe

# ---- the same as here


def test_all_that_reads_says_the_same(sent: Sent) -> None:
    new, old = sent.site.ids()
    file = str(sent.files / "3")
    commands = (
        ("show", "app/latest", "--files"),
        ("diff", old, f"app/{new}", "--json"),
        ("find", "files/3", "--json"),
    )
    here = [sent.site.run(*command).succeeded().out for command in commands]
    listed = sent.site.run("list", "--json").succeeded().json
    sent.lose_the_disk()
    assert [sent.site.run(*command, *sent.source).succeeded().out for command in commands] == here
    rows = sent.site.run("list", "--json", *sent.source).succeeded().json
    assert [(row["id"], row["size"], row["type"]) for row in rows] == [
        (row["id"], row["size"], row["type"]) for row in listed
    ]
    assert sent.site.run("show", "app/latest", "--json", *sent.source).succeeded().json["manifest"]["id"] == new
    assert sent.site.run("cat", "app/latest", file, *sent.source).succeeded().out == "changed"
    said = sent.site.run("verify", "--all", *sent.source).succeeded().out
    assert said.count("proven, signed here") == 2
    assert list(sent.site.state.glob("verified/app/2*.json")) == [], "it says nothing of what is here"
    assert spool(sent.site) == []


@pytest.mark.parametrize("backup", [0, 1])
def test_everything_comes_back(sent: Sent, backup: int) -> None:
    identifier = sent.site.ids()[backup]
    wanted = describe(below(sent.site.restored("here", backup=f"app/{identifier}"), sent.files))
    sent.lose_the_disk()
    back = sent.site.restored("there", *sent.source, backup=f"app/{identifier}")
    assert describe(below(back, sent.files)) == wanted
    assert spool(sent.site) == []


def test_a_bare_machine_needs_the_place_and_the_key_alone(sent: Sent, tmp_path: Path) -> None:
    wanted = describe(sent.files)
    with site(tmp_path / "bare") as bare:
        source = ("--from", str(sent.place), "--identity", str(sent.identity))
        assert [row["id"] for row in bare.run("list", "--json", *source).succeeded().json] == sent.site.ids()
        target = bare.path / "back"
        done = bare.run("restore", "app/latest", "--to", str(target), *source).succeeded()
        assert "This machine did not make" in done.err
        assert describe(below(target, sent.files)) == wanted


# ---- only what is needed


def test_one_file_fetches_the_slices_of_its_archive_alone(sent: Sent, s3: S3, tmp_path: Path) -> None:
    with on_s3(s3, tmp_path) as place:
        place.rclone("copy", str(sent.place), place.at())
        source = ("--from", place.remote, "--rclone-config", str(place.config), "--identity", str(sent.identity))
        place.meddler.forget()
        file = sent.files / "5"
        with site(tmp_path / "bare") as bare:
            done = bare.run("restore", "app/latest", "--to", str(bare.path / "one"), "--only", str(file), *source)
            done.succeeded()
            assert below(bare.path / "one", file).read_bytes() == file.read_bytes()
        asked = [each for each in place.meddler.requests if each.startswith("GET") and ".age" in each]
        slices = {name for each in asked for name in re.findall(r"archives/([^?]+\.age)", each)}
        assert slices
        archives = {name.partition(".tar.zst")[0] for name in slices}
        assert len(archives) <= 2, "of the file, and of the directory above it"
        assert len(archives) < len({each.name.partition(".tar.zst")[0] for each in sent.slices()})
        place.meddler.forget()
        bare.run("list", *source).succeeded()
        assert not any("archives" in each and ".age" in each for each in place.meddler.requests)


# ---- keys


def test_without_the_key_it_says_which_one(sent: Sent) -> None:
    other = sent.site.path / "other"
    key(other)
    target = sent.site.path / "back"
    command = ("restore", "app/latest", "--to", str(target), "--from", "there")
    sent.site.run(*command).failed(66, sent.recipient, "--identity")
    sent.site.run(*command, "--identity", str(other)).failed(77, sent.recipient)
    sent.site.run(*command, "--identity", str(sent.site.path / "absent")).failed(66, sent.recipient)
    assert not target.exists()
    assert spool(sent.site) == []


# ---- what lies there is not what was sent


def replaced(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def absent(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("what", ["archives/*.0001.age", "*/files.index.zst.age", "archives/*.sums", "*/SHA256SUMS"])
def test_nothing_is_believed_that_was_not_sent(sent: Sent, what: str) -> None:
    target, pristine = sent.site.path / "back", sent.site.path / "pristine"
    shutil.copytree(sent.place, pristine)
    for how in (replaced, cut_short, longer, absent):
        shutil.rmtree(sent.place)
        shutil.copytree(pristine, sent.place)
        for path in sorted(sent.job.glob(what)):
            how(path)
        done = sent.site.run("restore", "app/latest", "--to", str(target), *sent.source)
        assert done.code == 65 or (how is absent and done.code == 66), f"{how.__name__}: {done.err}"
        assert "Traceback" not in done.err
        assert not target.exists() or not list(target.iterdir()), how.__name__


def test_sums_that_somebody_else_wrote_change_nothing(sent: Sent, tmp_path: Path) -> None:
    """They can be signed by any key; what the backup's own signature covers must still be what comes."""
    archive = next(iter(sent.job.glob("archives/*.sums")))
    text = archive.read_text().splitlines()
    slice_ = sent.job / "archives" / text[-1].partition("  ")[2]
    content = subprocess.run(["age", "-r", sent.recipient], input=b"other", capture_output=True, check=True).stdout
    slice_.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    lines = [
        f"# object {slice_.name} {len(content)}" if each.startswith(f"# object {slice_.name}") else each
        for each in text
    ]
    lines[-1] = f"{digest}  {slice_.name}"
    archive.write_text("".join(f"{line}\n" for line in lines))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "thief"], check=True)
    archive.with_name(f"{archive.name}.sig").unlink()
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(tmp_path / "thief"), "-n", "hiveden-backup", str(archive)]
    subprocess.run(sign, capture_output=True, check=True)
    done = sent.site.run("verify", "--all", *sent.source)
    assert done.code == 65
    assert slice_.name.partition(".tar")[0] in done.err


def test_what_is_not_complete_is_not_there(sent: Sent) -> None:
    """The newest backup's own archive lacks its sums: an upload that goes on, or was broken off."""
    new, old = sent.site.ids()
    for path in sent.job.glob(f"archives/{new}.*.sums"):
        path.unlink()
    listed = sent.site.run("list", "--json", *sent.source)
    assert [row["id"] for row in listed.json] == [old]
    assert new in listed.err
    target = sent.site.path / "back"
    done = sent.site.run("restore", "app/latest", "--to", str(target), *sent.source)
    assert done.code == 0
    assert "passed over" in done.err
    assert len(below(target, sent.files / "3").read_bytes()) == 100_000
    sent.site.run("restore", f"app/{new}", "--to", str(target) + "2", *sent.source).failed(66, "not complete")


def test_a_killed_restore_leaves_nothing_for_long(sent: Sent) -> None:
    done = sent.site.run(
        "restore", "app/latest", "--to", str(sent.site.path / "back"), *sent.source, failpoint="stage:kill"
    )
    assert done.code == -9
    assert len(spool(sent.site)) == 1
    sent.site.restored("again", *sent.source)
    assert spool(sent.site) == []


# ---- the way there


@pytest.mark.parametrize("answer", ["404 NoSuchKey", truncate(900)])
def test_what_does_not_come_whole_once_is_there(sent: Sent, s3: S3, tmp_path: Path, answer: str) -> None:
    """The place does not find what it lists, or the line breaks in the middle of it."""
    with on_s3(s3, tmp_path) as place:
        place.rclone("copy", str(sent.place), place.at())
        source = ("--from", place.remote, "--rclone-config", str(place.config), "--identity", str(sent.identity))
        refused = [".0001.age", ".sums", "/SHA256SUMS", "/manifest.json.age"]

        def rule(method: str, path: str) -> str:
            found = next((each for each in refused if path.partition("?")[0].endswith(each)), "")
            if not found or (method == "HEAD" and answer != "404 NoSuchKey"):
                return PASS
            refused.remove(found)
            return answer

        place.meddler.rule = rule
        back = sent.site.restored("back", *source)
        assert refused == []
        assert describe(below(back, sent.files)) == describe(sent.files)


@pytest.mark.parametrize("what", ["/SHA256SUMS", "/manifest.json.age", ".sums", ".0001.age"])
def test_a_restore_that_is_told_to_end_while_something_travels_does_so(
    sent: Sent, s3: S3, tmp_path: Path, what: str
) -> None:
    with on_s3(s3, tmp_path) as place:
        place.rclone("copy", str(sent.place), place.at())
        source = ("--from", place.remote, "--rclone-config", str(place.config), "--identity", str(sent.identity))
        hanging: list[str] = []

        def rule(_: str, path: str) -> str:
            hanging.extend([path] * path.partition("?")[0].endswith(what))
            return HANG if hanging and path == hanging[-1] else PASS

        place.meddler.rule = rule
        process = sent.site.start("restore", "app/latest", "--to", str(sent.site.path / "back"), *source)
        until = time.monotonic() + 60
        while not hanging and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        start = time.monotonic()
        done = sent.site.finish(process, signal.SIGTERM)
        assert done.code == 128 + signal.SIGTERM, done.err
        assert time.monotonic() - start < 20
        assert spool(sent.site) == []


# ---- which place, whose backups, when


def test_several_hosts(sent: Sent) -> None:
    shutil.copytree(sent.place / HOST, sent.place / "other-00000000")
    sent.site.run("list", *sent.source).failed(2, HOST, "other-00000000", "--host")
    for name in (HOST, "nas"):
        rows = sent.site.run("list", "--json", *sent.source, "--host", name).succeeded().json
        assert [row["id"] for row in rows] == sent.site.ids()
    sent.site.run("list", *sent.source, "--host", "nobody").failed(66, HOST)
    own = json.loads((sent.site.state / "host.json").read_text())["id"][:8]
    (sent.place / "other-00000000").rename(sent.place / f"before-{own}")  # as it was called when it first sent
    assert len(sent.site.run("list", "--json", *sent.source).succeeded().json) == len(sent.site.ids())


def test_what_rclone_knows_a_place_by(sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that is named, one that the configuration has for this remote, or the one that rclone itself writes."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    usual = tmp_path / "home/.config/rclone/rclone.conf"
    command = ("list", "--json", "--identity", str(sent.identity), "--from")
    with site(tmp_path / "bare") as bare:
        bare.run(*command, "old:").failed(2, "--rclone-config")
        write_config(usual, old={"type": "alias", "remote": str(sent.place), "token": "{}"})
        assert [row["id"] for row in bare.run(*command, "old:").succeeded().json] == sent.site.ids()
        assert not (bare.state / "offsite").exists(), "no token is copied"
        usual.chmod(0o622)
        bare.run(*command, "old:").failed(2, "--rclone-config")
        own = write_config(tmp_path / "own.conf", old={"type": "alias", "remote": str(sent.place)})
        place = {"remote": "old:elsewhere", "rclone_config": str(own), "recipients": [sent.recipient]}
        bare.configure({"app": {"paths": [str(sent.files)]}}, offsite={"b2": place})
        assert [row["id"] for row in bare.run(*command, "old:").succeeded().json] == sent.site.ids()
        bare.run(*command, "b2", "--rclone-config", str(own)).failed(2, str(own), "--from REMOTE:PATH")


def test_what_makes_no_sense_is_said(sent: Sent) -> None:
    for options, code, *words in (
        (("--from", "nowhere"), 66, "There is no offsite nowhere", "there"),
        (("--from", "b2:bucket"), 2, "--rclone-config"),
        (("--from", ":s3,secret=x:bucket"), 2, "is no remote"),
        (("--from", "there", "--as-of", "2026-11-20"), 2, "as it was", "--as-of"),
        (("--from", "there", "--as-of", "yesterday"), 2, "no time"),
        (("--identity", "x"), 2, "--identity goes with --from"),
        (("--host", "x"), 2, "--host goes with --from"),
    ):
        sent.site.run("list", *options).failed(code, *words)
    sent.site.run("show", "app/2020", *sent.source).failed(66, HOST, "hiveden-backup list --from there")


def test_as_it_was_before_the_thief_came(sent: Sent, s3: S3, tmp_path: Path) -> None:
    bucket = s3.versioned(f"v{secrets.token_hex(6)}")
    with on_s3(s3, tmp_path, bucket) as place:
        place.rclone("copy", str(sent.place), place.at())
        time.sleep(1.1)
        before = datetime.now(UTC).isoformat(timespec="seconds")
        time.sleep(1.1)
        place.empty()
        source = ("--from", place.remote, "--rclone-config", str(place.config), "--identity", str(sent.identity))
        sent.site.run("list", *source).failed(66, "no backups")
        then = (*source, "--as-of", before)
        assert describe(below(sent.site.restored("then", *then), sent.files)) == describe(sent.files)


# ---- databases, and in place


def test_a_database_comes_back(sent_shop: tuple[Sent, Server, str]) -> None:
    sent, postgres, database = sent_shop
    sent.lose_the_disk()
    command = ("restore", "app/latest", "--database", database, "--as", f"{database}_back", *sent.source)
    sent.site.run(*command).succeeded()
    assert postgres.sql("SELECT word FROM sale", dbname=f"{database}_back") == [("then",)]


def test_in_place_and_undone(sent_shop: tuple[Sent, Server, str]) -> None:
    sent, postgres, database = sent_shop
    wanted = describe(sent.files)
    (sent.files / "3").write_text("lost")
    (sent.files / "4").unlink()
    postgres.sql("UPDATE sale SET word = 'now'", dbname=database)
    changed = describe(sent.files)
    command = ("restore", "app/latest", "--in-place", *sent.source)
    assert json.loads(sent.site.run(*command, "--json").out)["files"]
    sent.site.run(*command, "--yes").succeeded()
    assert describe(sent.files) == wanted
    assert postgres.sql("SELECT word FROM sale", dbname=database) == [("then",)]
    sent.site.run("undo", "app", "--yes").succeeded()
    assert describe(sent.files) == changed
    assert postgres.sql("SELECT word FROM sale", dbname=database) == [("now",)]


def test_in_place_wants_to_know_whose_it_is(sent: Sent) -> None:
    """Another machine with this job: the state directory, and so the key, is another one."""
    shutil.rmtree(sent.site.state)
    command = ("restore", "app/latest", "--in-place", "--yes", *sent.source)
    done = sent.site.run(*command).failed(77, "--trust SHA256:")
    trust = re.findall(r"--trust (SHA256:\S+?)[;.]? ", done.err)[0].rstrip(";.")
    sent.site.run(*command, "--trust", trust).succeeded()
