"""Names that no place takes as they are: of databases, which name objects there, and of files, which do not."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import unique_name
from tests.support.job import site
from tests.support.offsite_home import check_there, new_key
from tests.support.offsite_places import Place
from tests.support.postgres import Server
from tests.support.sent import below
from tests.support.storm import describe

FILES = ["we ird", "-dash", "Ünï", "new\nline", "%41%2f", "a'b\"c\\d", "*?[a]{b}", "#;&|<>~`$(x)", ".partial"]
DATABASE = "-we ird %41 Ünï'\"\\*{a}+&?#"


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """One of an odd name, with a row. What is restored from it is called so, too, and `back`."""
    with postgres.database(f"{DATABASE}{unique_name('.')}.0000.age", "CREATE TABLE sale AS SELECT 1 AS row") as name:
        yield name
        postgres.drop(f"{name}back")


@pytest.mark.parametrize(
    "each_place",
    ["s3", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("sftp", "webdav", "disk"))],
    indirect=True,
)
def test_they_go_there_come_back_and_go(each_place: Place, postgres: Server, database: str, tmp_path: Path) -> None:
    key = new_key(tmp_path / "key")
    place = {"remote": each_place.remote, "rclone_config": str(each_place.config), "recipients": [key.public]}
    source = {"dsn": postgres.dsn(), "databases": [database], "globals": False}
    with site(tmp_path / "site", "unix:///none") as made:
        for name in FILES:
            (made.data / name).write_bytes(os.urandom(100))
        job = {"app": {"paths": [str(made.data)], "postgres": [source]}}
        made.configure(job, offsite={"far": place})
        made.init().run("run", "app").succeeded()
        (old,) = made.ids()
        made.run("offsite", "push").succeeded()
        each_place.rclone("copy", each_place.at(), str(tmp_path / "copy"))
        host = next(each for each in (tmp_path / "copy").iterdir() if not each.name.startswith("."))
        assert check_there(host / "app", key, made) == [old]
        assert len(list((host / "app" / old).glob("database.*%20*"))) == 1

        time.sleep(1.1)
        made.run("run", "app").succeeded()
        made.configure(job, offsite={"far": {**place, "retention": {"keep_last": 1}}})
        made.run("offsite", "push").succeeded()
        (new, _) = made.ids()
        assert {name.split("/")[2] for name in each_place.listing() if name.count("/") == 3} == {"archives", new}
        made.run("offsite", "reconcile").succeeded()

        shutil.rmtree(made.backups)
        there = ("--from", "far", "--identity", str(key.path))
        back = made.restored("back", *there)
        assert describe(below(back, made.data)) == describe(made.data)
        made.run("restore", "app/latest", f"--database={database}", f"--as={database}back", *there).succeeded()
        assert postgres.sql("SELECT row FROM sale", dbname=f"{database}back") == [(1,)]
