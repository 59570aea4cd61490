"""Clean copies of this checkout."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def clone(to: Path) -> None:
    """A clean checkout: what git has, and what it would take."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    names = subprocess.run(listing, cwd=CHECKOUT, capture_output=True, check=True).stdout
    to.mkdir(parents=True)
    present = b"".join(name + b"\0" for name in names.split(b"\0") if name and (CHECKOUT / name.decode()).exists())
    pack = subprocess.run(
        ["tar", "-c", "--null", "-T", "-"], cwd=CHECKOUT, input=present, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", to], input=pack.stdout, check=True)
