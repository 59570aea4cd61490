"""What must hold after any fault: the rules that never bend, in one function."""

import contextlib
import os
import stat
import subprocess
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from hiveden_backup.core.names import is_backup_id
from hiveden_backup.host.disk.durable import digest
from hiveden_backup.host.disk.repository import BackupDirectory, read_archive_names
from hiveden_backup.jobs.backups.catalog import Backup
from hiveden_backup.jobs.backups.verify import Verifier
from hiveden_backup.jobs.installation import Installation
from tests.support.job import App, Site, until
from tests.support.postgres import Server


def check_invariants(
    site: Site,
    *,
    job: str = "app",
    up: Collection[App] = (),
    down: Collection[App] = (),
    kept: Collection[str] = (),
    postgres: Server | None = None,
    swept: bool = True,
) -> None:
    """See that nothing was lost and that services are back.

    `up` are the containers that ran before, `down` those that did not; `kept` the backups that were there before.
    `swept` is false right after a SIGKILL, when leftovers may still lie in the job's directory under dotted names.
    """
    check_services(site, up, down)
    check_nothing_runs(site, postgres)
    assert set(kept) <= set(site.ids(job)), "a backup is gone"
    check_backups(site, job)
    if swept:
        check_swept(site, job)


def check_services(site: Site, up: Collection[App], down: Collection[App]) -> None:
    """What ran runs, what did not run does not, and nothing is owed."""
    for app in up:
        assert app.running, f"{app.name} is left stopped"
        app.counts()
    for app in down:
        assert not app.running, f"{app.name} was started"
    assert site.owed() == []


def check_nothing_runs(site: Site, postgres: Server | None) -> None:
    """No process of ours is left, neither here nor in the server."""
    until(lambda: not list(processes(site)), f"processes end: {list(processes(site))}", 10.0)
    if postgres is not None:
        ours = "SELECT pid, application_name, state FROM pg_stat_activity WHERE application_name LIKE 'hiveden%'"
        until(lambda: not postgres.sql(ours), f"backends end: {postgres.sql(ours)}", 10.0)


def processes(site: Site) -> Iterator[str]:
    """What runs of the program and its children: they have the site's TMPDIR."""
    mark = b"TMPDIR=" + os.fsencode(site.temporary)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def check_backups(site: Site, job: str = "app") -> None:
    """Every visible directory is a finished backup: for coreutils, and for a full decode.

    What was decoded once is only held against its digests later.
    """
    if not site.job(job).is_dir():
        return
    directory = BackupDirectory.open(site.backups)
    # not the installation's records: what is found here must not change what the next run builds upon
    elsewhere = Installation(site.config, site.path / "other-state", lambda: datetime.now(UTC))
    new = []
    for backup in site.ids(job):
        path = site.job(job) / backup
        done = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        if (job, backup) in site.decoded:
            for archive in directory.manifest(job, backup).archives:
                path = directory.job_path(job) / archive.path
                assert digest(path, archive.bytes) == (archive.bytes, archive.sha256)
        else:
            new.append(Backup(job, backup))
            site.decoded.add((job, backup))
    with Verifier(elsewhere) as verifier:
        for found in verifier.verify(new):
            assert not found.errors, str(found.errors[0])


def check_swept(site: Site, job: str = "app") -> None:
    """Only what may be there is there, private, and no archive that nothing names."""
    spool = site.state / "spool" / job
    assert not spool.exists() or not list(spool.iterdir())
    assert list(site.temporary.iterdir()) == []
    home = site.job(job)
    if not home.is_dir():
        return
    others = {name for name in os.listdir(home) if not is_backup_id(name)}
    assert others <= {"archives", ".checkpoint", ".owner.json"}
    holders = [home / name for name in (*site.ids(job), ".checkpoint")]
    named = {name for holder in holders for name in read_archive_names(holder)}
    assert {f"archives/{name}" for name in os.listdir(home / "archives")} == named
    for path in (site.backups, *site.backups.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
