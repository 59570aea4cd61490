"""Backups of other days: finished ones, dated anew."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from hiveden_backup.core.names import backup_time, iso
from tests.support.job import Site
from tests.support.signing import as_if_made_here


def dated(site: Site, backup: str, as_if: str, *, copy: bool = False, job: str = "app") -> str:
    """Make a backup look as if it were from another moment (an id), or a copy of it; archives stay shared."""
    home = site.job(job)
    if copy:
        shutil.copytree(home / backup, home / as_if)
    else:
        (home / backup).rename(home / as_if)
    path = home / as_if / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.update(id=as_if, started=iso(backup_time(as_if)), finished=iso(backup_time(as_if)))
    path.write_text(json.dumps(manifest))
    seal(home / as_if)
    return as_if


def seal(backup: Path, *, genuine: bool = True) -> None:
    """Write SHA256SUMS anew, over what is there; if `genuine`, sign it as this host does."""
    lines = [
        f"{hashlib.sha256((backup / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(os.listdir(backup))
        if name not in {"SHA256SUMS", "SHA256SUMS.sig"}
    ]
    (backup / "SHA256SUMS").write_text("".join(lines))
    if genuine:
        as_if_made_here(backup)
