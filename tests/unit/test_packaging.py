"""What the packages say of the program, held against pyproject.toml."""

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONTROL = (CHECKOUT / "packaging/deb/debian/control").read_text(encoding="utf-8")


def field(name: str) -> str:
    """A field of the package, its lines as one."""
    found = re.search(rf"^{name}:((?:.*\n)(?: .*\n)*)", CONTROL.partition("\nPackage:")[2], re.MULTILINE)
    assert found
    return " ".join(found[1].split())


def test_package_depends_on_what_the_program_needs() -> None:
    needed = dict(line.split(">=") for line in PROJECT["dependencies"])
    told = dict(re.findall(r"python3-([a-z-]+) \(>= ([\d.]+)\)", field("Depends")))
    assert told == needed


def test_package_suggests_what_the_api_needs() -> None:
    assert set(re.findall(r"python3-([a-z-]+)", field("Suggests"))) == {
        line.split(">=")[0] for line in PROJECT["optional-dependencies"]["api"]
    }


def test_python_is_the_one_that_is_asked_for() -> None:
    assert f"X-Python3-Version: {PROJECT['requires-python'].replace('>=', '>= ')}\n" in CONTROL
