"""Records on disk: those that version 0.1.0 wrote are read, and written again they are the same bytes."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.model import (
    Archive,
    Artifact,
    ArtifactFile,
    ArtifactType,
    DatabaseFacts,
    Extension,
    Grant,
    Manifest,
    PruneResult,
    Result,
    Root,
    RunKind,
    Setting,
    Source,
    SourceKind,
    StoppedContainer,
    Table,
    Trigger,
    Verdict,
)
from hiveden_backup.core.restore_record import Act, DatabaseSwap, Dress, Phase, Replaced, Swap
from hiveden_backup.host.disk.repository import BackupDirectory
from hiveden_backup.host.state.key import this_key
from hiveden_backup.host.state.ledger import Debt, Ledger
from hiveden_backup.host.state.locks import ExclusiveJob
from hiveden_backup.host.state.records import Records, RunRecord, Verification
from hiveden_backup.host.state.restore_records import Acts
from hiveden_backup.host.systemd.unit_files import UnitFiles, Written
from hiveden_backup.jobs.installation import Installation
from hiveden_backup.jobs.run.checkpoint import find_base, put_checkpoint
from hiveden_backup.jobs.run.passes import State
from hiveden_backup.jobs.run.publish import publish
from tests.support.signing import signing

WRITTEN = Path(__file__).parent / "formats_0_1_0"
ID = "20261123T023000Z"
BEGAN = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
ENDED = BEGAN + timedelta(seconds=75)
INDEX = b"what an index has in it\n"
ARCHIVES = (
    Archive(f"archives/{ID}.hot.tar.zst", 1234567890123, "ab" * 32, 4096, 8192, added=False),
    Archive(f"archives/{ID}.cold.tar.zst", 10, "cd" * 32, 0, 512, added=True),
)
FACTS = DatabaseFacts(
    server_version="15.14 (Debian 15.14-0+deb12u1)",
    encoding="UTF8",
    locale="C.UTF-8",
    ctype="C.UTF-8",
    locale_provider="icu",
    icu_locale="de-AT",
    owner="immich",
    extensions=(Extension("vector", "0.8.0"),),
    tables=(Table("public.assets", 12345), Table('public."Odd table"', 0)),
    icu_rules="&V << w <<< W",
    tablespace="fast",
    connection_limit=7,
    comment="photos, \u00fc",
    grants=(Grant("", "CONNECT", grantable=False), Grant("reader", "CREATE", grantable=True)),
    settings=(Setting("", "work_mem", "8MB"), Setting("reader", "app.jwt", None)),
    roles=("immich", "reader"),
)
APPLICATION = Artifact(
    ArtifactType.APPLICATION,
    "immich",
    "",
    (ArtifactFile("files.index.zst", 300, 0, "01" * 32), ArtifactFile("files.archives", 60, 0, "02" * 32)),
    30200,
    (
        Source(SourceKind.PATH, "/srv/immich", "/srv/immich"),
        Source(SourceKind.VOLUME, "immich_data", "/var/lib/docker/x"),
    ),
)
DATABASE = Artifact(
    ArtifactType.DATABASE,
    "immich",
    "immich_postgres",
    (ArtifactFile("database.immich_postgres.immich.dump.zst", 1000, 5000, "03" * 32),),
    2,
    (Source(SourceKind.CONTAINER, "immich_postgres"),),
    FACTS,
)
MANIFEST = Manifest(
    id=ID,
    job="immich",
    host="nas",
    version="0.1.0",
    started=BEGAN,
    finished=ENDED,
    taken_ns=1795401000123456789,
    archives=ARCHIVES,
    roots=(Root("/srv/immich", 2049, "ext4", ("/srv/immich/photos",)), Root("/var/lib/x", 0, "btrfs")),
    containers=(StoppedContainer("immich_server", "immich:v1", "sha256:" + "0" * 64, 1.25),),
    job_config={"paths": ["/srv/immich"], "postgres": [{"container": "immich_postgres"}], "spool": True},
    artifacts=(APPLICATION, DATABASE),
    warnings=("a file changed while it was read: /srv/immich/\udcff",),
)
BARE_FACTS = DatabaseFacts("15.1", "UTF8", "C", "C", "libc", "", "me", (), (Table("public.t", 1),))
BARE_MANIFEST = Manifest(
    *(ID, "immich", "nas", "0.1.0", BEGAN, ENDED), artifacts=(replace(DATABASE, database=BARE_FACTS),)
)
DEBT = Debt(
    "immich",
    "a" * 64,
    "immich_server",
    "f06255d7-625a-4dba-b023-6385dd9897ae",
    "2026-11-22T23:01:52Z",
    BEGAN + timedelta(microseconds=123456),
    30.0,
)
RUN = RunRecord(
    job="immich",
    started=BEGAN,
    finished=ENDED,
    result=Result.PARTIAL,
    exit_code=1,
    error="The container immich_server is not healthy\nafter 300 seconds",
    backup=ID,
    bytes=1310,
    downtime_seconds=1.25,
    prune=PruneResult.DONE,
    trigger=Trigger.TIMER,
    warnings=("one", "two"),
    invocation="0123456789abcdef0123456789abcdef",
)
BEGUN_RUN = RunRecord("immich", BEGAN)
VERIFIED = Verification(ENDED, Verdict.CORRUPT, "archives/x does not decode", (ARCHIVES[0].path,))
ACT = Act(
    id=ID,
    job="immich",
    backup="20261122T023000Z",
    started=BEGAN,
    phase=Phase.DONE,
    finished=ENDED,
    database="immich",
    keep=604800.0,
    stop_timeout=10.0,
    start_timeout=60.0,
    containers=("immich_server",),
    exclude=("**/cache",),
    holders=(f"/srv/.hiveden-backup-undo-immich-{ID}",),
    made=("/srv/new",),
    places=(Replaced("/srv/immich", "/srv/immich", "/srv/h/old", "/srv/h/new", ""),),
    swaps=(Swap("/srv/immich", "/srv/h/old", "/srv/h/new", had=True, comes=True, carried=("photos/\udcff", "x")),),
    dresses=(Dress("/srv/v", "/srv/v/h/old", "/srv/v/h/new"),),
    databases=(
        DatabaseSwap("db", "immich", "hiveden_staged_1", "immich_before_x", 16400, 16384, PostgresSource("db")),
        DatabaseSwap(
            *("10.0.0.1", "n", "hiveden_staged_2", "n_before_x", 16401, 0),
            PostgresSource(
                dsn="postgresql://reader@10.0.0.1:5433/x?sslmode=require",
                databases=("n",),
                os_user="backup",
                passfile="/etc/pgpass",
                globals=False,
            ),
        ),
    ),
)
BEGUN_ACT = Act(ID, "immich", "20261122T023000Z", BEGAN)
UNITS = Written({"hiveden-backup@immich.timer": ("aa", "bb"), "x.service.d/50.conf": ("cc",)}, ("x.service.d/50.conf",))


def put(path: Path, name: str) -> bytes:
    """A record that was written then, at the place where it is looked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((WRITTEN / name).read_bytes())
    return path.read_bytes()


@pytest.fixture
def directory(tmp_path: Path) -> BackupDirectory:
    put(tmp_path / ".hiveden-backup.json", "marker.json")
    return BackupDirectory.open(tmp_path)


def test_marker(directory: BackupDirectory) -> None:
    assert directory.id == "1c4f7c1e-5b0f-4a39-9d40-b9a5a7d42a11"


@pytest.mark.parametrize(("name", "manifest"), [("manifest.json", MANIFEST), ("bare_manifest.json", BARE_MANIFEST)])
def test_manifest(directory: BackupDirectory, name: str, manifest: Manifest) -> None:
    written = put(directory.backup_path("immich", ID) / "manifest.json", name)
    assert directory.manifest("immich", ID) == manifest
    incoming = directory.begin("immich", "20261124T000000Z")
    publish(directory, incoming, replace(manifest, id="20261124T000000Z"), signing(directory.path / "state"))
    again = (directory.backup_path("immich", "20261124T000000Z") / "manifest.json").read_bytes()
    assert again.replace(b"20261124T000000Z", ID.encode(), 1) == written


def test_manifest_before_databases_were_recorded_as_a_whole(directory: BackupDirectory) -> None:
    """What `restore --database` needs beyond the dump has been written since."""
    put(directory.backup_path("immich", ID) / "manifest.json", "first_manifest.json")
    assert directory.manifest("immich", ID) == BARE_MANIFEST


def test_checkpoint(directory: BackupDirectory) -> None:
    home = directory.job_path("immich") / ".checkpoint"
    written = put(home / "checkpoint.json", "checkpoint.json")
    (home / "files.index.zst").write_bytes(INDEX)
    installation = Installation(directory.path, directory.path / "state", lambda: datetime.now(UTC))
    assert find_base(installation, directory, "immich")[0] == State()  # somebody else may have put it there
    put(installation.state / f"runs/immich/{ID}.json", "begun_run.json")
    state, _ = find_base(installation, directory, "immich")
    assert state == State(home / "files.index.zst", ARCHIVES, 1795401000123456789, 30200, frozenset({0, 1}))
    incoming = directory.path / "immich/.incoming-x"
    incoming.mkdir()
    (incoming / "files.index.zst").write_bytes(INDEX)
    put_checkpoint(
        directory,
        "immich",
        ID,
        replace(state, index=incoming / "files.index.zst"),
        incoming,
        key=this_key(installation.state),
    )
    table = json.loads((home / "checkpoint.json").read_bytes())
    assert table.pop("seal")
    assert table == json.loads(written)


@pytest.mark.parametrize(("name", "debt"), [("debt.json", DEBT), ("first_debt.json", replace(DEBT, stop_timeout=0.0))])
def test_debt(tmp_path: Path, name: str, debt: Debt) -> None:
    path = tmp_path / "ledger/immich/immich_server.json"
    put(path, name)
    assert Ledger(tmp_path).debts() == (debt,)
    Ledger(tmp_path).owe(DEBT)
    assert path.read_bytes() == (WRITTEN / "debt.json").read_bytes()


@pytest.mark.parametrize(("name", "run"), [("run.json", RUN), ("begun_run.json", BEGUN_RUN)])
def test_run(tmp_path: Path, name: str, run: RunRecord) -> None:
    path = tmp_path / f"runs/immich/{ID}.json"
    written = put(path, name)
    assert list(Records(tmp_path).runs("immich")) == [(path, run)]
    Records(tmp_path).write(path, run)
    assert path.read_bytes() == written


def test_run_before_invocations_were_recorded(tmp_path: Path) -> None:
    path = tmp_path / f"runs/immich/{ID}.json"
    put(path, "first_run.json")
    assert list(Records(tmp_path).runs("immich")) == [(path, replace(RUN, invocation=""))]


def test_a_restore_says_that_it_is_none(tmp_path: Path) -> None:
    """What runs are asked for never finds one."""
    path = tmp_path / f"runs/immich/{ID}.json"
    restore = replace(RUN, kind=RunKind.RESTORE)
    records = Records(tmp_path)
    path.parent.mkdir(parents=True)
    records.write(path, restore)
    assert list(records.all("immich")) == list(records.of("immich", RunKind.RESTORE)) == [(path, restore)]
    assert list(records.runs("immich")) == []


def test_verification(tmp_path: Path) -> None:
    path = tmp_path / f"verified/immich/{ID}.json"
    written = put(path, "verified.json")
    assert Records(tmp_path).verification("immich", ID) == VERIFIED
    Records(tmp_path).put_verification("immich", ID, VERIFIED)
    assert path.read_bytes() == written


@pytest.mark.parametrize(("name", "act"), [("act.json", ACT), ("begun_act.json", BEGUN_ACT)])
def test_act(tmp_path: Path, name: str, act: Act) -> None:
    path = tmp_path / f"undo/immich/{ID}.json"
    written = put(path, name)
    assert Acts(tmp_path).of("immich") == (act,)
    Acts(tmp_path).put(ExclusiveJob(act.job), act)
    assert path.read_bytes() == written


def test_units(tmp_path: Path) -> None:
    path = tmp_path / "units.json"
    written = put(path, "units.json")
    assert UnitFiles(tmp_path).written() == UNITS
    UnitFiles(tmp_path).put_written(UNITS)
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("written", "homes"),
    [
        (r'"zstd", "-', {"host/disk/stream.py"}),
        (r"\.(tar|dump|sql)\.zst[\"']", {"core/backup/layout.py"}),
        (r"\bsplit_records\(", {"core/backup/index.py", "host/disk/index_files.py"}),
        (r"\basdict\(", {"api/targets.py"}),  # the arguments of an errand
    ],
)
def test_one_place_knows_each_format(written: str, homes: set[str]) -> None:
    package = Path(__file__).parents[2] / "hiveden_backup"
    texts = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert {path for path, text in texts.items() if re.search(written, text)} == homes
