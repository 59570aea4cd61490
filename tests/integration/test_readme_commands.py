"""The commands of README.md, run as they stand there on real backups; only the places are others.

Stand-ins with the names of the README's examples: containers that do nothing, and real PostgreSQL servers.
"""

import filecmp
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
from hiveden_backup.core.names import encode
from tests.support.dockerd import Engine
from tests.support.postgres import Server
from tests.support.readme import section

ID_IN_README = "20261123T023000Z"
ODD_NAME = "-odd *[name]\n\udcff\\"


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

    def shell(self, script: str, **more: str) -> str:
        """What bash prints when these lines are pasted into it. All must succeed."""
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
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


def differences(one: Path, other: Path, *excluded: str) -> str:
    """What rsync would do to make `other` like `one`, contents, metadata, links and times compared."""
    options = [f"--exclude={pattern}" for pattern in excluded]
    command = ["rsync", "-aHAXnic", "--delete", *options, f"{one}/", f"{other}/"]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "backslashreplace")


REGENERATED = ("/library/thumbs/[!.]*", "/library/encoded-video/[!.]*", "/postgres")


# ---- restore -------------------------------------------------------------------------------------------------------


def test_see_what_there_is(world: World, tmp_path: Path) -> None:
    said = world.shell(world.placed(section("See what there is")[0], tmp_path))
    assert f"{world.srv}/immich/library/upload/anna/IMG_7.jpg" in said
    assert f"{world.srv}/immich/library/thumbs/.immich\n" in said
    assert "small.webp" not in said
    assert "immich_postgres" in said


def test_all_files(world: World, tmp_path: Path) -> None:
    world.shell(world.placed(section("All files")[0], tmp_path))
    came_back = Path(f"{tmp_path}/restored{world.srv}/immich")
    assert differences(world.srv / "immich", came_back, *REGENERATED) == ""
    assert (came_back / "library/sparse").stat().st_blocks == 0


def test_one_file_or_some(world: World, tmp_path: Path) -> None:
    world.shell(world.placed(section("One file, or some")[0], tmp_path))

    def files(name: str) -> set[str]:
        home = f"{tmp_path}/{name}{world.srv}/immich/library"
        return {os.path.relpath(path, home) for path in Path(home).rglob("*") if not path.is_dir()}

    assert files("one") == {"upload/anna/IMG_7.jpg"}
    assert files("some") == {f"upload/anna/IMG_{n}.jpg" for n in (1, 12, 19)} | {
        "profile/anna.png",
        "profile/linked.jpg",
    }
    one = Path(f"{tmp_path}/one{world.srv}/immich/library/upload/anna")
    assert (one.stat().st_uid, one.stat().st_mtime_ns) == (1234, 1_500_000_000_123_456_789)


def test_database_and_putting_back(world: World, tmp_path: Path) -> None:
    """In the README's order: restored beside, then everything swapped by hand."""
    for heading in ("All files", "One database, beside the live one"):
        said = world.shell(world.placed(section(heading)[0], tmp_path))
    assert "asset" in said
    world.psql("immich_postgres", "immich", "DROP TABLE asset")
    (world.srv / "immich/library/upload/anna/IMG_7.jpg").write_bytes(b"overwritten")
    (world.srv / "immich/library" / ODD_NAME).unlink()
    (world.volume("paperless_media") / "letter.pdf").write_text("overwritten")

    files, volume, database = section("Put it back in place")
    world.shell(world.placed(files, tmp_path))
    restored = Path(f"{tmp_path}/restored{world.srv}/immich/library")
    assert differences(restored, world.srv / "immich/library") == ""
    assert (world.srv / "immich/library.before/upload/anna/IMG_7.jpg").read_bytes() == b"overwritten"
    world.shell(world.placed(volume, tmp_path))
    assert (world.volume("paperless_media") / "letter.pdf").read_text() == "first"
    world.shell(world.placed(database, tmp_path))
    assert world.psql("immich_postgres", "immich", "SELECT count(*) FROM asset") == "100"
    assert world.psql("immich_postgres", "immich_before", "SELECT to_regclass('asset') IS NULL") == "t"
    assert all(world.engine.is_running(name) for name in ("immich_server", "paperless-webserver-1"))


def test_new_machine(world: World, tmp_path: Path) -> None:
    script = world.placed(section("On a new machine")[0], tmp_path)
    said = world.shell(script, STATE_DIRECTORY=f"{tmp_path}/state", DOCKER_HOST="unix:///nowhere")
    assert "[jobs.immich]" in said
    assert Path(f"{tmp_path}/restored{world.srv}/immich/.env").exists()


# ---- without this program ------------------------------------------------------------------------------------------


def stock(world: World, text: str, scratch: Path, *, job: str = "immich", **more: str) -> str:
    """Run a block with nothing of ours in reach."""
    script = world.placed(text, scratch, job)
    return world.shell(script, PATH="/usr/sbin:/usr/bin:/sbin:/bin", STATE_DIRECTORY="", TMPDIR=str(scratch), **more)


def test_stock_files(world: World, tmp_path: Path) -> None:
    """Of a chain of two backups, since then there are several archives."""
    (world.srv / "immich/library/upload/anna/IMG_1.jpg").write_bytes(b"changed")
    newest = world.shell("hiveden-backup run immich").strip()
    again = World(world.top, world.engine, {**world.ids, "immich": newest})
    files, paths, *_ = section("Without this program")
    said = stock(again, files, tmp_path)
    assert "files.index.zst: OK" in said
    assert differences(world.srv / "immich", Path(f"{tmp_path}/restored{world.srv}/immich"), *REGENERATED) == ""
    assert f"{world.srv}/immich/library/profile/anna.png".removeprefix("/") in stock(again, paths, tmp_path)


def test_stock_database_in_a_container(world: World, tmp_path: Path) -> None:
    stock(world, section("Without this program")[2].replace("immich_restored", "immich_stock"), tmp_path)
    assert world.psql("immich_postgres", "immich_stock", "SELECT count(*) FROM asset") == "100"


def test_stock_database_on_this_machine(world: World, tmp_path: Path, postgres: Server) -> None:
    text = section("Without this program")[3].replace("%2Fvar%2Frun%2Fpostgresql", encode(str(postgres.sockets)))
    try:
        stock(world, text, tmp_path, job="shop", PGHOST=str(postgres.sockets), PGPORT=str(postgres.port))
        assert postgres.sql("SELECT id FROM sale", dbname="shop_restored") == [(1,)]
    finally:
        postgres.drop("shop_restored")


# ---- the other chapters --------------------------------------------------------------------------------------------


def test_examples_have_what_matters(world: World) -> None:
    """Each example ran in `world`; here is what its backup must have."""
    said = {job: world.shell(f"hiveden-backup show {world.ids[job]} --files") for job in world.ids if job != "shop"}
    assert f"{world.srv}/immich/.env\n" in said["immich"]
    assert "/postgres/" not in said["immich"]
    assert "version.php" in said["nextcloud"]
    assert "db.sqlite3\n" in said["vaultwarden"]
    assert "a.png" not in said["vaultwarden"]
    assert "consume/letter.pdf" in said["paperless"]
    assert "warning" not in world.shell(f"hiveden-backup show {world.ids['nextcloud']}")


def test_nextcloud_with_postgres(world: World, tmp_path: Path) -> None:
    """The second way to back Nextcloud up; another example's server has its database."""
    world.psql("paperless-db-1", "postgres", "CREATE DATABASE nextcloud")
    config = tmp_path / "config.toml"
    job = example("nextcloud", 1).replace("nextcloud-db-1", "paperless-db-1")
    config.write_text(f'directory = "{world.srv}/backups"\n{job}')
    said = world.shell("hiveden-backup check; hiveden-backup run nextcloud", HIVEDEN_BACKUP_CONFIG=str(config))
    assert "WARN" not in said
    assert "paperless-db-1" in world.shell("hiveden-backup list --job nextcloud --target nextcloud --type database")


def test_configuration_commands(world: World, tmp_path: Path) -> None:
    for block in section("Configuration"):
        world.shell(world.placed(block, tmp_path))
    assert world.shell("hiveden-backup config get jobs.immich.stop_timeout") == "45s\n"


def test_what_to_do_when_something_is_wrong(world: World, tmp_path: Path) -> None:
    for block in section("When something is wrong"):
        world.shell(world.placed(block, tmp_path))


def test_deleting_to_make_room(world: World, tmp_path: Path) -> None:
    newest = world.shell("hiveden-backup run immich").strip()
    again = World(world.top, world.engine, {"immich": newest})
    said = world.shell(again.placed(section("How much space")[0], tmp_path))
    assert f"Removed immich/{newest}" in said
    assert not (world.srv / "backups/immich" / newest).exists()


def test_what_is_left_of_a_damaged_backup(world: World, tmp_path: Path) -> None:
    """`restore --only` gives what lies in whole archives, the stock tools what they can read of the damaged one."""
    data, config = tmp_path / "data", tmp_path / "config.toml"
    data.mkdir()
    for number in range(40):
        (data / f"old{number:02}").write_bytes(os.urandom(100_000))
    config.write_text(f'directory = "{tmp_path}/b"\n[jobs.immich]\npaths = ["{data}"]\n')
    own = {"HIVEDEN_BACKUP_CONFIG": str(config), "STATE_DIRECTORY": str(tmp_path / "state")}
    # files that are younger than two seconds in the first run would be archived again in the second
    world.shell(f"hiveden-backup init --directory {tmp_path}/b; sleep 2.1; hiveden-backup run immich", **own)
    (data / "new").write_text("new")
    world.shell("hiveden-backup run immich", **own)
    archive = max((tmp_path / "b/immich/archives").iterdir(), key=lambda path: path.stat().st_size)
    with open(archive, "r+b") as file:
        file.seek(archive.stat().st_size * 3 // 4)
        file.write(b"damage")
    refused = world.shell(f"hiveden-backup restore immich/latest --to {tmp_path}/all && exit 1; echo $?", **own)
    assert refused == "65\n"
    world.shell(f"hiveden-backup restore immich/latest --to {tmp_path}/one --only new", **own)
    assert Path(f"{tmp_path}/one{data}/new").read_text() == "new"

    newest = max((tmp_path / "b/immich").glob("2*"))
    script = section("Without this program")[0].replace("/var/tmp/", f"{tmp_path}/")
    script = script.replace("/srv/backups/immich/" + ID_IN_README, str(newest))
    subprocess.run(["bash", "-c", script], env=world.environment(TMPDIR=str(tmp_path)), capture_output=True, check=True)
    whole, _, _ = filecmp.cmpfiles(data, f"{tmp_path}/restored{data}", os.listdir(data), shallow=False)
    assert "old00" in whole
    assert "new" in whole
