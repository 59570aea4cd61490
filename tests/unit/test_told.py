"""What is told to those who change the program is there, and what is there is told."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from hiveden_backup.core import model
from hiveden_backup.core.backup import layout
from hiveden_backup.core.offsite.journal import Line
from hiveden_backup.core.restore_record import Act
from hiveden_backup.host.state.ledger import Debt
from hiveden_backup.host.state.offsites import Facts, Place
from hiveden_backup.host.state.records import RunRecord, Verification

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "hiveden_backup"
ARCHITECTURE = PACKAGE / "README.md"
PAGES = (
    ARCHITECTURE,
    CHECKOUT / "tests/README.md",
    *sorted((CHECKOUT / ".github").glob("*.md")),
)
SUFFIXES = (".py", ".md", ".txt", ".toml", ".catalog")
IN_FILES = (
    *(model.Manifest, model.Archive, model.Root, model.StoppedContainer, model.Artifact, model.ArtifactFile),
    *(model.Source, model.DatabaseFacts, model.Grant, model.Setting, model.Extension, model.Table),
    *(model.Owner, RunRecord, Verification, Debt, Act, Line, Facts, Place),
)
NOT_WRITTEN = {"database", "damage"}  # a database's facts stand among the artifact's own; damage is found in reading
NAMES = (
    *(layout.MARKER, layout.RECIPE, layout.MANIFEST, layout.SUMS),
    *(layout.OWNER, layout.INDEX, layout.ARCHIVE_NAMES, layout.ARCHIVES, layout.CHECKPOINT),
)


def chapter(title: str) -> str:
    """A chapter of the architecture, up to the next one of its rank."""
    _, found, rest = ARCHITECTURE.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))


def told_rooms() -> Iterator[str]:
    """The folders of the drawing of the house, relative to the package."""
    above: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( {4,})([a-z_]+)/ ", chapter("The rooms"), re.MULTILINE):
        above = [each for each in above if each[0] < len(indent)]
        above.append((len(indent), name))
        yield "/".join(each for _, each in above)


def test_every_room_is_told_of() -> None:
    rooms = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}
    assert set(told_rooms()) == rooms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_what_is_named_is_there(page: Path) -> None:
    """A path that stands for itself, seen from the checkout or, in the architecture, from the package."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)[ `#]", text)) | set(re.findall(r"\]\(([^)#:]+)[)#]", text))
    paths = {each for each in named if each.endswith(SUFFIXES) or each.startswith(("packaging/", "tests/"))}
    assert paths or page != ARCHITECTURE
    assert not {each for each in paths if not any((top / each).exists() for top in (CHECKOUT, PACKAGE, page.parent))}


def test_every_word_is_in_use() -> None:
    """The glossary explains what the code says today."""
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", chapter("Words"), re.MULTILINE)
    words = [word for row in rows for word in row.split(", ") if word not in ("word", "---")]
    assert len(words) > 20
    assert len(words) == len(set(words)), "a word has one meaning"
    code = sources()
    assert not [word for word in words if not re.search(rf"\b{word.replace(' ', '[ _-]')}s?\b", code, re.IGNORECASE)]


@pytest.mark.parametrize("kind", IN_FILES, ids=lambda kind: kind.__name__)
def test_every_field_on_disk_is_told_of(kind: type) -> None:
    told = chapter("On disk")
    names = {field.name for field in fields(kind)} - NOT_WRITTEN
    assert not {name for name in names if not re.search(rf"\b{name}\b", told)}


def test_every_name_on_disk_is_told_of() -> None:
    told = chapter("On disk")
    in_state = set(re.findall(r'\bstate / "([^"]+)"', sources()))
    assert {"ledger", "locks", "runs"} <= in_state
    assert not [name for name in (*NAMES, *in_state) if name not in told]


def test_a_commit_is_looked_at_by_what_is_installed_for_it() -> None:
    """So that one line of pyproject.toml decides which version of each program speaks."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {line.partition("==")[0] for line in project["optional-dependencies"]["lint"]}
    config = (CHECKOUT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    programs = re.findall(r"entry: ([a-z]+)", config)
    assert set(programs) - {"shellcheck"} <= installed
    assert config.count("language: system") == len(programs)
