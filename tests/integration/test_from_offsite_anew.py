"""A new machine that begins with what lies at an offsite, and what the program itself has sent there."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.job import Site, site
from tests.support.postgres import Server
from tests.support.sent import Sent, below, key, spool
from tests.support.storm import describe
from tests.support.written_offsite import sliced, told, write_sums


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
        _meddle_with_stubs(bare, dump)
        assert sum(path.stat().st_size for path in bare.backups.rglob("*") if path.is_file()) < 50_000
        bare.run("init", "--directory", str(bare.backups), "--take-over", "app").succeeded()


def _meddle_with_stubs(bare: Site, dump: Path) -> None:
    """What a stub says is held against the manifest, and nobody is told to paste what stands in it."""
    (archive, *_) = (bare.job() / "archives").iterdir()
    for path, words in ((archive, "is missing"), (dump, "missing")):
        content = path.read_text()
        path.write_text(json.dumps({**json.loads(content), "sha256": "0" * 64}))
        bare.run("verify", "--all").failed(65, path.name.removesuffix(".offsite"), words)
        path.write_text(content)
    whole = {path: path.read_text() for path in archive.parent.iterdir()}
    for path, content in whole.items():
        path.write_text(json.dumps({**json.loads(content), "offsites": ["x; touch owned", "b2:$(touch owned)"]}))
    done = bare.run("restore", "app/latest", "--to", str(bare.path / "never"))
    done.failed(66, "is not on this machine", "--from 'b2:$(touch owned)' --identity FILE")
    assert "; touch" not in done.err
    for path, content in whole.items():
        path.write_text(content)


def test_a_stub_hides_no_dump_that_was_made_here(sent_shop: tuple[Sent, Server, str]) -> None:
    sent, _, database = sent_shop
    backup = sent.site.ids()[0]
    (dump,) = (sent.site.job() / backup).glob(f"database.*.{database}.dump.zst")
    content = dump.read_bytes()
    stub = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "offsites": ["there"]}
    dump.with_name(f"{dump.name}.offsite").write_text(json.dumps({"path": f"{backup}/{dump.name}", **stub}))
    dump.unlink()
    sent.site.run("verify", f"app/{backup}").failed(65, dump.name, "missing")


def test_init_without_the_key(sent: Sent, tmp_path: Path) -> None:
    with site(tmp_path / "bare") as bare:
        init = ("init", "--directory", str(bare.backups), "--from", str(sent.place))
        bare.run(*init).failed(66, sent.recipient)
        bare.run(*init, "--identity", str(sent.identity)).succeeded()
        assert bare.ids() == sent.site.ids()


def _rotten(sent: Sent, backup: str) -> None:
    manifest = sent.job / backup / "manifest.json.age"
    manifest.write_bytes(os.urandom(manifest.stat().st_size))


def _rotten_index(sent: Sent, backup: str) -> None:
    index = sent.job / backup / "files.index.zst.age"
    index.write_bytes(os.urandom(index.stat().st_size))


def _for_another_key(sent: Sent, backup: str) -> None:
    """Whoever can write there plants one, signed by a key of his own."""
    thief, folder = key(sent.site.path / "thief"), sent.job / backup
    content = sent.site.job() / backup / "manifest.json"
    shutil.rmtree(folder)
    folder.mkdir()
    objects = sliced(content, folder, thief)
    lines = [f"# backup app/{backup}", f"# file manifest.json {told(content)}", f"# recipient {thief}"]
    write_sums(sent.site, folder / "SHA256SUMS", lines, objects)


@pytest.mark.parametrize(("harm", "code"), [(_rotten, 65), (_rotten_index, 65), (_for_another_key, 77)])
@pytest.mark.parametrize("newest", [True, False])
def test_one_bad_backup_hides_no_other(
    sent: Sent,
    tmp_path: Path,
    harm: Callable[[Sent, str], None],
    code: int,
    newest: bool,  # noqa: FBT001
) -> None:
    bad, good = sent.site.ids() if newest else reversed(sent.site.ids())
    harm(sent, bad)
    listed = sent.site.run("list", "--json", *sent.source)
    if harm is not _rotten_index:  # which a list does not read
        assert (listed.code, [row["id"] for row in listed.json]) == (code, [good])
        assert (bad if code == 65 else "does not open this backup") in listed.err
    verified = sent.site.run("verify", "--all", "--json", *sent.source)
    assert verified.code == code
    assert [(row["id"], row["result"]) for row in verified.json] == [(good, "ok")]
    with site(tmp_path / "bare") as bare:
        place = ("--from", str(sent.place), "--identity", str(sent.identity))
        bare.run("init", "--directory", str(bare.backups), *place).failed(code)
        assert bare.ids() == [good]


def test_init_follows_no_link_out_of_the_backup_directory(sent: Sent, tmp_path: Path) -> None:
    """Who could write to the backup directory before has put them there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with site(tmp_path / "bare") as bare:
        init = ("init", "--directory", str(bare.backups))
        bare.run(*init).succeeded()
        bare.job().mkdir()
        adopt = (*init, "--from", str(sent.place), "--identity", str(sent.identity))
        (bare.job() / "archives").symlink_to(outside)
        bare.run(*adopt).failed(74, "symbolic link")
        (bare.job() / "archives").unlink()
        for backup in sent.site.ids():
            (bare.job() / f".incoming-{backup}").symlink_to(outside)
        bare.run(*adopt).succeeded()
        assert bare.ids() == sent.site.ids()
    assert os.listdir(outside) == []


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
