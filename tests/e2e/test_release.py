"""What packaging/release builds."""

import subprocess
import zipfile
from pathlib import Path

import pytest

import hiveden_backup
from tests.support.checkout import clone

GIT = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]


@pytest.mark.slow
def test_release_is_complete_and_the_same_each_time(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    clone(checkout)
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=All"]):
        subprocess.run([*GIT, *words], cwd=checkout, check=True)
    sums = []
    for place in ("first", "second"):
        subprocess.run(
            [checkout / "packaging/release", "--directory", tmp_path / place], capture_output=True, check=True
        )
        sums.append((tmp_path / place / "SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "first", check=True)

    version = hiveden_backup.__version__
    wheel = f"hiveden_backup-{version}-py3-none-any.whl"
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert {wheel, f"hiveden-backup_{version}_all.deb", "SHA256SUMS"} < names
    assert [name for name in names if name.endswith(f"-{version}.tar.gz")]
    wanted = {f"hiveden_backup/{path.relative_to(checkout / 'hiveden_backup')}" for path in sources(checkout)}
    assert wanted <= set(zipfile.ZipFile(tmp_path / "first" / wheel).namelist())

    (checkout / "notes").touch()
    refused = subprocess.run(
        [checkout / "packaging/release", "--directory", tmp_path / "third"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "not committed" in refused.stderr


def sources(checkout: Path) -> list[Path]:
    """What the program consists of, with its guides and units."""
    units = [checkout / "hiveden_backup/systemd" / path.name for path in (checkout / "systemd").iterdir()]
    package = checkout / "hiveden_backup"
    return [*package.rglob("*.py"), *(package / "guides").iterdir(), *units]
