"""`guide offsite`: its policy holds off a thief, its settings reach the places they are for, its figures add up."""

import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hiveden_backup.core.backup.bounded import archive_bytes
from hiveden_backup.core.config.values import Offsite
from hiveden_backup.core.offsite.layout import slice_count
from tests.support.job import site
from tests.support.offsite_home import configured, new_key
from tests.support.offsite_places import s3_section, write_config
from tests.support.offsite_s3 import S3
from tests.support.offsite_servers import Sshd, running_sshd
from tests.support.readme import GUIDES, section

GUIDE = (GUIDES / "offsite.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Rclone:
    """rclone with a configuration of the guide, at a place here."""

    config: Path

    def call(self, *arguments: str, content: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            ["rclone", f"--config={self.config}", "--retries=1", "--low-level-retries=1", *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.config.parent)},
            input=content,
            capture_output=True,
            check=False,
        )

    def ok(self, *arguments: str, content: bytes = b"") -> bytes:
        done = self.call(*arguments, content=content)
        assert not done.returncode, done.stderr.decode()
        return done.stdout


# ---- S3 with versions ----------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3: S3) -> str:
    """A bucket with versions and the guide's policy, for the user `adder`."""
    (policy,) = section("S3 with versions, and a key that cannot destroy", "json", GUIDE)
    name = s3.versioned(f"guide-{secrets.token_hex(4)}")
    placed = policy.replace("my-bucket", name).replace("user/nas", "user/adder")
    s3.ask("PUT", f"/{name}", json.dumps(json.loads(placed)).encode(), query={"policy": ""})
    return name


def test_with_the_policy_a_thief_hides_and_does_not_destroy(s3: S3, bucket: str, tmp_path: Path) -> None:
    thief = Rclone(write_config(tmp_path / "rclone.conf", s3=s3_section(s3.port, "adder")))
    put = ("--s3-no-check-bucket", "rcat")
    thief.ok(*put, f"s3:{bucket}/backup", content=b"precious")
    thief.ok(*put, f"s3:{bucket}/other", content=b"precious too")
    assert thief.ok("cat", f"s3:{bucket}/backup") == b"precious"

    thief.ok(*put, f"s3:{bucket}/backup", content=b"ransom")
    thief.ok("deletefile", f"s3:{bucket}/other")
    assert thief.ok("lsf", f"s3:{bucket}") == b"backup\n"
    thief.call("--s3-versions", "delete", f"s3:{bucket}")
    thief.call("backend", "cleanup-hidden", f"s3:{bucket}")
    thief.call("purge", f"s3:{bucket}")

    kept = {s3.ask("GET", f"/{bucket}/{name}", query={"versionId": version}) for name, version in s3.versions(bucket)}
    assert {b"precious", b"precious too"} <= kept


def test_the_policy_does_not_allow_to_change_the_bucket(s3: S3, bucket: str, tmp_path: Path) -> None:
    thief = Rclone(write_config(tmp_path / "rclone.conf", s3=s3_section(s3.port, "adder")))
    assert thief.call("backend", "versioning", f"s3:{bucket}", "Suspended").returncode
    told = s3.ask("GET", f"/{bucket}", query={"versioning": ""})
    assert b"Enabled" in told


# ---- a friend's server ---------------------------------------------------------------------------------------------


@pytest.fixture
def friends() -> Iterator[tuple[Sshd, Path]]:
    """The guide's account (nobody's) on an sshd, and the directory that it is closed into."""
    (block,) = section("A second server at a friend's", "text", GUIDE)
    user = "nobody"
    home = Path("/srv") / f"hb-{os.getpid()}"
    home.mkdir(mode=0o755, parents=True)
    try:
        (home / "backups").mkdir()
        os.chown(home / "backups", pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        placed = block.replace("User nas", f"User {user}").replace("/srv/nas", str(home))
        with running_sshd(more=placed) as server:
            yield server, home
    finally:
        shutil.rmtree(home)


def friend(server: Sshd, place: Path, **more: object) -> Rclone:
    """Rclone with the guide's settings, but for where the server is."""
    text = next(each for each in section("A second server at a friend's", "ini", GUIDE) if "[friend]" in each)
    settings: dict[str, object] = dict(re.findall(r"^(\w+) = (.*)$", text, re.MULTILINE))
    here = {"host": "127.0.0.1", "port": server.port, "user": "nobody", "key_file": server.key}
    return Rclone(write_config(place, friend={**settings, **here, "known_hosts_file": server.known_hosts, **more}))


def test_a_friends_server_takes_and_gives_back(friends: tuple[Sshd, Path], tmp_path: Path) -> None:
    server, home = friends
    nas = friend(server, tmp_path / "rclone.conf")
    (tmp_path / "sent").write_bytes(b"sealed")
    nas.ok("copyto", str(tmp_path / "sent"), "friend:/backups/host/job/object")
    assert (home / "backups/host/job/object").read_bytes() == b"sealed"
    assert nas.ok("cat", "friend:/backups/host/job/object") == b"sealed"
    assert nas.ok("lsf", "friend:/backups") == b"host/\n"
    nas.ok("deletefile", "friend:/backups/host/job/object")
    assert nas.call("lsf", "friend:/etc/").returncode


def test_another_server_is_noticed(friends: tuple[Sshd, Path], tmp_path: Path) -> None:
    """With the guide's known_hosts_file; without it, rclone looks at no key."""
    server, _ = friends
    false = tmp_path / "false"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "another"], check=True)
    false.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'another.pub').read_text()}")
    assert friend(server, tmp_path / "a.conf", known_hosts_file=false).call("lsf", "friend:/backups").returncode
    friend(server, tmp_path / "b.conf", known_hosts_file="").ok("lsf", "friend:/backups")


# ---- keys ----------------------------------------------------------------------------------------------------------


def test_the_key_is_tried(tmp_path: Path) -> None:
    make, attempt = section("First: a key", page=GUIDE)
    said = subprocess.run(["sh", "-euc", make], cwd=tmp_path, capture_output=True, text=True, check=True)
    recipient = (said.stdout + said.stderr).split()[-1]
    tried = attempt.replace("age1...", recipient).replace("/tmp/", f"{tmp_path}/")
    assert subprocess.run(["sh", "-euc", tried], cwd=tmp_path, capture_output=True, check=True).stdout == b"it works\n"
    assert (tmp_path / "identity.txt").stat().st_mode & 0o077 == 0


# ---- costs ---------------------------------------------------------------------------------------------------------

MB = 10**6
SLICE = 128 << 20
OWN_FILES = 3  # index, list of archives, manifest
SUMS = 2
STATUS = 1
HOST_FILE = 1


def archives(total: int) -> Sequence[int]:
    """The sizes of the archives of so many bytes in files of 4 MB, for a host with 50 GB."""
    file = 4 * MB + 1024
    together = archive_bytes(50_000 * MB) // file
    count = total // (4 * MB)
    return [file * min(together, count - at) for at in range(0, count, together)]


def objects(new: Sequence[int]) -> int:
    """What is sent of a backup with these new archives."""
    return OWN_FILES + SUMS + STATUS + sum(slice_count(size, SLICE) + SUMS for size in new)


def figure(row: str) -> int:
    cells = re.search(rf"^\| {re.escape(row)}[^|]*\| ([0-9 ]+) \|$", GUIDE, re.MULTILINE)
    assert cells, row
    return int(cells[1].replace(" ", ""))


def test_what_is_sent_is_what_is_counted(tmp_path: Path) -> None:
    """The real thing, with one small archive: its slice and sums, and the backup's own."""
    with site(tmp_path / "site") as made:
        (made.data / "file").write_text("one")
        os.utime(made.data / "file", (1, 1))
        time.sleep(2.1)  # what is younger is archived again in any case
        home = configured(made, tmp_path / "there", new_key(tmp_path / "key"))
        made.init()
        home.backup()
        assert home.pushed()["objects"] == objects([1]) - STATUS
        home.backup()
        home.pushed()
        home.backup()
        assert home.pushed()["objects"] == objects([]) - STATUS


def test_costs_add_up() -> None:
    first = objects(archives(50_000 * MB)) + HOST_FILE + STATUS  # that goes over itself the first time
    changed = objects(archives(500 * MB))
    there = first + 100 * changed
    told = [figure(row) for row in ("the first backup", "one of which nothing changed", "one of which 1 % changed")]
    assert told == [first, objects([]), changed]
    assert figure("objects sent in a day") == 1000 * changed
    assert figure("listings in a day") == round(1000 * -(-there // 1000) / 7)
    assert figure("objects that lie there") == 1000 * (there - 101 * STATUS)
    assert figure("sent in a day") == 1000 * 500 * MB / 10**9
    budget = Offsite("b2", "b2:x").verify_budget
    assert figure("fetched in a day") == round(1000 * budget / 30 / 10**9)
    assert figure("what lies there") == 1000 * (50_000 + 100 * 500) * MB / 10**9
    assert f"{figure('fetched in a day') * 0.09:.0f} dollars a day" in " ".join(GUIDE.split())
