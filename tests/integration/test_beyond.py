"""Backups that name what the job does not have, forged down to the last digest: a manifest is data."""

import contextlib
import json
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dockerd import Engine, unique_name
from tests.support.forge import Forgery, compressed, forged
from tests.support.http import serving
from tests.support.job import Done, Site, counting, site
from tests.support.storm import describe
from tests.support.watched import Listener, Watch, listening

ALLOW = "--allow-beyond"
YES = ("--in-place", "--yes")


class Bed:
    """A job `app` over one directory, and a directory of root's own beside it that the job never had."""

    def __init__(self, made: Site) -> None:
        self.site = made
        self.data = made.data / "app"
        self.other = made.path / "cron.d"
        for folder in (self.data, self.other):
            folder.mkdir()
            (folder / "file").write_text("mine")
        self.configure(paths=[str(self.data)])
        self.backup = made.init().run("run", "app").succeeded().out.strip()

    def configure(self, name: str = "app", **job: object) -> None:
        self.site.configure({name: job})

    def forge(self, *roots: Path) -> None:
        """Let the backup bring a file to each of these directories, and one to the job's own."""
        with forged(self.home) as backup:
            tree: dict[str, bytes | None] = {}
            for root in (self.data, *roots):
                tree |= {str(root): None, f"{root}/file": b"evil"}
            for root in roots:
                backup.root(str(root))
            backup.tree(tree)

    @property
    def home(self) -> Path:
        return self.site.job() / self.backup

    def restore(self, *options: str) -> Done:
        return self.site.run("restore", f"app/{self.backup}", *options)

    def shown(self, *options: str) -> list[tuple[str, str]]:
        """What the preview says is beyond, by kind and name. The text names it as well."""
        done = self.restore("--in-place", *options, "--json")
        done.failed(2, "Nothing was changed")
        found = [(each["kind"], each["name"]) for each in done.json["beyond"]]
        text = self.restore("--in-place", *options).out
        assert all(f"beyond the job: the {kind} {name}" in text for kind, name in found)
        return found


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with site(tmp_path, "unix:///none") as made:
        yield Bed(made)


def test_a_path_that_the_job_never_had(bed: Bed) -> None:
    bed.forge(bed.other)
    bed.site.run("verify", "app/latest").succeeded()
    before = describe(bed.site.data), describe(bed.other)
    assert bed.shown() == [("path", str(bed.other))]
    for options in (YES, (*YES, "--files"), (*YES, "--path", str(bed.other)), (*YES, "--path", f"{bed.other}/file")):
        bed.restore(*options).failed(77, str(bed.other), ALLOW)
    assert (describe(bed.site.data), describe(bed.other)) == before
    bed.restore(*YES, "--path", str(bed.data)).succeeded()
    assert (bed.data / "file").read_text() == "evil"
    assert describe(bed.other) == before[1]
    bed.site.run("undo", "app", "--yes").succeeded()
    bed.restore(*YES, ALLOW).succeeded()
    assert (bed.other / "file").read_text() == "evil"
    bed.site.run("undo", "app", "--yes").succeeded()
    assert describe(bed.other) == before[1]


def test_what_is_above_the_jobs_path(bed: Bed) -> None:
    """A part of it that is the job's may change, and no more."""
    with forged(bed.home) as backup:
        backup.manifest["roots"][0]["path"] = str(bed.site.data)
        backup.tree({str(bed.site.data): None, str(bed.data): None, f"{bed.data}/file": b"evil"})
    (bed.site.data / "neighbour").write_text("mine")
    assert bed.shown() == [("path", str(bed.site.data))]
    bed.restore(*YES).failed(77, str(bed.site.data), ALLOW)
    bed.restore(*YES, "--path", f"{bed.data}/file").succeeded()
    assert (bed.data / "file").read_text() == "evil"
    assert (bed.site.data / "neighbour").read_text() == "mine"


def test_a_path_that_the_job_had_once(bed: Bed) -> None:
    bed.configure(paths=[str(bed.other)])
    assert bed.shown() == [("path", str(bed.data))]
    bed.restore(*YES).failed(77, str(bed.data), ALLOW)
    (bed.data / "file").write_text("later")
    bed.restore(*YES, ALLOW).succeeded()
    assert (bed.data / "file").read_text() == "mine"


def test_what_only_a_link_of_another_user_leads_to(bed: Bed) -> None:
    """Root's own link says where a job's path is; one that somebody else laid may have been laid since."""
    link, nobody = bed.site.data / "link", pwd.getpwnam("nobody")
    link.symlink_to(bed.other)
    bed.configure(paths=[str(link)])
    backup = bed.site.run("run", "app").succeeded().out.strip()
    command = ("restore", f"app/{backup}", *YES)
    bed.site.run(*command).succeeded()
    os.chown(link, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    bed.site.run(*command).failed(77, str(bed.other), ALLOW)


@pytest.mark.parametrize(
    "spelling",
    ["{0}/../cron.d", "{0}/", "/{0}", "{0}//x", "{0}/./x", "{0}\0", "{0}/\ud800", "{0}/\udcc3\udca4", "app", ""],
)
def test_another_spelling_of_a_path_is_damage(bed: Bed, spelling: str) -> None:
    bed.forge(bed.other)
    with forged(bed.home) as backup:
        backup.manifest["roots"][1]["path"] = spelling.format(bed.data)
    before = describe(bed.site.data), describe(bed.other)
    for options in (("--in-place",), YES, (*YES, ALLOW)):
        bed.restore(*options).failed(65, "manifest.json")
    assert (describe(bed.site.data), describe(bed.other)) == before


def another_job(backup: Forgery) -> None:
    backup.manifest["job"] = "other"


def another_id(backup: Forgery) -> None:
    backup.manifest["id"] = "20200101T000000Z"


def a_file_above(backup: Forgery) -> None:
    backup.files["files"][0]["file"] = "../../../etc/config.toml"


def an_absolute_file(backup: Forgery) -> None:
    backup.files["files"][0]["file"] = "/etc/shadow"


def a_file_with_nul(backup: Forgery) -> None:
    backup.files["files"][0]["file"] = "files.index.zst\0"


def a_hidden_file(backup: Forgery) -> None:
    backup.files["files"][0]["file"] = ".."


def an_archive_above(backup: Forgery) -> None:
    backup.manifest["archives"][0]["path"] = "archives/../../other"


def a_volume_that_is_a_way_through_the_engine(backup: Forgery) -> None:
    backup.files["sources"].append({"kind": "volume", "name": "../containers/x", "path": "/x"})


def a_root_twice(backup: Forgery) -> None:
    backup.manifest["roots"] *= 2


@pytest.mark.parametrize(
    "forge",
    [
        *(another_job, another_id, a_file_above, an_absolute_file, a_file_with_nul, a_hidden_file, an_archive_above),
        *(a_volume_that_is_a_way_through_the_engine, a_root_twice),
    ],
)
def test_names_that_no_run_writes_are_damage(bed: Bed, forge: object) -> None:
    with forged(bed.home) as backup:
        assert callable(forge)
        forge(backup)
    ways = (("verify", "app/latest"), ("show", "app/latest"), ("restore", "app/latest", "--to", f"{bed.site.path}/x"))
    for command in (*ways, ("restore", "app/latest", *YES, ALLOW)):
        bed.site.run(*command).failed(65, "manifest.json")
    assert bed.site.run("list").code == 65


def test_of_a_job_that_is_not_configured_all_is_beyond(bed: Bed, engine: Engine) -> None:
    """And how long what it replaces is kept, no manifest says."""
    made = bed.site
    app = counting(engine, bed.data)
    made.docker = engine.url
    bed.configure(paths=[str(bed.data)], containers=[app.name])
    bed.backup = made.run("run", "app").succeeded().out.strip()
    with forged(bed.home) as backup:
        backup.manifest["job_config"].update(undo_keep="1s", stop_timeout="1us", lock_wait="1us")
    bed.configure("renamed", paths=[str(bed.other)])
    started = app.started_at()
    assert bed.shown() == [("path", str(bed.data)), ("container", app.name)]
    bed.restore(*YES).failed(77, str(bed.data), app.name, "no job app", ALLOW)
    assert app.started_at() == started
    bed.restore(*YES, ALLOW).succeeded()
    assert app.started_at() != started
    (record,) = (json.loads(path.read_text()) for path in made.state.glob("undo/app/*.json"))
    assert (record["keep"], record["stop_timeout"]) == (604800.0, 30.0)


def test_what_a_manifest_calls_a_server_is_not_stopped(bed: Bed, engine: Engine) -> None:
    """That a container holds a database the job's own configuration says."""
    made, app = bed.site, counting(engine, bed.data)
    made.docker = engine.url
    bed.configure(paths=[str(bed.data)])
    with forged(bed.home) as backup:
        backup.manifest["job_config"]["postgres"] = [{"container": app.name}]
    started = app.started_at()
    assert ("container", app.name) in bed.shown()
    bed.restore(*YES).failed(77, app.name, ALLOW)
    assert app.started_at() == started
    app.counts()


def test_the_api_never_carries_consent(bed: Bed) -> None:
    with lured(bed) as (listener, watch, _), serving(bed.site) as service:
        (row,) = service.local.get("/backups?type=database").ok()
        for target in ("shop", "new"):
            body = {"type": "database", "target": target, "backup_file": row["filename"]}
            detail = service.local.post("/backups/restore", body).problem(403)
            assert f"on the machine itself: hiveden-backup restore app/{bed.backup} --database shop" in detail
        assert (listener.heard, watch.events()) == ([], 0)
    assert list(bed.site.state.glob("requests/*")) == []


# ---- servers ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def lured(bed: Bed, more: str = "") -> Iterator[tuple[Listener, Watch, Path]]:
    """A backup with a database on a server that only it knows: a listener; and a passfile with a password for that."""
    passfile = bed.site.path / "passfile"
    with listening() as listener:
        passfile.write_text(f"127.0.0.1:{listener.port}:*:root:hidden\n")
        passfile.chmod(0o600)
        source = {"dsn": f"host=127.0.0.1 port={listener.port} user=root{more}", "passfile": str(passfile)}
        with forged(bed.home) as backup:
            add_database(backup, "127.0.0.1", {"kind": "dsn", "name": "127.0.0.1", "path": ""})
            backup.manifest["job_config"]["postgres"] = [source]
        with contextlib.closing(Watch(passfile)) as watch:
            yield listener, watch, passfile


def add_database(backup: Forgery, server: str, source: dict[str, str], version: str = "15.1") -> None:
    """Let the backup have a database `shop` of a server."""
    name = f"database.{server.replace('.', '%2E')}.shop.dump.zst"
    (backup.home / name).write_bytes(compressed(b"PGDMP"))
    facts = {"server_version": version, "encoding": "UTF8", "locale": "C", "ctype": "C", "locale_provider": "libc"}
    facts |= {"icu_locale": "", "owner": "root"}
    file = {"file": name, "bytes": 0, "uncompressed_bytes": 5, "sha256": ""}
    lists: dict[str, list[str]] = {"extensions": [], "tables": []}
    head = {"type": "database", "target": "shop", "server": server, "files": [file], "entries": 0, "sources": [source]}
    backup.manifest["artifacts"].append({**head, **facts, **lists})


def test_no_preview_goes_where_a_manifest_leads(bed: Bed) -> None:
    shop = ("--database", "shop")
    with lured(bed) as (listener, watch, passfile):
        assert bed.shown() == [("server", "127.0.0.1"), ("database", "shop")]
        text = bed.restore(*shop).out
        assert "not looked at" in text
        for word in (f"port {listener.port}", f"passfile {passfile}", "user root"):
            assert word in text
        for preview in ([*shop, ALLOW], ["--in-place", ALLOW, "--json"]):
            bed.restore(*preview).failed(2, "Nothing was changed")
        for act in ([*shop, "--yes"], YES, [*shop, "--as", "new"]):
            bed.restore(*act).failed(77, "127.0.0.1", f"port {listener.port}", str(passfile), ALLOW)
        for command in ("verify app/latest", "show app/latest", "list", "status", "check", "prune --dry-run"):
            assert "Traceback" not in bed.site.run(*command.split()).err
        bed.restore(*YES, "--files").succeeded()
        assert (listener.heard, watch.events()) == ([], 0)
        bed.restore(*shop, "--yes", ALLOW).failed(69)
        assert listener.heard
        assert watch.events()


def test_a_configured_server_is_reached_as_it_is_configured(bed: Bed) -> None:
    """Whatever a manifest says of one of that name."""
    with lured(bed) as (listener, watch, _), listening() as ours:
        bed.configure(
            paths=[str(bed.data)],
            postgres=[{"dsn": f"host=127.0.0.1 port={ours.port} user=root", "databases": ["other"]}],
        )
        bed.restore("--database", "shop", "--yes").failed(77, "the database shop", ALLOW)
        assert not ours.heard
        for options in (("--yes", ALLOW), ("--as", "new")):
            heard = len(ours.heard)
            bed.restore("--database", "shop", *options).failed(69)
            assert len(ours.heard) > heard
        assert (listener.heard, watch.events()) == ([], 0)


@pytest.mark.parametrize("target", ["template1", "hiveden_staged_1"])
def test_what_is_no_part_of_all_databases(bed: Bed, target: str) -> None:
    """A job without a list has all of a server's databases, but neither templates nor what is ours."""
    with lured(bed) as (_, watch, passfile), listening() as ours:
        bed.configure(paths=[str(bed.data)], postgres=[{"dsn": f"host=127.0.0.1 port={ours.port} user=root"}])
        with forged(bed.home) as backup:
            backup.database["target"] = target
        bed.restore("--database", target, "--yes").failed(77, f"the database {target}", ALLOW)
        assert (ours.heard, watch.events(), passfile.exists()) == ([], 0, True)


def test_a_secret_in_a_forged_dsn_is_refused(bed: Bed) -> None:
    """As in the configuration: no run writes one."""
    with lured(bed, " password=x") as (listener, watch, _):
        bed.restore("--database", "shop", "--yes", ALLOW).failed(66, "does not tell how to reach the server")
        assert (listener.heard, watch.events()) == ([], 0)


def test_no_container_decodes_a_dump_because_a_manifest_names_it(bed: Bed, engine: Engine) -> None:
    name = engine.run(name=unique_name("victim"))
    bed.site.docker = engine.url
    bed.configure(paths=[str(bed.data)])
    with forged(bed.home) as backup:
        add_database(backup, name, {"kind": "container", "name": name, "path": ""}, version="99.0")
        backup.manifest["job_config"]["postgres"] = [{"container": name}]
    began = int(time.time())
    bed.site.run("verify", "app/latest").failed(69, "cannot be decoded here")
    bed.restore("--database", "shop").failed(2)
    bed.restore("--database", "shop", "--yes").failed(77, name)
    assert engine.execute(name, ["true"]) == 0, "which is what is seen of such an act"
    seen = engine.api.events(since=began, until=int(time.time()) + 1, decode=True, filters={"container": name})
    assert [each["Action"].strip() for each in seen if each["Action"].startswith("exec_create")] == [
        "exec_create: true"
    ]
