"""`list`, `status` and `prune --dry-run` with very many backups, all of them signed as this host does."""

import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hiveden_backup.core.names import backup_id, iso
from tests.bench.bed import Bed
from tests.bench.results import OURS, Results, spaced

_COMMANDS = {"list": ("list",), "status": ("status",), "prune --dry-run": ("prune", "--dry-run")}
_AT_ONCE = 500


def bench_catalogs(place: Path, counts: tuple[int, ...], rounds: int, results: Results) -> None:
    bed = Bed(place)
    (place / "data").mkdir(parents=True)
    (place / "data/file").write_text("content")
    bed.configure(f'[retention]\nkeep_last = 7\nkeep_daily = 14\n[jobs.bench]\npaths = ["{place}/data"]\n')
    bed.fresh()
    made = bed.program("run", "bench").strip()
    there = 1
    for count in counts:
        _copy(bed, made, there, count)
        there = count
        for name, arguments in _COMMANDS.items():
            bed.spend(*arguments, codes=(0, 1))  # reads what a machine has in memory that does this daily
            for _ in range(rounds):
                results.add(f"{name}, {spaced(count)} backups", OURS, bed.spend(*arguments, codes=(0, 1)))


def _copy(bed: Bed, made: str, there: int, count: int) -> None:
    """Copies of a backup as if they were made an hour before one another, until there are `count`."""
    job = bed.backups / "bench"
    manifest = json.loads((job / made / "manifest.json").read_text())
    memory = bed.state / "signed/bench.json"
    table = json.loads(memory.read_text())
    (known,) = (directory["backups"] for directory in table["directories"].values())
    key = known[made]["key"]
    copies = []
    for number in range(there, count):
        moment = datetime.now(UTC) - timedelta(hours=number)
        name = backup_id(moment)
        (job / name).mkdir(mode=0o700)
        for each in {*os.listdir(job / made)} - {"manifest.json", "SHA256SUMS", "SHA256SUMS.sig"}:
            os.link(job / made / each, job / name / each)
        copies.append(job / name)
        manifest.update(id=name, started=iso(moment), finished=iso(moment))
        (job / name / "manifest.json").write_text(json.dumps(manifest))
        sums = (job / made / "SHA256SUMS").read_text().splitlines()
        changed = hashlib.sha256((job / name / "manifest.json").read_bytes()).hexdigest()
        lines = [f"{changed}  manifest.json" if line.endswith("  manifest.json") else line for line in sums]
        text = "".join(f"{line}\n" for line in lines).encode()
        (job / name / "SHA256SUMS").write_bytes(text)
        known[name] = {"sums": hashlib.sha256(text).hexdigest(), "key": key, "how": "made"}
    for at in range(0, len(copies), _AT_ONCE):
        sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(bed.state / "key"), "-n", "hiveden-backup"]
        names = [str(copy / "SHA256SUMS") for copy in copies[at : at + _AT_ONCE]]
        subprocess.run([*sign, *names], check=True, capture_output=True)
    memory.write_text(json.dumps(table))
