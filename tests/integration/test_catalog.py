"""The catalog of messages, as journalctl reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hiveden_backup.core.events import Kind

SHIPPED = Path(__file__).resolve().parents[2] / "systemd/hiveden-backup.catalog"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory whose only catalog is ours."""
    root = tmp_path_factory.mktemp("root")
    (root / "var/lib/systemd/catalog").mkdir(parents=True)
    (root / "usr/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(SHIPPED, root / "usr/lib/systemd/catalog")
    journalctl(root, "--update-catalog")
    return root


def journalctl(root: Path, *arguments: str) -> str:
    command = ["journalctl", f"--root={root}", "--no-pager", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_catalog_explains_each_kind_of_event_and_nothing_else(root: Path) -> None:
    listed = re.findall("^([0-9a-f]{32}) ", journalctl(root, "--list-catalog"), re.MULTILINE)
    assert sorted(listed) == sorted(kind.message_id for kind in Kind)


@pytest.mark.parametrize("kind", Kind)
def test_each_explanation_has_a_subject_and_says_more(root: Path, kind: Kind) -> None:
    said = journalctl(root, "--dump-catalog", kind.message_id).splitlines()
    assert said[1].startswith("Subject: ")
    assert any(said[3:])
