"""The files of PostgreSQL's folder: none is loaded for nothing, and all together."""

import subprocess
import sys
from pathlib import Path

import hiveden_backup

FOLDER = "hiveden_backup.host.postgres"
PROGRAM = f"""
import sys
from {FOLDER} import scratch
print(*(name for name in sys.modules if name.startswith("{FOLDER}.")))
assert scratch.sweep_scratch
print(*(name for name in sys.modules if name.startswith("{FOLDER}.")))
"""


def test_the_first_file_that_is_used_brings_all_others() -> None:
    """A run that looked for one while containers are down would find what an upgrade has put there meanwhile."""
    home = Path(hiveden_backup.__file__).parent
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=home.parent)
    before, after = done.stdout.split("\n")[:2]
    files = {f"{FOLDER}.{path.stem}" for path in (home / "host/postgres").glob("*.py")} - {f"{FOLDER}.__init__"}
    assert not before
    assert set(after.split()) == files
