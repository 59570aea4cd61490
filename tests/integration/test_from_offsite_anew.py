"""A new machine that begins with what lies at an offsite, and what the program itself has sent there."""

from pathlib import Path

import pytest

from tests.support.job import site
from tests.support.postgres import Server
from tests.support.sent import Sent, below, spool
from tests.support.storm import describe


def test_a_bare_machine_adopts_all_of_it(sent_shop: tuple[Sent, Server, str], tmp_path: Path) -> None:
    sent, _, database = sent_shop
    wanted = describe(sent.files)
    with site(tmp_path / "bare", "unix:///none") as bare:
        source = ("--from", str(sent.place), "--identity", str(sent.identity))
        init = ("init", "--directory", str(bare.backups), *source)
        assert bare.run(*init, failpoint="adopt@2:kill").code == -9
        assert len(bare.ids()) == 1, "what is visible is whole"
        said = bare.run(*init).succeeded().out
        assert "belong to" in said
        assert bare.ids() == sent.site.ids()
        assert spool(bare) == []
        rows = bare.run("list", "--json").succeeded().json
        assert {row["where"] for row in rows} == {"there"}
        assert str(sent.files / "3") in bare.run("find", "files/3").succeeded().out
        verified = bare.run("verify", "--all")
        assert verified.code == 0, verified.err
        assert not verified.err
        back = bare.path / "back"
        command = ("restore", "app/latest", "--to", str(back))
        bare.run(*command).failed(66, "is not on this machine", "--from", "--identity")
        bare.run(*command, *source).succeeded()
        assert describe(below(back, sent.files)) == wanted
        dump = next((bare.job() / bare.ids()[0]).glob(f"database.*.{database}.dump.zst.offsite"))
        assert dump.stat().st_size < 1000
        assert sum(path.stat().st_size for path in bare.backups.rglob("*") if path.is_file()) < 50_000
        bare.run("init", "--directory", str(bare.backups), "--take-over", "app").succeeded()


def test_init_without_the_key(sent: Sent, tmp_path: Path) -> None:
    with site(tmp_path / "bare") as bare:
        init = ("init", "--directory", str(bare.backups), "--from", str(sent.place))
        bare.run(*init).failed(66, sent.recipient)
        bare.run(*init, "--identity", str(sent.identity)).succeeded()
        assert bare.ids() == sent.site.ids()


@pytest.mark.parametrize("encrypt", [True, False])
def test_what_was_pushed_comes_back(sent_shop: tuple[Sent, Server, str], encrypt: bool) -> None:  # noqa: FBT001
    sent, postgres, database = sent_shop
    place = sent.site.path / "pushed"
    place.mkdir()
    keys = {"recipients": [sent.recipient]} if encrypt else {"encrypt": False}
    offsite = {"there": {"remote": str(place), "slice": "1MiB", **keys}}
    source = {"dsn": postgres.dsn(), "databases": [database], "globals": False}
    sent.site.configure({"app": {"paths": [str(sent.files)], "postgres": [source]}}, offsite=offsite)
    sent.site.run("offsite", "push", "there").succeeded()
    sent.lose_the_disk()
    options = sent.source if encrypt else ("--from", "there")
    back = sent.site.restored("pushed", *options)
    assert describe(below(back, sent.files)) == describe(sent.files)
    said = sent.site.run("verify", "--all", *options).succeeded().out
    assert said.count("proven, signed here") == 2
    command = ("restore", "app/latest", "--database", database, "--as", f"{database}_back", *options)
    sent.site.run(*command).succeeded()
    assert postgres.sql("SELECT word FROM sale", dbname=f"{database}_back") == [("then",)]
