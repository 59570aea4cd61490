"""`init`: a backup directory made, or adopted on a new machine, and a configuration to begin with."""

import json
import os
import shutil
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import small_disk
from tests.support.job import Done, Site, site


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A machine with nothing of ours on it."""
    with site(tmp_path) as made:
        yield made


def init(bed: Site, *arguments: str) -> Done:
    return bed.run("init", "--directory", str(bed.backups), *arguments)


def test_marks_a_new_directory_and_writes_a_starter(bed: Site) -> None:
    done = init(bed, "--json").succeeded()
    marker = json.loads((bed.backups / ".hiveden-backup.json").read_text())
    assert set(marker) == {"format", "id", "created"}
    assert marker["format"] == 1
    assert done.json == {
        "directory": str(bed.backups),
        "id": marker["id"],
        "created": True,
        "configuration": True,
    }
    assert set(os.listdir(bed.backups)) == {".hiveden-backup.json", "HOW-TO-RESTORE.txt"}
    assert "sha256sum -c SHA256SUMS" in (bed.backups / "HOW-TO-RESTORE.txt").read_text()
    for path in (bed.backups, *bed.backups.iterdir(), bed.config):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert tomllib.loads(bed.config.read_text())["directory"] == str(bed.backups)
    assert bed.run("config", "get", "directory", "--json").succeeded().json == str(bed.backups)
    bed.run("check").failed(66, "There is no job in the configuration")


def test_leads_to_a_copy_elsewhere(bed: Site) -> None:
    """With the first configuration alone, by commands that there are."""
    said = init(bed).succeeded().out
    assert "age-keygen -o identity.txt" in said
    assert "[offsite.NAME]" in said
    assert "hiveden-backup guide offsite" in said
    assert "[offsite.elsewhere]" in bed.config.read_text()
    assert bed.run("guide", "offsite").succeeded().out
    assert "age-keygen" not in init(bed).succeeded().out


def test_the_starter_becomes_a_job_by_taking_the_signs_away(bed: Site) -> None:
    init(bed).succeeded()
    lines = bed.config.read_text().splitlines()
    start = lines.index("# [jobs.immich]")
    end = lines.index("", start)
    lines[start:end] = [line.removeprefix("# ") for line in lines[start:end]]
    bed.config.write_text("\n".join(lines))
    assert bed.run("config", "get", "jobs.immich.containers", "--json").succeeded().json == ["immich_server"]
    assert bed.run("config", "get", "jobs.immich.postgres", "--json").succeeded().json[0]["databases"] == ["immich"]


def test_the_starter_becomes_an_offsite_once_it_has_a_key(bed: Site) -> None:
    init(bed).succeeded()
    head, found, example = bed.config.read_text().partition("# [offsite.elsewhere]")
    assert found
    taken = found.removeprefix("# ") + example.replace("\n# ", "\n")
    bed.config.write_text(head + taken)
    bed.run("config", "get", "offsite.elsewhere.remote").failed(78, "recipients")
    key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    bed.config.write_text(head + taken.replace("age1...", key))
    assert bed.run("config", "get", "offsite.elsewhere.remote").succeeded().out == "b2:bucket/backups\n"


def test_again_changes_nothing(bed: Site) -> None:
    init(bed).succeeded()
    bed.configure({"app": {"paths": [str(bed.data)]}})
    bed.run("run", "app").succeeded()
    before = {path: (path.read_bytes() if path.is_file() else b"") for path in (bed.config, *bed.backups.rglob("*"))}
    done = init(bed).succeeded()
    assert done.out == f"Adopted the backup directory {bed.backups}.\nIt holds 1 backup: hiveden-backup list\n"
    after = {path: (path.read_bytes() if path.is_file() else b"") for path in (bed.config, *bed.backups.rglob("*"))}
    assert after == before


def test_adopts_on_a_new_machine(bed: Site, tmp_path: Path) -> None:
    """The old configuration burned; what it backed up can be listed and restored."""
    init(bed).succeeded()
    (bed.data / "file").write_text("precious")
    bed.configure({"app": {"paths": [str(bed.data)]}})
    bed.run("run", "app").succeeded()
    with site(tmp_path / "new machine") as other:
        shutil.move(bed.backups, other.backups)
        done = init(other, "--json").succeeded()
        assert (done.json["created"], done.json["configuration"]) == (False, True)
        assert other.run("list", "--json").succeeded().json[0]["job"] == "app"
        assert (other.restored("x") / str(bed.data / "file").lstrip("/")).read_text() == "precious"


def test_says_when_the_configuration_names_another(bed: Site) -> None:
    bed.configure({}, directory="/somewhere/else")
    done = init(bed).succeeded()
    assert "names another directory (/somewhere/else)" in done.out


def test_refuses_a_directory_with_other_things(bed: Site) -> None:
    bed.backups.mkdir(mode=0o755)
    (bed.backups / "photos").mkdir()
    init(bed).failed(73, "is not empty")
    assert os.listdir(bed.backups) == ["photos"]
    assert stat.S_IMODE(bed.backups.stat().st_mode) == 0o755
    assert not bed.config.exists()


def test_refuses_what_is_no_directory(bed: Site) -> None:
    bed.backups.write_text("a file")
    bed.backups.chmod(0o640)
    init(bed).failed(73, "is not a directory")
    assert stat.S_IMODE(bed.backups.stat().st_mode) == 0o640


def test_takes_a_fresh_file_system(bed: Site) -> None:
    bed.backups.mkdir()
    with small_disk(bed.backups, "64k"):
        (bed.backups / "lost+found").mkdir()
        init(bed).succeeded()
        assert bed.run("list", "--json").succeeded().json == []


def test_goes_on_where_it_was_killed(bed: Site) -> None:
    init(bed).succeeded()
    (bed.backups / ".hiveden-backup.json").unlink()
    done = init(bed, "--json").succeeded()
    assert done.json["created"]


def test_a_full_disk(bed: Site) -> None:
    bed.backups.mkdir()
    with small_disk(bed.backups, "4k"):
        init(bed).failed(73, "No space left on device")
    assert not bed.config.exists()


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 2, "id": "x"}', "has format 2"),
    ],
)
def test_a_marker_it_does_not_understand(bed: Site, marker: str, why: str) -> None:
    init(bed).succeeded()
    (bed.backups / ".hiveden-backup.json").write_text(marker)
    init(bed).failed(73, why)
    bed.configure({"app": {"paths": [str(bed.data)]}})
    bed.run("run", "app").failed(73, why)
    assert (bed.backups / ".hiveden-backup.json").read_text() == marker
