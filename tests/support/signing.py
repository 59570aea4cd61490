"""Signatures where there was no run: for backups that tests make, change or date anew as if this host had done so."""

import hashlib
import json
import subprocess
from pathlib import Path

from hiveden_backup.host.state.key import this_key
from hiveden_backup.jobs.run.publish import Signing


def signing(state: Path) -> Signing:
    """What `publish` signs with, for a host that remembers nothing."""
    return Signing(this_key(state), lambda _backup, _sums: None)


def sign(backup: Path, key: Path) -> None:
    """Sign a backup's SHA256SUMS with a key, whoever's it is."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "hiveden-backup"]
    made = subprocess.run(command, input=(backup / "SHA256SUMS").read_bytes(), capture_output=True, check=True)
    (backup / "SHA256SUMS.sig").write_bytes(made.stdout)


def new_key(place: Path) -> Path:
    """A key of somebody else."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)], check=True)
    return place


def as_if_made_here(backup: Path) -> None:
    """Let the backup at DIRECTORY/JOB/ID be one that this host made, whatever it says, for tests of deeper defences."""
    state = backup.parents[2] / "state"
    if not (state / "key").exists():
        return
    sign(backup, state / "key")
    memory = state / "signed" / f"{backup.parent.name}.json"
    if memory.exists():
        table = json.loads(memory.read_text())
        for directory in table["directories"].values():
            there = {name: each for name, each in directory["backups"].items() if (backup.parent / name).exists()}
            key = next((each["key"] for each in there.values() if "key" in each), this_key(state).fingerprint)
            sums = hashlib.sha256((backup / "SHA256SUMS").read_bytes()).hexdigest()
            directory["backups"] = {**there, backup.name: {"sums": sums, "key": key, "how": "made"}}
        memory.write_text(json.dumps(table))
