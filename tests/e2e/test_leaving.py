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
import tomli_w

from hiveden_backup.core.names import encode
from tests.support.fresh import in_memory, mount_overlay
from tests.support.job import Site, site, until
from tests.support.postgres import Server
from tests.support.readme import ID_IN_README, LEAVING, section

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
    """Two runs of a job with files, in several archives, and a database, all of which are larger than a slice."""
    sale = "CREATE TABLE sale AS SELECT 1 AS id"
    much = "CREATE TABLE much AS SELECT md5(random()::text) FROM generate_series(1, 100000)"
    with site(tmp_path / "site") as made, postgres.database("shop", sale, much):
        made.archive_bytes = 2 << 20
        source = {"dsn": postgres.dsn(), "databases": ["shop"]}
        made.configure({"immich": {"paths": [str(made.data)], "postgres": [source]}})
        made.init()
        upload = made.data / "upload/anna"
        upload.mkdir(parents=True)
        for number in range(12):
            (upload / f"IMG_{number}.jpg").write_bytes(os.urandom(700_000))
        os.utime(upload, ns=(1, 1_500_000_000_123_456_789))
        (made.data / "odd *[name]\n").symlink_to("upload")
        made.run("run", "immich").succeeded()
        (upload / "IMG_3.jpg").write_bytes(os.urandom(700_000))
        made.run("run", "immich").succeeded()
        yield made


@dataclass(frozen=True)
class Copied:
    """A filled installation whose backups lie at /offsite of a fresh root, and its newest one's id."""

    site: Site
    root: Root
    newest: str
    server: str

    def run(self, script: str) -> str:
        """A recipe, with this backup and this server in it."""
        script = script.replace(ID_IN_README, self.newest)
        return self.root.run(script.replace("%2Fvar%2Frun%2Fpostgresql", self.server))

    def check_fetched(self) -> None:
        back = self.root.top / "var/tmp/back/immich"
        for name in ("SHA256SUMS", "SHA256SUMS.sig"):
            local = self.site.job("immich") / self.newest / name
            assert filecmp.cmp(back / self.newest / name, local, shallow=False)
        needed = (back / self.newest / "files.archives").read_text().split()
        assert len(needed) > 4
        assert {f"archives/{path.name}" for path in (back / "archives").iterdir()} == set(needed)
        made = [self.root.top / "var/tmp" / name for name in ("back", "there")]
        made += [each for top in made for each in top.rglob("*")]
        assert {oct(each.stat().st_mode & 0o077) for each in made} == {"0o0"}, "nobody else can read it"

    def check_restored(self) -> None:
        data = self.site.data
        compared = ["rsync", "-aHAXnic", "--delete", f"{data}/", f"{self.root.top}/var/tmp/restored{data}/"]
        assert subprocess.run(compared, capture_output=True, check=True).stdout == b""
        assert self.root.run("runuser -u postgres -- psql -XAtc 'SELECT id FROM sale' shop_restored") == "1\n"


@pytest.fixture
def copied(root: Root, filled: Site, postgres: Server) -> Copied:
    root.run("cd /; rm -rf /var/tmp/* /offsite; runuser -u postgres -- dropdb --if-exists shop_restored")
    identity = root.top / "root/identity.txt"
    identity.unlink(missing_ok=True)
    subprocess.run(["age-keygen", "-o", identity], capture_output=True, check=True)
    recipient = re.findall("age1[0-9a-z]+", identity.read_text())[0]
    (root.top / "offsite").mkdir()
    (filled.path / "rclone.conf").write_text(f"[b2]\ntype = alias\nremote = {root.top}/offsite\n")
    place = {"remote": "b2:bucket/backups", "rclone_config": f"{filled.path}/rclone.conf", "recipients": [recipient]}
    with open(filled.config, "a", encoding="utf-8") as file:
        file.write(tomli_w.dumps({"offsite": {"b2": {**place, "slice": "1MiB"}}}))
    filled.run("offsite", "push").succeeded()
    there = root.top / "offsite/bucket/backups"
    (host,) = (each for each in there.iterdir() if each.name != ".status")
    (there / HOST).symlink_to(host.name)
    objects = {path.name for path in host.rglob("*")}
    assert any(name.endswith(".dump.zst.0001.age") for name in objects)
    assert any(name.endswith(".tar.zst.0001.age") for name in objects)
    return Copied(filled, root, max(filled.ids("immich")), encode(str(postgres.sockets)))


@pytest.mark.slow
def test_the_guide_brings_everything_back_from_an_offsite(copied: Copied) -> None:
    public = ["ssh-keygen", "-y", "-f", str(copied.site.state / "key")]
    signer = subprocess.run(public, capture_output=True, text=True, check=True).stdout.strip()
    see, places, files, archives = section("From an offsite: the backup directory is gone", page=LEAVING)
    said = copied.run(see + places.replace("ssh-ed25519 AAAA... hiveden-backup", signer) + files + archives)
    assert "FAILED" not in said
    assert f"{copied.newest}/\n" in said
    copied.check_fetched()

    everything, paths = section("All files", page=LEAVING)
    _, database, roles = section("A database", page=LEAVING)
    placed = [re.sub("/srv/backups/(immich|shop)/", "/var/tmp/back/immich/", text) for text in (everything, paths)]
    copied.run(placed[0])
    assert "upload/anna/IMG_3.jpg" in copied.run(placed[1])
    copied.run((roles + database).replace("/srv/backups/shop/", "/var/tmp/back/immich/"))
    copied.check_restored()


@pytest.mark.slow
def test_the_recovery_kit_brings_everything_back_from_an_offsite(copied: Copied) -> None:
    """By what stands on the page, typed as it is; only which backup, and the name of a database, are filled in."""
    kit = copied.site.run("recovery-kit").succeeded().out
    recipe = kit.partition("WITHOUT IT")[2].partition("\n")[2]
    assert "FAILED" not in copied.run(recipe)
    copied.check_fetched()
    copied.check_restored()
