"""Databases that do not come back as they were dumped: nothing is replaced until somebody says that they will do."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.dockerd import unique_name
from tests.support.forge import forged
from tests.support.holders import holders
from tests.support.job import Site, site
from tests.support.postgres import Server

VIOLATED = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE child (id int REFERENCES parent, word text)",
    "SET session_replication_role = replica",
    "INSERT INTO child VALUES (2, 'then')",
)
ACCEPT = "--accept-differences"
OTHER = "crm"
"""What the names of a second database begin with."""


@dataclass(frozen=True)
class Shop:
    """A job with a path and a database whose foreign key does not hold; both said `then` in the backup."""

    site: Site
    postgres: Server
    database: str
    word: Path
    backup: str

    def live(self) -> tuple[str, str]:
        (row,) = self.postgres.sql("SELECT word FROM child", dbname=self.database)
        return self.word.read_text(), str(row[0])

    def staged(self) -> list[str]:
        """What is kept beside, by its names."""
        return sorted(name for name in self.postgres.databases() if name.startswith("hiveden_"))

    def kept(self) -> str:
        (name,) = self.staged()
        assert self.postgres.sql("SELECT word FROM child", dbname=name) == [("then",)], "it can be looked into"
        return name


@pytest.fixture
def shop(postgres: Server, tmp_path: Path) -> Iterator[Shop]:
    with postgres.database(unique_name("shop"), *VIOLATED) as database, site(tmp_path, "unix:///none") as made:
        word = made.data / "app" / "word"
        word.parent.mkdir()
        word.write_text("then")
        source = {"dsn": postgres.dsn(), "databases": [database], "globals": False}
        made.configure({"app": {"paths": [str(word.parent)], "postgres": [source]}})
        backup = made.init().run("run", "app").succeeded().out.strip()
        word.write_text("now")
        postgres.sql("SET session_replication_role = replica", "UPDATE child SET word = 'now'", dbname=database)
        yield Shop(made, postgres, database, word, backup)
        for name in postgres.databases():
            if name.startswith(("hiveden_", f"{database}_", OTHER)):
                postgres.drop(name)


def test_a_database_with_differences_is_kept_beside(shop: Shop) -> None:
    command = ("restore", f"app/{shop.backup}", "--database", shop.database)
    done = shop.site.run(*command, "--yes")
    kept = shop.kept()
    again = f"hiveden-backup restore app/{shop.backup} --database {shop.database} {ACCEPT} --yes"
    done.failed(1, "Nothing was replaced", f"kept there as {kept}", "violates foreign key constraint", again)
    assert "FK CONSTRAINT child child_id_fkey" in done.err
    assert shop.live() == ("now", "now")
    for other in (("recover",), ("run", "app"), ("prune",)):
        shop.site.run(*other).succeeded()
        assert shop.kept() == kept, "nobody sweeps it while somebody decides"
    shop.site.run(*command, "--yes").failed(1)
    assert shop.kept() != kept, "and they do not pile up"
    back = shop.site.run(*command, ACCEPT, "--yes").succeeded()
    assert "violates foreign key constraint" in back.err
    assert shop.staged() == []
    assert shop.live() == ("now", "then")
    shop.site.run("undo", "app", "--yes").succeeded()
    assert shop.live() == ("now", "now")


def test_files_are_not_replaced_without_the_database(shop: Shop) -> None:
    command = ("restore", f"app/{shop.backup}", "--in-place", "--yes")
    done = shop.site.run(*command)
    done.failed(1, "Nothing was replaced", f"hiveden-backup restore app/{shop.backup} --in-place {ACCEPT} --yes")
    shop.kept()
    assert shop.live() == ("now", "now")
    assert holders(shop.site.data) == []
    shop.site.run(*command, ACCEPT).succeeded()
    assert shop.live() == ("then", "then")
    assert shop.staged() == []
    shop.site.run("undo", "app", "--yes").succeeded()
    assert shop.live() == ("now", "now")


def test_what_is_kept_beside_goes_with_undo_keep(shop: Shop) -> None:
    shop.site.run("restore", f"app/{shop.backup}", "--in-place", "--yes").failed(1)
    shop.kept()
    shop.site.run("undo", "app", "--yes").failed(66, "no in-place restore")
    shop.site.change(undo_keep="1ms")
    shop.site.run("prune").succeeded()
    assert shop.staged() == []
    assert list(shop.site.state.glob("undo/app/*")) == []


def beside(shop: Shop) -> list[dict[str, object]]:
    """The databases that records say are kept beside."""
    records = [json.loads(path.read_text()) for path in shop.site.state.glob("undo/app/*.json")]
    return [database for each in records if each["phase"] == "beside" for database in each["databases"]]


def test_what_is_kept_of_other_databases_stays(shop: Shop) -> None:
    with shop.postgres.database(unique_name(OTHER), *VIOLATED) as crm:
        source = {"dsn": shop.postgres.dsn(), "databases": [shop.database, crm], "globals": False}
        shop.site.change(postgres=[source])
        backup = shop.site.run("run", "app").succeeded().out.strip()
        shop.site.run("restore", f"app/{backup}", "--in-place", "--yes").failed(1)
        both = shop.staged()
        assert len(both) == 2
        shop.site.run("restore", f"app/{backup}", "--database", shop.database, ACCEPT, "--yes").succeeded()
        assert len(set(shop.staged()) & set(both)) == 1, "only what was restored again is dropped"
        assert [each["live"] for each in beside(shop)] == [crm]
        shop.site.run("restore", f"app/{backup}", "--database", crm, ACCEPT, "--yes").succeeded()
        assert not set(shop.staged()) & set(both)
        assert beside(shop) == []


def test_as_a_new_database(shop: Shop) -> None:
    name = f"{shop.database}_new"
    command = ("restore", f"app/{shop.backup}", "--database", shop.database, "--as")
    shop.site.run(*command, name).failed(1, f"as {name}, but not as it was dumped", ACCEPT)
    assert shop.postgres.sql("SELECT word FROM child", dbname=name) == [("then",)]
    shop.site.run(*command, f"{name}er", ACCEPT).succeeded()
    assert shop.live() == ("now", "now")
    assert shop.staged() == []


def test_rows_that_an_index_lacked(shop: Shop) -> None:
    """Backups of older versions say what an index said; what the dump has is right, and nobody calls it damaged."""
    with forged(shop.site.job() / shop.backup) as backup:
        next(table for table in backup.database["tables"] if table["name"] == "public.child")["rows"] = 0
    command = ("restore", f"app/{shop.backup}", "--database", shop.database, "--yes")
    shop.site.run(*command).failed(1, "public.child: 1 rows instead of 0 rows")
    assert shop.live() == ("now", "now")
    shop.site.run(*command, ACCEPT).succeeded()
    assert shop.live() == ("now", "then")


def test_the_flag_goes_with_databases(shop: Shop) -> None:
    shop.site.run("restore", "app/latest", "--to", "/x", ACCEPT).failed(2, ACCEPT)
