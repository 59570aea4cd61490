"""An installation whose backups lie at an offsite as well, written there by other means than the program's own."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.dockerd import unique_name
from tests.support.job import Site, site
from tests.support.postgres import Server
from tests.support.written_offsite import write_offsite

HOST = "nas-1a2b3c4d"


@dataclass(frozen=True)
class Sent:
    """An installation whose backups lie at `place` as well, for the key in `identity`."""

    site: Site
    place: Path
    identity: Path
    recipient: str
    files: Path

    @property
    def job(self) -> Path:
        """The job's folder there."""
        return self.place / HOST / "app"

    @property
    def source(self) -> tuple[str, ...]:
        return "--from", "there", "--identity", str(self.identity)

    def slices(self) -> list[Path]:
        """All of archives."""
        return sorted(self.job.glob("archives/*.age"))

    def lose_the_disk(self) -> None:
        """The backup directory is gone."""
        shutil.rmtree(self.site.backups)


def key(path: Path) -> str:
    """A new identity; the recipient."""
    subprocess.run(["age-keygen", "-o", path], capture_output=True, check=True)
    (recipient,) = re.findall("age1[0-9a-z]+", path.read_text())
    return str(recipient)


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[Sent]:
    """Two backups in several archives each of several slices."""
    with site(tmp_path, "unix:///none") as made:
        yield send(made, made.data / "files")


def send(made: Site, files: Path, **job: object) -> Sent:
    place, identity = made.path / "place", made.path / "identity"
    place.mkdir()
    recipient = key(identity)
    made.archive_bytes = 1 << 18
    offsite = {"there": {"remote": str(place), "recipients": [recipient]}}
    made.configure({"app": {"paths": [str(files)], **job}}, offsite=offsite)
    files.mkdir(parents=True)
    for number in range(8):
        (files / f"{number}").write_bytes(os.urandom(100_000))
    os.link(files / "0", files / "linked")
    made.init().run("run", "app").succeeded()
    (files / "3").write_text("changed")
    made.run("run", "app").succeeded()
    write_offsite(made, "app", place / HOST, recipient)
    return Sent(made, place, identity, recipient, files)


def below(target: Path, path: Path) -> Path:
    return target / str(path).lstrip("/")


def spool(made: Site) -> list[str]:
    return [name for name in os.listdir(made.state / "spool") if name.startswith(".from-offsite-")]


@pytest.fixture
def sent_shop(tmp_path: Path, postgres: Server) -> Iterator[tuple[Sent, Server, str]]:
    with (
        postgres.database(unique_name("shop"), "CREATE TABLE sale AS SELECT 'then' AS word") as database,
        site(tmp_path, "unix:///none") as made,
    ):
        source = {"dsn": postgres.dsn(), "databases": [database], "globals": False}
        yield send(made, made.data / "files", postgres=[source]), postgres, database
        for name in postgres.databases():
            if name.startswith(("hiveden_", f"{database}_")):
                postgres.drop(name)
