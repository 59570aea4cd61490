"""The commands of README.md, run as they stand there on real backups; only the places are others."""

import filecmp
import os
import shutil
import subprocess
from pathlib import Path

from hiveden_backup.core.names import encode
from tests.support.postgres import Server
from tests.support.readme import ID_IN_README, LEAVING, ODD_NAME, World, example, section


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
    """In the README's order: restored beside, then a directory put back by hand."""
    restore, by_hand = section("All files, beside what is there")
    world.shell(world.placed(restore, tmp_path))
    came_back = Path(f"{tmp_path}/restored{world.srv}/immich")
    assert differences(world.srv / "immich", came_back, *REGENERATED) == ""
    assert (came_back / "library/sparse").stat().st_blocks == 0
    (world.srv / "immich/library/upload/anna/IMG_7.jpg").write_bytes(b"overwritten")
    (world.srv / "immich/library" / ODD_NAME).unlink()
    world.shell(world.placed(by_hand, tmp_path))
    assert differences(came_back / "library", world.srv / "immich/library") == ""
    assert (world.srv / "immich/library.before/upload/anna/IMG_7.jpg").read_bytes() == b"overwritten"
    assert world.engine.is_running("immich_server")
    shutil.rmtree(world.srv / "immich/library")
    (world.srv / "immich/library.before").rename(world.srv / "immich/library")
    world.shell("hiveden-backup restore immich/latest --in-place --yes")
    assert differences(came_back, world.srv / "immich", *REGENERATED) == ""


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


def assets(world: World, database: str = "immich") -> str:
    return world.psql("immich_postgres", database, "SELECT count(*) FROM asset")


def test_one_database(world: World, tmp_path: Path) -> None:
    in_place, beside = section("One database")
    world.psql("immich_postgres", "immich", "TRUNCATE asset")
    world.shell(world.placed(in_place, tmp_path))
    assert assets(world) == "100"
    kept = "SELECT datname, datallowconn FROM pg_database WHERE datname LIKE 'immich\\_before\\_%'"
    assert world.psql("immich_postgres", "postgres", kept).endswith("Z|f")
    assert "asset" in world.shell(world.placed(beside, tmp_path))
    assert assets(world, "immich_restored") == "100"
    world.shell(world.placed(section("Undo")[0], tmp_path))
    assert assets(world) == "0"


def test_everything_and_undo(world: World, tmp_path: Path) -> None:
    tell, do, files_alone = section("Everything")
    library = world.srv / "immich/library"
    (library / "upload/anna/IMG_7.jpg").write_bytes(b"overwritten")
    (library / ODD_NAME).unlink()
    world.psql("immich_postgres", "immich", "TRUNCATE asset")
    said = world.shell(world.placed(f"{tell.strip()} || test $? = 2", tmp_path))
    assert f"{world.srv}/immich\n" in said
    assert "the database immich on immich_postgres" in said
    assert (library / "upload/anna/IMG_7.jpg").read_bytes() == b"overwritten"
    world.shell(world.placed(do, tmp_path))
    world.shell(world.placed(section("All files, beside what is there")[0], tmp_path))
    assert differences(Path(f"{tmp_path}/restored{world.srv}/immich"), world.srv / "immich", *REGENERATED) == ""
    assert (library / "thumbs/anna/small.webp").read_bytes() == b"made again"
    assert assets(world) == "100"
    assert world.engine.is_running("immich_server")
    world.shell(world.placed(section("Undo")[0], tmp_path))
    assert (library / "upload/anna/IMG_7.jpg").read_bytes() == b"overwritten"
    assert not (library / ODD_NAME).exists()
    assert assets(world) == "0"
    world.shell(world.placed(files_alone, tmp_path))
    assert (library / "upload/anna/IMG_7.jpg").read_bytes() != b"overwritten"
    assert (library / ODD_NAME).exists()
    assert assets(world) == "0"


def test_new_machine(world: World, tmp_path: Path) -> None:
    key = world.shell("hiveden-backup config show --key").strip()
    blocks = section("On a new machine")
    everything, database, take_over = (block.replace("--trust SHA256:...", f"--trust {key}") for block in blocks)
    (world.srv / "immich/.env").unlink()
    world.psql("immich_postgres", "immich", "TRUNCATE asset")
    said = world.shell(world.placed(everything, tmp_path), STATE_DIRECTORY=f"{tmp_path}/state")
    assert "[jobs.immich]" in said
    assert "immich/20" in said
    assert (world.srv / "immich/.env").exists()
    assert assets(world) == "100"
    world.shell(
        world.placed(f"export HIVEDEN_BACKUP_CONFIG=/root/restore/config.toml\n{database}", tmp_path),
        STATE_DIRECTORY=f"{tmp_path}/state",
    )
    assert assets(world) == "100"
    assert "are this machine's now" in world.shell(
        world.placed(take_over, tmp_path), STATE_DIRECTORY=f"{tmp_path}/state"
    )
    assert "are this machine's now" in world.shell(world.placed(take_over, tmp_path))


# ---- without this program: guides/leaving.md -----------------------------------------------------------------------


def leaving(heading: str) -> list[str]:
    return section(heading, page=LEAVING)


def stock(world: World, text: str, scratch: Path, *, job: str = "immich", **more: str) -> str:
    """Run a block by a POSIX shell, with nothing of ours in reach."""
    script = world.placed(text, scratch, job)
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    return world.shell(script, by="sh", PATH=path, STATE_DIRECTORY="", TMPDIR=str(scratch), **more)


def test_stock_files(world: World, tmp_path: Path) -> None:
    """Of a chain of two backups, since then there are several archives."""
    (world.srv / "immich/library/upload/anna/IMG_1.jpg").write_bytes(b"changed")
    newest = world.shell("hiveden-backup run immich").strip()
    again = World(world.top, world.engine, {**world.ids, "immich": newest})
    files, paths = leaving("All files")
    said = stock(again, files, tmp_path)
    assert "files.index.zst: OK" in said
    assert differences(world.srv / "immich", Path(f"{tmp_path}/restored{world.srv}/immich"), *REGENERATED) == ""
    assert f"{world.srv}/immich/library/profile/anna.png".removeprefix("/") in stock(again, paths, tmp_path)


def test_stock_one_file(world: World, tmp_path: Path) -> None:
    (one,) = leaving("One file")
    stock(world, one.replace("'srv/immich/", '"$IMMICH"\'/'), tmp_path, IMMICH=str(world.srv / "immich").lstrip("/"))
    file = world.srv / "immich/library/upload/anna/IMG_12.jpg"
    assert Path(f"{tmp_path}/one{file}").read_bytes() == file.read_bytes()


def test_stock_signature(world: World, tmp_path: Path) -> None:
    (check,) = leaving("Who signed it")
    assert world.shell("hiveden-backup config show --key").strip() in stock(world, check, tmp_path)


def test_stock_database_in_a_container(world: World, tmp_path: Path) -> None:
    stock(world, leaving("A database")[0].replace("immich_restored", "immich_stock"), tmp_path)
    assert world.psql("immich_postgres", "immich_stock", "SELECT count(*) FROM asset") == "100"


def test_stock_database_on_this_machine(world: World, tmp_path: Path, postgres: Server) -> None:
    text = leaving("A database")[1].replace("%2Fvar%2Frun%2Fpostgresql", encode(str(postgres.sockets)))
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
    world.shell("hiveden-backup config set jobs.immich.schedule '*-*-* 04:00'")
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
    script = leaving("All files")[0].replace("/var/tmp/", f"{tmp_path}/")
    script = script.replace("/srv/backups/immich/" + ID_IN_README, str(newest))
    subprocess.run(["sh", "-c", script], env=world.environment(TMPDIR=str(tmp_path)), capture_output=True, check=True)
    whole, _, _ = filecmp.cmpfiles(data, f"{tmp_path}/restored{data}", os.listdir(data), shallow=False)
    assert "old00" in whole
    assert "new" in whole
