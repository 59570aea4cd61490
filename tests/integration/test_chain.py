"""What this host remembers of its backups: one that vanishes, changes or comes back older waits for a person."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forge import forged
from tests.support.job import Site, site
from tests.support.signing import new_key, sign


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure({"app": {"paths": [str(made.data)]}})
        (made.data / "page").write_text("what was written here")
        yield made.init()


def run(bed: Site, *options: str) -> str:
    return bed.run("run", "app", *options).succeeded().out.strip()


def attention(bed: Site) -> list[str]:
    done = bed.run("status", "--json")
    (row,) = done.json
    told: list[str] = row["attention"]
    assert done.code == (1 if told or row["state"] == "failed" else 0)
    warned = [each["message"] for each in bed.run("check", "--json").json if each["status"] == "WARN"]
    assert set(told) <= set(warned)
    return told


def says(bed: Site, *words: str) -> None:
    """Each of these is in one sentence, and a person settles all of them."""
    told = attention(bed)
    assert len(told) == len(words), told
    assert all(any(word in each for each in told) for word in words), told
    assert told[-1].endswith("hiveden-backup accept app")
    bed.run("accept", "app").succeeded()
    assert attention(bed) == []


def whose(bed: Site, backup: str) -> str:
    (row,) = [row for row in bed.run("list", "--json").json if row["id"] == backup]
    state: str = row["signature"]["state"]
    return state


def taken(bed: Site) -> int:
    """How many paths the newest backup archived itself."""
    return sum(archive["added"] for archive in bed.manifest()["archives"])


def in_place(*options: str, backup: str = "app/latest") -> list[str]:
    return ["restore", backup, "--in-place", "--yes", *options]


# ---- what is noticed


def test_a_newest_backup_that_is_removed_is_noticed(bed: Site) -> None:
    run(bed)
    newest = run(bed)
    shutil.rmtree(bed.job() / newest)
    says(bed, f"The newest backup, {newest}, is gone")


def test_a_directory_copied_back_from_an_older_copy_is_noticed(bed: Site) -> None:
    first = run(bed)
    shutil.copytree(bed.backups, bed.path / "older")
    second, third = run(bed), run(bed)
    bed.run("delete", f"app/{first}", "--yes").succeeded()
    assert attention(bed) == []
    shutil.rmtree(bed.backups)
    (bed.path / "older").rename(bed.backups)
    says(bed, f"The newest backup, {third}, is gone", f"The newest backup, {second}, is gone")


def test_a_backup_under_another_name_is_noticed(bed: Site) -> None:
    backup = run(bed)
    (bed.job() / backup).rename(bed.job() / "20300101T000000Z")
    assert any("20300101T000000Z now" in each for each in attention(bed))
    bed.run("verify", "app/20300101T000000Z").failed(65)
    bed.run(*in_place(backup="app/20300101T000000Z")).failed(65)


def test_a_backup_of_another_job_moved_here_is_forged_although_it_is_signed(bed: Site) -> None:
    other = bed.path / "other"
    other.mkdir()
    bed.configure({"app": {"paths": [str(bed.data)]}, "evil": {"paths": [str(other)]}})
    run(bed)
    time.sleep(1)  # ids are of whole seconds
    foreign = bed.run("run", "evil").succeeded().out.strip()
    shutil.copytree(bed.job("evil") / foreign, bed.job() / foreign)
    for archive in (bed.job("evil") / "archives").iterdir():
        shutil.copy(archive, bed.job() / "archives")
    bed.run("verify", f"app/{foreign}").failed(65)
    bed.run(*in_place(backup=f"app/{foreign}")).failed(65)


def test_a_directory_that_is_away_is_no_alarm(bed: Site) -> None:
    run(bed)
    bed.backups.rename(bed.path / "away")
    (row,) = bed.run("status", "--json").json
    assert not any("is gone" in each for each in row["attention"])
    (bed.path / "away").rename(bed.backups)
    assert attention(bed) == []


def test_a_marker_that_is_another_one_is_noticed(bed: Site) -> None:
    """Else who can write there would have this host forget what it made."""
    backup = run(bed)
    path = bed.backups / ".hiveden-backup.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "id": "another"}))
    (bed.job() / backup / "SHA256SUMS.sig").unlink()
    bed.run("verify", f"app/{backup}").succeeded()
    assert whose(bed, backup) == "unsigned"
    says(bed, f"The backup {backup} has appeared")


# ---- what is no alarm


@pytest.mark.parametrize("phase", ["digest", "sign", "signed", "rename", "prune", "remove"])
def test_a_killed_run_is_no_alarm(bed: Site, phase: str) -> None:
    bed.change(retention={"keep_last": 1})
    run(bed)
    time.sleep(1)  # ids are of whole seconds
    bed.finish(bed.start("run", "app", failpoint=f"{phase}:kill"))
    for backup in bed.ids():
        assert (bed.job() / backup / "SHA256SUMS.sig").exists()
        assert whose(bed, backup) == "here"
    assert attention(bed) == []
    run(bed)
    assert attention(bed) == []
    (backup,) = bed.ids()
    shutil.rmtree(bed.job() / backup)
    says(bed, "The newest backup")


def test_what_this_program_removes_is_no_alarm(bed: Site) -> None:
    first, second = run(bed), run(bed)
    bed.run("delete", f"app/{second}", "--yes").succeeded()
    assert attention(bed) == []
    bed.change(retention={"keep_last": 1})
    run(bed)
    assert first not in bed.ids()
    assert attention(bed) == []
    run(bed)
    (chain,) = json.loads((bed.state / "signed/app.json").read_text())["directories"].values()
    assert first not in chain["backups"]  # what went is forgotten


# ---- old backups, and lost states


def old(bed: Site, backup: str) -> None:
    """Let a backup be from a version that did not sign, and this host one that has just been upgraded."""
    (bed.job() / backup / "SHA256SUMS.sig").unlink()
    for name in ("key", "signed/app.json"):
        (bed.state / name).unlink(missing_ok=True)


def test_an_old_backup_is_signed_once_it_was_verified(bed: Site) -> None:
    time.sleep(2.1)  # else its file counts as changed since
    first = run(bed)
    old(bed, first)
    assert whose(bed, first) == "unsigned"
    assert taken(bed) == 1
    second = run(bed)
    assert taken(bed) == 0  # it is built upon
    said = bed.run(*in_place(backup=f"app/{first}")).failed(77, f"hiveden-backup verify app/{first}", "--unsigned")
    assert "version" in said.err
    done = bed.run("verify", "--all", "--json").succeeded()
    states = {row["id"]: row["signature"] for row in done.json}
    assert (states[first]["state"], states[first]["adopted"]) == ("here", True)
    assert (states[second]["state"], states[second]["adopted"]) == ("here", False)
    assert whose(bed, first) == "here"
    assert attention(bed) == []
    (bed.data / "page").write_text("something else")
    bed.run(*in_place(backup=f"app/{first}")).succeeded()
    assert (bed.data / "page").read_text() == "what was written here"


def test_an_old_backup_restores_as_it_is_by_consent(bed: Site) -> None:
    first = run(bed)
    old(bed, first)
    bed.run(*in_place("--unsigned")).succeeded()


def test_an_unsigned_backup_that_appears_later_is_never_signed(bed: Site) -> None:
    time.sleep(2.1)  # so that the archive stays in use
    first = run(bed)
    shutil.copytree(bed.job() / first, bed.path / "kept")
    time.sleep(1)  # ids are of whole seconds
    run(bed)
    bed.run("delete", f"app/{first}", "--yes").succeeded()
    run(bed)
    shutil.copytree(bed.path / "kept", bed.job() / first)
    (bed.job() / first / "SHA256SUMS.sig").unlink()
    for _ in range(2):
        bed.run("verify", f"app/{first}").succeeded()
        assert whose(bed, first) == "unsigned"
        bed.run("accept", "app")


def test_with_a_lost_state_backups_are_signed_by_the_key_that_was(bed: Site) -> None:
    backup = run(bed)
    key = bed.run("config", "show", "--key").out.strip()
    shutil.rmtree(bed.state)
    bed.run("init", "--directory", str(bed.backups), "--take-over", "app").succeeded()
    bed.run("verify", f"app/{backup}").succeeded()
    assert whose(bed, backup) == "other"
    done = bed.run(*in_place()).failed(77, f"--trust {key}")
    assert "--to DIR" in done.err
    bed.run(*in_place("--trust", "SHA256:" + "A" * 43)).failed(77)
    bed.run(*in_place("--unsigned")).failed(77)
    bed.run("restore", "app/latest", "--to", str(bed.path / "beside")).succeeded()
    run(bed)
    assert taken(bed) == 1  # it is not built upon
    assert "cannot be built upon" in " ".join(bed.manifest()["warnings"])
    bed.run(*in_place("--trust", key, backup=f"app/{backup}")).succeeded()


def test_with_a_lost_state_a_stripped_backup_is_never_signed(bed: Site) -> None:
    backup = run(bed)
    shutil.rmtree(bed.state)
    (bed.job() / backup / "SHA256SUMS.sig").unlink()
    bed.run("init", "--directory", str(bed.backups), "--take-over", "app").succeeded()
    bed.run("verify", f"app/{backup}").succeeded()
    assert whose(bed, backup) == "unsigned"
    bed.run(*in_place()).failed(77, "--unsigned")
    bed.run(*in_place("--unsigned")).succeeded()


# ---- restores


def evil(bed: Site, backup: str) -> None:
    with forged(bed.job() / backup, genuine=False) as forgery:
        forgery.tree({str(bed.data): None, f"{bed.data}/page": b"what an attacker wants"})


@pytest.mark.parametrize("how", ["recomputed", "stripped", "another key"])
def test_a_forged_backup_is_never_restored_in_place(bed: Site, how: str) -> None:
    backup = run(bed)
    evil(bed, backup)
    if how == "stripped":
        (bed.job() / backup / "SHA256SUMS.sig").unlink()
    if how == "another key":
        sign(bed.job() / backup, new_key(bed.path / "other"))
    for options in ([], ["--unsigned"], ["--trust", bed.run("config", "show", "--key").out.strip()]):
        bed.run(*in_place(*options)).failed(65, "forged")
    assert bed.run("restore", "app/latest", "--in-place").code == 65  # the preview believes nothing of it
    assert (bed.data / "page").read_text() == "what was written here"
    done = bed.run("restore", "app/latest", "--to", str(bed.path / "beside"))
    assert done.code == 0
    assert "did not make" in done.err
    assert "forged" in done.err


# ---- what a run builds upon


def test_a_forged_backup_is_not_built_upon(bed: Site) -> None:
    backup = run(bed)
    evil(bed, backup)
    assert "cannot be built upon" in bed.run("run", "app").succeeded().err
    newest = bed.ids()[0]
    bed.run("verify", f"app/{newest}").succeeded()
    restored = bed.restored("again", backup=f"app/{newest}") / str(bed.data / "page").lstrip("/")
    assert restored.read_text() == "what was written here"


def test_a_forged_checkpoint_is_not_built_upon(bed: Site) -> None:
    bed.finish(bed.start("run", "app", failpoint="manifest:kill"))
    home = bed.job() / ".checkpoint"
    facts = json.loads((home / "checkpoint.json").read_text())
    facts.update(entries=facts["entries"] + 1)
    (home / "checkpoint.json").write_text(json.dumps(facts))
    done = bed.run("run", "app").succeeded()
    assert "checkpoint of app is not built upon" in done.err
    assert taken(bed) == 1


def test_a_checkpoint_of_this_host_is_built_upon(bed: Site) -> None:
    time.sleep(2.1)  # else its file counts as changed since
    bed.finish(bed.start("run", "app", failpoint="manifest:kill"))
    assert run(bed)
    (archive,) = bed.manifest()["archives"]
    assert not archive["path"].startswith(f"archives/{bed.ids()[0]}")
