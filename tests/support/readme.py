"""The README's blocks, and a machine as the README has it: stand-ins with the names of its examples.

Containers that do nothing, and real PostgreSQL servers.
"""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import hiveden_backup
from tests.support.dockerd import Engine
from tests.support.postgres import Server

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
GUIDES = Path(hiveden_backup.__file__).parent / "guides"
LEAVING = (GUIDES / "leaving.md").read_text(encoding="utf-8")
ID_IN_README = "20261123T023000Z"
ODD_NAME = "-odd *[name]\n\udcff\\"


def section(heading: str, language: str = "sh", page: str = README) -> list[str]:
    """The blocks of one language under one heading of a page, in order."""
    text = re.split(rf"^#+ {re.escape(heading)}$", page, maxsplit=1, flags=re.MULTILINE)[1]
    text = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0] if language == "toml" else until_heading(text)
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found
    return found


def until_heading(text: str) -> str:
    """The text up to the next heading; comments in blocks begin with a # and more than one blank, or end a line."""
    return re.split(r"^#+ (?=[A-Z])", text, maxsplit=1, flags=re.MULTILINE)[0]


@dataclass(frozen=True)
class World:
    """A machine as the README has it, below `top`. `ids` are the newest backups by job."""

    top: Path
    engine: Engine
    ids: Mapping[str, str]

    @property
    def srv(self) -> Path:
        return self.top / "srv"

    def placed(self, text: str, scratch: Path, job: str = "immich") -> str:
        """A text of the README with our places, and the id of the newest backup of `job`."""
        places = {
            "/srv/": f"{self.srv}/",
            "/root/": f"{scratch}/root/",
            "/var/tmp/": f"{scratch}/",
            "/usr/local/bin/": f"{self.top}/bin/",
        }
        text = re.sub("|".join(places), lambda match: places[match[0]], text)
        return text.replace(ID_IN_README, self.ids.get(job, ID_IN_README))

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.top}/bin:{os.environ['PATH']}",
            "DOCKER_HOST": self.engine.url,
            "HIVEDEN_BACKUP_CONFIG": f"{self.top}/etc/config.toml",
            "STATE_DIRECTORY": f"{self.top}/state",
            **more,
        }

    def shell(self, script: str, by: str = "bash", **more: str) -> str:
        """What a shell prints when these lines are pasted into it. All must succeed."""
        done = subprocess.run(
            [by, "-eu", "-c", script],
            cwd=self.top,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        said = done.stdout.decode("utf-8", "backslashreplace")
        assert done.returncode == 0, f"{script}\n{said}\n{done.stderr.decode('utf-8', 'backslashreplace')}"
        return said

    def psql(self, container: str, database: str, statement: str) -> str:
        command = ["docker", "exec", container, "psql", "-U", "postgres", "-d", database, "-XAtc", statement]
        return subprocess.run(
            command, env=self.environment(), capture_output=True, check=True, text=True
        ).stdout.strip()

    def volume(self, name: str) -> Path:
        return Path(self.engine.api.inspect_volume(name)["Mountpoint"])


# ---- the machine ---------------------------------------------------------------------------------------------------


def make_program(top: Path) -> None:
    """`hiveden-backup` of this checkout, in a directory for PATH."""
    program = top / "bin/hiveden-backup"
    program.parent.mkdir()
    home = Path(hiveden_backup.__file__).parents[1]
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{home}" exec "{sys.executable}" -m hiveden_backup "$@"\n')
    program.chmod(0o755)


def make_files(srv: Path) -> None:
    """What the applications have in directories: of each kind something."""
    library = srv / "immich/library"
    for folder in ("upload/anna", "profile", "thumbs/anna", "encoded-video"):
        (library / folder).mkdir(parents=True)
    for number in (1, 7, 12, 19):
        (library / f"upload/anna/IMG_{number}.jpg").write_bytes(os.urandom(3000))
    for folder in ("thumbs", "encoded-video"):
        (library / folder / ".immich").touch()
    (library / "thumbs/anna/small.webp").write_bytes(b"made again")
    (library / "profile/anna.png").write_bytes(b"face")
    os.link(library / "upload/anna/IMG_7.jpg", library / "profile/linked.jpg")
    os.symlink("../upload", library / "profile/up")
    with open(library / "sparse", "wb") as file:
        file.truncate(1 << 20)
    (library / ODD_NAME).write_bytes(b"odd")
    os.setxattr(library / "profile/anna.png", "user.note", b"kept")
    subprocess.run(["setfacl", "-m", "u:4321:r", library / "profile/anna.png"], check=True)
    os.chown(library / "upload/anna", 1234, 1234)
    os.utime(library / "upload/anna", ns=(1, 1_500_000_000_123_456_789))
    (srv / "immich/.env").write_text("DB_PASSWORD=secret\n")
    for folder in ("vaultwarden/icon_cache", "paperless/consume"):
        (srv / folder).mkdir(parents=True)
    (srv / "vaultwarden/icon_cache/a.png").touch()
    (srv / "paperless/consume/letter.pdf").write_bytes(b"%PDF")
    database = sqlite3.connect(srv / "vaultwarden/db.sqlite3")
    database.execute("CREATE TABLE secret (text)")
    database.close()


def make_containers(engine: Engine, srv: Path) -> None:
    """Stand-ins for the containers and volumes of the README's examples."""
    immich = {"user": "postgres", "database": "immich", "binds": [f"{srv}/immich/postgres:/var/lib/postgresql/data"]}
    engine.postgres(name="immich_postgres", **immich)  # type: ignore[arg-type] # keywords of several types
    engine.run(name="immich_server", binds=[f"{srv}/immich/library:/data"])
    engine.postgres(name="paperless-db-1", user="postgres", database="paperless")
    volumes = [f"paperless_{name}:/{name}" for name in ("data", "media")]
    engine.run(name="paperless-webserver-1", binds=[*volumes, f"{srv}/paperless/consume:/consume"])
    for name, bind in (("app", "nextcloud:/html"), ("cron", "nextcloud:/html"), ("db", "db:/var/lib/mysql")):
        engine.run(name=f"nextcloud-{name}-1", binds=[f"nextcloud_{bind}"])
    engine.run(name="vaultwarden", binds=[f"{srv}/vaultwarden:/data"])
    for volume, file in (("paperless_media", "letter.pdf"), ("nextcloud_nextcloud", "version.php")):
        Path(engine.api.inspect_volume(volume)["Mountpoint"], file).write_text("first")


def example(job: str, number: int = 0) -> str:
    """One of the README's worked examples."""
    return [text for text in section("Examples", "toml") if text.startswith(f"[jobs.{job}]")][number]


@pytest.fixture(scope="module")
def world(dockerd: Engine, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The machine, and a first backup of each example, and of a database of the host's own server."""
    top = tmp_path_factory.mktemp("readme")
    engine = dockerd
    containers = frozenset(summary["Id"] for summary in engine.api.containers(all=True))
    volumes = {volume["Name"] for volume in engine.api.volumes()["Volumes"] or ()}
    make_program(top)
    make_files(top / "srv")
    try:
        make_containers(engine, top / "srv")
        bare = World(top, engine, {})
        bare.psql("immich_postgres", "immich", "CREATE TABLE asset AS SELECT generate_series(1, 100) AS id")
        with postgres.database("shop", "CREATE TABLE sale AS SELECT 1 AS id"):
            bare.shell("hiveden-backup init --directory srv/backups")
            jobs = [bare.placed(example(job), top) for job in ("immich", "nextcloud", "vaultwarden", "paperless")]
            jobs.append(
                f'[jobs.shop]\n[[jobs.shop.postgres]]\nos_user = "postgres"\ndatabases = ["shop"]\n'
                f'dsn = "host={postgres.sockets} port={postgres.port} user=postgres"\n'
            )
            with open(top / "etc/config.toml", "a", encoding="utf-8") as config:
                config.write("\n".join(jobs))
            names = ("immich", "nextcloud", "vaultwarden", "paperless", "shop")
            yield World(top, engine, dict(zip(names, bare.shell("hiveden-backup run --all").split(), strict=True)))
    finally:
        engine.remove_containers(but=containers)
        for volume in engine.api.volumes()["Volumes"] or ():
            if volume["Name"] not in volumes:
                engine.api.remove_volume(volume["Name"])
