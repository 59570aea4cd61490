"""Who can write to the backup directory can forge a backup, but not this host's signature, nor what it remembers."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.forge import forged
from tests.support.program import Program
from tests.support.signing import new_key, sign

HERE = "here"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    (program.tree / "page").write_text("what was written here")
    return program


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return new_key(tmp_path / "other")


def home(program: Program, backup: str) -> Path:
    return program.backups / "files" / backup


def state_of(program: Program, backup: str) -> str:
    """What `list` says of whose a backup is; `show` and, of the newest, `status` say the same."""
    (row,) = [row for row in json.loads(program.ok("list", "--json")) if row["id"] == backup]
    found: str = row["signature"]["state"]
    assert json.loads(program.ok("show", f"files/{backup}", "--json"))["signature"]["state"] == found
    return found


def forge(program: Program, backup: str) -> None:
    """Change what a backup holds, with all digests right."""
    with forged(home(program, backup), genuine=False) as forgery:
        forgery.tree({str(program.tree): None, f"{program.tree}/page": b"what an attacker wants"})


def attention(program: Program) -> list[str]:
    (row,) = json.loads(program.call("status", "--json").stdout)
    told: list[str] = row["attention"]
    warned = [
        each["message"] for each in json.loads(program.call("check", "--json").stdout) if each["status"] == "WARN"
    ]
    assert set(told) <= set(warned)
    return told


def is_forged(program: Program, backup: str, *words: str) -> None:
    """`verify` says so, and from then on all that shows it."""
    done = program.call("verify", f"files/{backup}", "--json")
    assert done.returncode == 65, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["result"], row["signature"]["state"]) == ("corrupt", "forged")
    assert all(word in row["error"] for word in words), row["error"]
    assert state_of(program, backup) == "forged"


# ---- what a run leaves


def test_a_backup_is_signed_by_this_host(program: Program) -> None:
    backup = program.run()
    key = program.place / "state/key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    fingerprint = program.ok("config", "show", "--key").strip()
    assert json.loads(program.ok("config", "show", "--key", "--json"))["fingerprint"] == fingerprint
    said = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout
    assert fingerprint in said.split()
    place = home(program, backup)
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", "hiveden-backup", "-s", str(place / "SHA256SUMS.sig")]
    proof = subprocess.run(command, input=(place / "SHA256SUMS").read_bytes(), capture_output=True, check=True)
    assert fingerprint.encode() in proof.stdout
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    assert state_of(program, backup) == HERE
    assert program.ok("verify", f"files/{backup}").startswith(f"files/{backup}: proven, signed here\n")
    assert program.run("--full") > backup
    assert program.ok("config", "show", "--key").strip() == fingerprint
    assert attention(program) == []


def test_without_ssh_keygen_a_run_says_what_to_install(program: Program) -> None:
    folder = program.place / "bin"
    folder.mkdir()
    for name in ("tar", "zstd", "sync", "setpriv", "systemd-analyze"):
        (folder / name).symlink_to(shutil.which(name) or "")
    before = os.environ["PATH"]
    os.environ["PATH"] = str(folder)
    try:
        done = program.call("run", "files")
    finally:
        os.environ["PATH"] = before
    assert done.returncode == 69
    assert "ssh-keygen is not installed" in done.stderr
    assert "apt-get install openssh-client" in done.stderr


# ---- what others do to it


def test_a_forged_backup_whose_digests_are_right_is_forged(program: Program) -> None:
    backup = program.run()
    forge(program, backup)
    is_forged(program, backup)
    assert any(backup in each for each in attention(program))


def test_a_forged_backup_without_its_signature_is_forged(program: Program) -> None:
    backup = program.run()
    (home(program, backup) / "SHA256SUMS.sig").unlink()
    is_forged(program, backup, "signature is gone")


def test_a_backup_signed_again_by_another_key_is_forged(program: Program, other: Path) -> None:
    backup = program.run()
    sign(home(program, backup), other)
    is_forged(program, backup, "signed it, where")
    forge(program, backup)
    sign(home(program, backup), other)
    is_forged(program, backup)


@pytest.mark.parametrize("put", ["fifo", "link", "long", "empty"])
def test_what_is_no_signature_at_all_is_forged(program: Program, put: str) -> None:
    backup = program.run()
    path = home(program, backup) / "SHA256SUMS.sig"
    path.unlink()
    if put == "fifo":
        os.mkfifo(path)
    elif put == "link":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"-" * (1 << 20) if put == "long" else b"")
    is_forged(program, backup, "does not fit")


def test_what_another_host_made_is_signed_by_its_key(program: Program, other: Path) -> None:
    backup = program.run()
    sign(home(program, backup), other)
    (program.place / "state/signed/files.json").unlink()
    for path in program.place.glob("state/runs/files/*"):
        path.unlink()
    assert state_of(program, backup) == "unproven"
    done = json.loads(program.ok("verify", f"files/{backup}", "--json"))[0]
    said = subprocess.run(["ssh-keygen", "-lf", other], capture_output=True, text=True, check=True).stdout
    assert done["signature"] == {"state": "other", "fingerprint": said.split()[1], "adopted": False}
    assert state_of(program, backup) == "other"
    forge(program, backup)  # what was proved was proved of something else
    assert state_of(program, backup) == "unproven"
    is_forged(program, backup)


def test_a_lost_key_is_told_by_the_old_backups(program: Program) -> None:
    backup = program.run()
    before = program.ok("config", "show", "--key").strip()
    (program.place / "state/key").unlink()
    assert f"add --trust {before}" in program.call("run", "files").stderr
    assert "--trust" not in program.call("run", "files").stderr
    assert program.ok("config", "show", "--key").strip() != before
    assert state_of(program, backup) == "other"
    assert before in program.ok("verify", f"files/{backup}")
    assert attention(program) == []
