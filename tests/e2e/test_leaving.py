"""`guide leaving` as printed, from an offsite, in a fresh Debian without our program: everything comes back."""

import filecmp
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hiveden_backup.core.names import encode
from tests.support.fresh import in_memory, mount_overlay
from tests.support.job import Site, site, until
from tests.support.postgres import Server
from tests.support.readme import ID_IN_README, LEAVING, section
from tests.support.written_offsite import write_offsite

TOOLS = "rclone age zstd openssh-client"  # what the guide asks for
DATABASE = "postgresql"
HOST = "nas-1a2b3c4d"
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Root:
    """A fresh system that is entered by chroot(8), with `b2:` as rclone's name for /offsite."""

    top: Path

    def run(self, script: str, **more: str) -> str:
        rclone = {"RCLONE_CONFIG_B2_TYPE": "alias", "RCLONE_CONFIG_B2_REMOTE": "/offsite"}
        done = subprocess.run(
            ["chroot", self.top, "sh", "-euc", script],
            env={**CLEAN, **rclone, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("13", marks=pytest.mark.xdist_group("package on 13")),
        pytest.param("12", marks=pytest.mark.xdist_group("package on 12")),
    ],
)
def root(
    request: pytest.FixtureRequest, fresh_bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Root]:
    """A release with the guide's tools, and a server for the database."""
    top = tmp_path_factory.mktemp("leaving")
    base = fresh_bases(request.param)
    with in_memory(top / "layers"):
        (top / "root").mkdir()
        mount_overlay(base, top / "layers", top / "root")
        fresh = Root(top / "root")
        try:
            (fresh.top / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
            (fresh.top / "usr/sbin/policy-rc.d").chmod(0o755)
            install = f"apt-get -qq install -y --no-install-recommends {TOOLS} {DATABASE} >/dev/null"
            fresh.run(install, DEBIAN_FRONTEND="noninteractive")
            fresh.run("set -- $(pg_lsclusters -h); pg_ctlcluster $1 $2 start")
            yield fresh
        finally:
            for file in fresh.top.glob("var/lib/postgresql/*/main/postmaster.pid"):
                os.kill(int(file.read_text().split()[0]), signal.SIGQUIT)
            until(
                lambda: not subprocess.run(["umount", fresh.top], capture_output=True, check=False).returncode, "umount"
            )


@pytest.fixture
def filled(tmp_path: Path, postgres: Server) -> Iterator[Site]:
    """Two runs of a job with files, in several archives, and a database."""
    with site(tmp_path / "site") as made, postgres.database("shop", "CREATE TABLE sale AS SELECT 1 AS id"):
        made.archive_bytes = 1 << 18
        source = {"dsn": postgres.dsn(), "databases": ["shop"]}
        made.configure({"immich": {"paths": [str(made.data)], "postgres": [source]}})
        made.init()
        upload = made.data / "upload/anna"
        upload.mkdir(parents=True)
        for number in range(12):
            (upload / f"IMG_{number}.jpg").write_bytes(os.urandom(100_000))
        os.utime(upload, ns=(1, 1_500_000_000_123_456_789))
        (made.data / "odd *[name]\n").symlink_to("upload")
        made.run("run", "immich").succeeded()
        (upload / "IMG_3.jpg").write_bytes(os.urandom(100_000))
        made.run("run", "immich").succeeded()
        yield made


@pytest.mark.slow
def test_everything_comes_back_from_an_offsite(root: Root, filled: Site, postgres: Server) -> None:
    newest = max(filled.ids("immich"))
    identity = root.top / "root/identity.txt"
    subprocess.run(["age-keygen", "-o", identity], capture_output=True, check=True)
    recipient = re.findall("age1[0-9a-z]+", identity.read_text())[0]
    write_offsite(filled, "immich", root.top / "offsite/bucket/backups" / HOST, recipient)
    signer = subprocess.run(
        ["ssh-keygen", "-y", "-f", filled.state / "key"], capture_output=True, text=True, check=True
    ).stdout.strip()

    see, places, files, archives = section("From an offsite: the backup directory is gone", page=LEAVING)
    everything = see + places + files + archives
    everything = everything.replace(ID_IN_README, newest).replace("ssh-ed25519 AAAA... hiveden-backup", signer)
    said = root.run(everything)
    assert f"{HOST}/" in said
    assert "FAILED" not in said
    back = root.top / "var/tmp/back/immich"
    assert filecmp.cmp(back / newest / "SHA256SUMS", filled.job("immich") / newest / "SHA256SUMS", shallow=False)
    needed = (back / newest / "files.archives").read_text().split()
    assert len(needed) > 4
    assert {f"archives/{path.name}" for path in (back / "archives").iterdir()} == set(needed)

    on, paths = section("All files", page=LEAVING)
    there = f"/var/tmp/back/immich/{newest}"
    placed = [text.replace(f"/srv/backups/immich/{ID_IN_README}", there) for text in (on, paths)]
    root.run(placed[0])
    compared = ["rsync", "-aHAXnic", "--delete", f"{filled.data}/", f"{root.top}/var/tmp/restored{filled.data}/"]
    assert subprocess.run(compared, capture_output=True, check=True).stdout == b""
    assert "upload/anna/IMG_3.jpg" in root.run(placed[1])

    _, database, roles = section("A database", page=LEAVING)
    server = encode(str(postgres.sockets))
    for text in (roles, database):
        root.run(text.replace(f"/srv/backups/shop/{ID_IN_README}", there).replace("%2Fvar%2Frun%2Fpostgresql", server))
    assert root.run("runuser -u postgres -- psql -XAtc 'SELECT id FROM sale' shop_restored") == "1\n"
