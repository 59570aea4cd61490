"""Whose a job's directory is: two machines with one backup directory, machines that replace others, damaged files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.invariants import check_swept
from tests.support.job import Done, Site, site

OWNER = ".owner.json"


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """The machine that makes the backups, one of them."""
    with site(tmp_path / "old") as made:
        (made.data / "file").write_text("of the old machine")
        made.configure({"app": {"paths": [str(made.data)]}}, retention={"keep_last": 1})
        made.init().run("run", "app").succeeded()
        yield made


@pytest.fixture
def other(bed: Site, tmp_path: Path) -> Iterator[Site]:
    """Another machine, with a job of the same name in the same backup directory."""
    with site(tmp_path / "new") as made:
        (made.data / "file").write_text("of the new machine")
        made.backups.symlink_to(bed.backups)
        made.configure({"app": {"paths": [str(made.data)]}}, retention={"keep_last": 1}, directory=str(bed.backups))
        yield made


def lying_in(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(home.rglob("*"))}


def take_over(machine: Site, *jobs: str) -> Done:
    arguments = [argument for job in jobs for argument in ("--take-over", job)]
    return machine.run("init", "--directory", str(machine.backups.resolve()), *arguments)


def host_id(machine: Site) -> str:
    return str(json.loads((machine.state / "host.json").read_text())["id"])


def test_the_first_run_claims(bed: Site) -> None:
    owner = json.loads((bed.job() / OWNER).read_text())
    assert owner == {"host_id": host_id(bed), "host": os.uname().nodename}
    assert bed.manifest()["owner"] == owner
    bed.run("run", "app").succeeded()
    assert json.loads((bed.job() / OWNER).read_text()) == owner
    check_swept(bed)


def test_another_machine_changes_nothing_and_reads_everything(bed: Site, other: Site) -> None:
    """Leftovers of a run of the other machine may be its run in progress; they are not swept."""
    for name in (".incoming-20261123T023000Z", ".deleting-20261123T023000Z-0", "archives/20260101T000000Z.hot.tar.zst"):
        path = bed.job() / name
        path.mkdir() if name.startswith(".") else path.write_bytes(b"not yet named by a backup")
    before = lying_in(bed.backups)
    backup = bed.ids()[0]
    words = ("belong to another host", os.uname().nodename, host_id(bed), "--take-over app")
    other.run("run", "app").failed(73, *words)
    other.run("run", "app", "--full").failed(73, *words)
    other.run("run", "app", "--dry-run").failed(73, *words)
    other.run("prune", "app").failed(73, *words)
    other.run("prune", "app", "--dry-run").failed(73, *words)
    other.run("delete", f"app/{backup}", "--yes").failed(73, *words)
    check = other.run("check", "app", "--json")
    assert check.code == 1
    (failed,) = [each for each in check.json if each["status"] == "FAIL"]
    assert (failed["name"], all(word in failed["message"] + failed["hint"] for word in words)) == ("directory", True)
    assert other.run("status", "--json").json[0]["state"] == "failed"
    assert lying_in(bed.backups) == before

    assert [row["id"] for row in other.run("list", "--json").succeeded().json] == [backup]
    other.run("show", "app/latest").succeeded()
    other.run("diff", backup, backup).succeeded()
    other.run("verify", "app/latest").succeeded()
    assert (other.restored("all") / str(bed.data / "file").lstrip("/")).read_text() == "of the old machine"
    (bed.data / "file").write_text("lost")
    key = bed.run("config", "show", "--key").succeeded().out.strip()
    other.run("restore", "app/latest", "--in-place", "--trust", key, "--allow-beyond", "--yes").succeeded()
    assert (bed.data / "file").read_text() == "of the old machine"
    other.run("undo", "app", "--yes").succeeded()
    assert lying_in(bed.backups) == before

    bed.run("run", "app").succeeded()
    check_swept(bed)


def test_taking_over_tells_whose_it_was_and_turns_the_old_machine_away(bed: Site, other: Site) -> None:
    adopted = take_over(other).succeeded()
    assert f"--directory {bed.backups} --take-over app" in adopted.out
    done = take_over(other, "app").succeeded()
    assert host_id(bed) in done.out
    assert "--take-over" not in done.out
    other.run("run", "app").succeeded()
    assert other.manifest()["owner"]["host_id"] == host_id(other) != host_id(bed)
    for act in (("run", "app"), ("prune", "app"), ("delete", "app/latest", "--yes")):
        bed.run(*act).failed(73, host_id(other), "--take-over app")
    assert len(bed.ids()) == 1
    (again,) = take_over(bed, "app").succeeded().out.splitlines()[1:2]
    assert host_id(other) in again
    bed.run("run", "app").succeeded()


def test_several_are_taken_over_at_once_and_unknown_ones_refused(bed: Site, other: Site) -> None:
    bed.configure({"app": {"paths": [str(bed.data)]}, "second": {"paths": [str(bed.data)]}})
    bed.run("run", "--all").succeeded()
    take_over(other, "app", "third").failed(66, "third", "app, second")
    assert json.loads((bed.job() / OWNER).read_text())["host_id"] == host_id(bed)
    done = other.run(
        *("init", "--directory", str(bed.backups), "--take-over", "app", "--take-over", "second", "--json")
    ).succeeded()
    assert [(each["job"], each["owner"]["host_id"]) for each in done.json["taken_over"]] == [
        ("app", host_id(bed)),
        ("second", host_id(bed)),
    ]
    assert json.loads((bed.job("second") / OWNER).read_text())["host_id"] == host_id(other)


def test_a_lost_state_directory_makes_another_host(bed: Site) -> None:
    """The same machine under the same name: the message must lead out all the same."""
    shutil.rmtree(bed.state)
    bed.run("run", "app").failed(73, "whose state directory was lost", "--take-over app")
    take_over(bed, "app").succeeded()
    bed.run("run", "app").succeeded()


def test_a_state_directory_copied_to_another_machine_makes_another_host(bed: Site) -> None:
    path = bed.state / "host.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "0" * 32}))
    bed.run("run", "app").failed(73, "--take-over app")
    mine = host_id(bed)
    bed.run("run", "app").failed(73, mine)
    assert host_id(bed) == mine, "it is made once"


def test_a_new_name_of_the_host_loses_nothing(bed: Site) -> None:
    path = bed.job() / OWNER
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "as it was called"}))
    bed.run("run", "app").succeeded()
    assert json.loads(path.read_text())["host"] == os.uname().nodename


def test_backups_from_before_there_were_owners(bed: Site, other: Site) -> None:
    """Who looks, prunes or deletes does not make them its own; who runs does."""
    (bed.job() / OWNER).unlink()
    shutil.rmtree(bed.state)
    other.run("check", "app").succeeded()
    other.run("prune", "app").succeeded()
    assert not (bed.job() / OWNER).exists()
    assert not (other.state / "host.json").exists()
    bed.run("run", "app").succeeded()
    other.run("run", "app").failed(73, "--take-over app")


def damage_link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b'{"host_id": "x'),
        lambda path: path.write_bytes(b'{"host_id": "", "host": "x"}'),
        lambda path: path.write_bytes(b'{"host_id": "x", "host": "\\u001b[31m"}'),
        lambda path: path.write_bytes(b" " * 5000),
        damage_link,
        os.mkfifo,
        Path.mkdir,
    ],
    ids=["empty", "torn", "nobody", "a terminal's", "large", "link", "fifo", "directory"],
)
def test_a_damaged_owner_is_refused_until_taken_over(bed: Site, damage: object) -> None:
    """And nothing waits for what somebody else may have put there."""
    path = bed.job() / OWNER
    path.unlink()
    assert callable(damage)
    damage(path)
    bed.run("run", "app").failed(73, "is damaged", "--take-over app")
    bed.run("prune", "app").failed(73, "is damaged")
    assert bed.run("check", "app").code == 1
    bed.run("init", "--directory", str(bed.backups)).succeeded()
    bed.run("verify", "app/latest").succeeded()
    if path.is_dir():
        path.rmdir()
    take_over(bed, "app").succeeded()
    bed.run("run", "app").succeeded()


def test_a_machine_id_that_is_made_anew_at_each_boot(bed: Site, tmp_path: Path) -> None:
    """As systemd does it where it cannot write to /etc: a file of /run, mounted in its place."""
    memory = tmp_path / "run"
    memory.mkdir()
    (bed.state / "host.json").unlink()
    shutil.rmtree(bed.job())
    for boot in range(2):
        mounted = f"mount -t tmpfs none {memory} && echo {str(boot) * 32} > {memory}/machine-id"
        mounted += f" && mount --bind {memory}/machine-id /etc/machine-id"
        command = [sys.executable, "-m", "hiveden_backup", "--config", str(bed.config), "run", "app"]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f'{mounted} && exec "$@"', "sh", *command],
            env=bed.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    bed.run("run", "app").succeeded()


def test_a_damaged_id_of_this_host_is_told(bed: Site) -> None:
    (bed.state / "host.json").write_bytes(b"\0" * 20)
    bed.run("run", "app").failed(74, "host.json", "Remove it")
    (bed.state / "host.json").unlink()
    take_over(bed, "app").succeeded()
    bed.run("run", "app").succeeded()


WITHOUT_LINKS = """
import ctypes, struct
allow, deny = 0x7fff0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, as FAT and CIFS say it
calls = {"x86_64": (86, 265), "aarch64": (37, 37)}[__import__("os").uname().machine]  # link, linkat
code = [(0x20, 0, 0, 0), (0x15, 1, 0, calls[0]), (0x15, 0, 1, calls[1]), (6, 0, 0, deny), (6, 0, 0, allow)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0, ctypes.get_errno()
"""
RACE = """
import sys
from pathlib import Path
from hiveden_backup.core.model import Owner
from hiveden_backup.host.disk.owners import claim
sys.stdin.readline()
print(claim(Path(sys.argv[1]), Owner(sys.argv[2], "racer")).host_id)
"""


def race(home: Path, racers: int, prelude: str = "") -> set[str]:
    """Who many that claim a directory at once say it belongs to."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", prelude + RACE, str(home), f"id-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(racers)
    ]
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return {each.communicate(timeout=60)[0].strip() for each in started}


def test_of_several_that_claim_at_once_one_does(tmp_path: Path) -> None:
    home = tmp_path / "app"
    for _ in range(3):
        home.mkdir()
        (winner,) = race(home, 4)
        assert winner.startswith("id-")
        assert os.listdir(home) == [OWNER]
        shutil.rmtree(home)


def test_where_there_are_no_hard_links(tmp_path: Path) -> None:
    """FAT, CIFS, some FUSE: the file is made in its place."""
    denied = (
        WITHOUT_LINKS
        + f"""
import os
try:
    os.link("/etc/hostname", {str(tmp_path / "x")!r})
except PermissionError:
    print("denied")
"""
    )
    done = subprocess.run([sys.executable, "-c", denied], check=True, capture_output=True, text=True)
    assert done.stdout == "denied\n"
    home = tmp_path / "app"
    home.mkdir()
    assert race(home, 1, WITHOUT_LINKS) == {"id-0"}
    assert race(home, 2, WITHOUT_LINKS) == {"id-0"}
    assert os.listdir(home) == [OWNER]
