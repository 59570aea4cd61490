"""The house rules: which room may import which, how large a room may grow, what lies at the top of the checkout."""

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hiveden_backup import __version__
from hiveden_backup.cli.registry import COMMANDS

PACKAGE = "hiveden_backup"
CHECKOUT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {
    "": frozenset({""}),  # hiveden_backup itself: the version
    "__main__": frozenset({"", "cli"}),
    "cli": frozenset({"", "cli", "jobs", "host", "core"}),
    "api": frozenset({"", "api", "jobs", "host", "core"}),
    "jobs": frozenset({"", "jobs", "host", "core"}),
    "host": frozenset({"", "host", "core"}),
    "core": frozenset({"", "core"}),
}
WINGS = (
    {"installation"},
    {"services"},
    {"backups"},
    {"recovery"},
    {"restore", "setup"},
    {"schedule"},
    {"run"},
    {"offsite"},
)
"""The wings of `jobs` from the ground up: each may import itself and what stands before it."""

SHARED_IN_HOST = frozenset(
    {
        "process",
        "failpoints",
        "landlock",
        "later",
        "limited_output",
        "signals",
        "disk.beneath",
        "disk.durable",
        "disk.stream",
    }
)
TOP_LEVEL = frozenset(
    {"pyproject.toml", PACKAGE, "systemd", "tests", "packaging", "README.md", "LICENSE", "CHANGELOG.md"}
)
LONGEST_FILE = 400
LONGEST_FUNCTION = 50
SLOW_TO_IMPORT = frozenset(
    {
        "asyncio",
        "docker",
        "fastapi",
        "hashlib",
        "psycopg",
        "pydantic",
        "pygments",
        "requests",
        "rich.console",  # `rich` is looked for, and kept out
        "structlog",
        "tomli_w",
        "typer.rich_utils",
        "uvicorn",
    }
)

Imports = Mapping[str, frozenset[str]]


# ---- reading the code ----------------------------------------------------------------------------------------------


def module_name(path: Path, top: Path) -> str:
    """`hiveden_backup.core.model` for hiveden_backup/core/model.py; a package goes by its own name."""
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Every dotted name that a module in `package` may import anywhere in its text, in functions too.

    `from a import b` gives both `a` and `a.b`, since only the file system tells whether b is a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def walk_imports(top: Path) -> Imports:
    """Each module of the package under `top`, and the package's modules that it imports."""
    files = {module_name(path, top): path for path in sorted((top / PACKAGE).rglob("*.py"))}
    found: dict[str, frozenset[str]] = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        names = frozenset(imported_names(ast.parse(path.read_bytes(), path), package)) & files.keys()
        # `from a import b` touches a itself only for what b is not: a module
        only_doors = {parent for parent in names if any(other.startswith(f"{parent}.") for other in names)}
        found[name] = names - only_doors - {name}
    return found


def room(module: str) -> str:
    """The room a module is in: `core` for hiveden_backup.core.model, "" for the package itself."""
    return f"{module}.".split(".")[1]


# ---- the rules -----------------------------------------------------------------------------------------------------


def wrong_arrows(imports: Imports) -> list[str]:
    """The imports that go against `cli, api -> jobs -> host -> core`, the wings, or the rooms of the host."""
    return [
        f"{module} imports {target}"
        for module, targets in sorted(imports.items())
        for target in sorted(targets)
        if room(target) not in MAY_IMPORT.get(room(module), frozenset())
        or reaches_into_host(module, target)
        or runs_up_a_wing(module, target)
    ]


def runs_up_a_wing(module: str, target: str) -> bool:
    """Whether a module of `jobs` imports from a wing beside or above its own; one in no wing is wrong anywhere."""
    if room(module) != "jobs" or room(target) != "jobs":
        return False
    here, there = module.split(".")[2], target.split(".")[2]
    floors = {wing: number for number, wings in enumerate(WINGS) for wing in wings}
    return here != there and not floors.get(there, len(WINGS)) < floors.get(here, -1)


def reaches_into_host(module: str, target: str) -> bool:
    """Whether one outside thing's file imports another's. A folder's files are one thing."""
    if room(module) != "host" or room(target) != "host":
        return False
    here, there = module.split(".")[2:], target.split(".")[2:]
    same = len(here) == len(there) == 2 and here[0] == there[0]
    return not same and ".".join(there) not in SHARED_IN_HOST


def circle(imports: Imports) -> list[str]:
    """The modules of one circle of imports, or nothing."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def long_functions(path: Path) -> list[str]:
    """The functions in a file that are longer than allowed, decorators not counted."""
    return [
        f"{path}:{node.lineno} {node.name}: {length} lines"
        for node in ast.walk(ast.parse(path.read_bytes(), path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]


# ---- the code keeps them -------------------------------------------------------------------------------------------


def python_files(*folders: str) -> list[Path]:
    files = [path for folder in folders for path in sorted((CHECKOUT / folder).rglob("*.py"))]
    assert files
    return files


def test_imports_run_one_way() -> None:
    imports = walk_imports(CHECKOUT)
    assert any(imports.values())
    assert not wrong_arrows(imports)


def test_imports_make_no_circle() -> None:
    assert not circle(walk_imports(CHECKOUT))


def test_no_file_is_too_long() -> None:
    sizes = {path: len(path.read_bytes().splitlines()) for path in python_files(PACKAGE, "tests")}
    assert not {str(path): lines for path, lines in sizes.items() if lines > LONGEST_FILE}


def test_no_function_is_too_long() -> None:
    assert not [line for path in python_files(PACKAGE) for line in long_functions(path)]


def test_text_is_split_at_line_feeds_only() -> None:
    r"""`str.splitlines` breaks lines where others write names and messages: `core.lines.split_lines` does not."""
    assert not [str(path) for path in python_files(PACKAGE) if b".splitlines(" in path.read_bytes()]


def test_dataclasses_are_our_own() -> None:
    """The library's cost a third of the start of a run: `core/dataclass.py`."""
    users = [path for path in python_files(PACKAGE) if path.stem != "dataclass"]
    own = re.compile(r"^(from dataclasses import .*\b(dataclass|field)\b|import dataclasses\b)", re.MULTILINE)
    assert [path for path in users if own.search(path.read_text())] == []


def test_every_module_says_its_duty() -> None:
    assert not [str(path) for path in python_files(PACKAGE) if not ast.get_docstring(ast.parse(path.read_bytes()))]


def test_every_folder_is_a_package() -> None:
    """The wheel leaves out, without a word, a folder that has no `__init__.py`."""
    folders = {path.parent for path in python_files(PACKAGE)}
    assert not [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def test_top_level_holds_what_belongs_there() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    entries = {os.fsdecode(path).partition("/")[0] for path in listing.split(b"\0") if path}
    assert entries
    assert not {entry for entry in entries - TOP_LEVEL if not entry.startswith(".")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small site."""
    place = tmp_path_factory.mktemp("site")
    (place / "config.toml").write_text(f'directory = "{place}/backups"\n[jobs.files]\npaths = ["{place}/files"]\n')
    call(place / "config.toml", "init", "--directory", str(place / "backups"))
    return place / "config.toml"


def call(config: Path, *arguments: str) -> str:
    """What a command line says on stderr, with every import."""
    command = [sys.executable, "-X", "importtime", "-m", PACKAGE, "--config", str(config), *arguments]
    environment = {**os.environ, "STATE_DIRECTORY": str(config.parent / "state"), "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("command", ["--version", "list", "status"])
def test_command_line_starts_without(site: Path, command: str) -> None:
    """Most commands must start fast: what only some of them need is imported where it is used."""
    imported = {line.rpartition("|")[2].strip() for line in call(site, command).splitlines()}
    assert "hiveden_backup.cli.app" in imported
    assert not imported & SLOW_TO_IMPORT


def test_version_starts_without_a_command_line() -> None:
    program = f"import sys; from {PACKAGE}.cli.main import main; main(); sys.exit('typer' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"hiveden-backup {__version__}\n")


def test_help_needs_none_of_the_libraries_that_are_imported_late() -> None:
    """The package is built, and its manual pages and completions are made, where these are not installed."""
    program = f"""
import importlib, sys
for name in ("docker", "psycopg", "structlog", "tomli_w"):
    sys.modules[name] = None
for name in {[module_name(path, CHECKOUT) for path in python_files(f"{PACKAGE}/cli/commands")]!r}:
    importlib.import_module(name)
import {PACKAGE}.host.postgres.swap, {PACKAGE}.host.postgres.dump, {PACKAGE}.host.postgres.count
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_command_has_its_file() -> None:
    assert {path.stem for path in python_files(f"{PACKAGE}/cli/commands")} - {"__init__"} == {
        name.replace("-", "_") for name in COMMANDS
    }


# ---- the rules see what they are for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "target", "allowed"),
    [
        ("cli.main", "jobs.run", True),
        ("cli.main", "core.model", True),
        ("api.app", "jobs.run", True),
        ("jobs.run.job", "jobs.run.plan", True),
        ("jobs.run.job", "jobs.backups.prune", True),
        ("jobs.services.debts", "jobs.installation", True),
        ("jobs.run.job", "host.tar", True),
        ("host.tar", "core.errors", True),
        ("host.tar", "host.process", True),
        ("host.postgres.dump", "host.postgres.snapshot", True),
        ("host.postgres.dump", "host.disk.durable", True),
        ("__main__", "cli.main", True),
        ("cli.main", "api.app", False),
        ("api.app", "cli.main", False),
        ("jobs.run.job", "cli.main", False),
        ("jobs.run.job", "api.app", False),
        ("jobs.backups.prune", "jobs.run.job", False),
        ("jobs.restore.files", "jobs.setup.init", False),
        ("jobs.services.debts", "jobs.backups.catalog", False),
        ("jobs.attic", "jobs.installation", False),
        ("jobs.run.job", "jobs.attic", False),
        ("host.tar", "jobs.run", False),
        ("core.index", "host.tar", False),
        ("core.index", "__main__", False),
        ("host.clock", "host.config_files", False),
        ("host.disk.tree", "host.postgres.dump", False),
        ("host.postgres.dump", "host.docker.engine", False),
        ("attic.box", "core.model", False),
    ],
)
def test_arrow(module: str, target: str, *, allowed: bool) -> None:
    imports = {f"{PACKAGE}.{module}": frozenset({f"{PACKAGE}.{target}"})}
    assert wrong_arrows(imports) == ([] if allowed else [f"{PACKAGE}.{module} imports {PACKAGE}.{target}"])


@pytest.mark.parametrize(
    "text",
    [
        "import hiveden_backup.host.tar",
        "import hiveden_backup.host.tar as archiver",
        "from hiveden_backup.host import tar",
        "from hiveden_backup.host.tar import pack",
        "from ..host import tar",
        "from ..host.tar import pack",
        "def later() -> None:\n    from hiveden_backup.host import tar",
    ],
)
def test_walk_sees_every_way_to_import(tmp_path: Path, text: str) -> None:
    for folder in ("", "host", "core"):
        (tmp_path / PACKAGE / folder).mkdir()
        (tmp_path / PACKAGE / folder / "__init__.py").touch()
    (tmp_path / PACKAGE / "host/tar.py").touch()
    (tmp_path / PACKAGE / "core/index.py").write_text(text)
    imports = walk_imports(tmp_path)
    assert imports[f"{PACKAGE}.core.index"] == {f"{PACKAGE}.host.tar"}
    assert wrong_arrows(imports) == [f"{PACKAGE}.core.index imports {PACKAGE}.host.tar"]


def test_circle_is_seen() -> None:
    assert set(circle({"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"})})) == {"a", "b", "c"}
    assert not circle({"a": frozenset({"b", "c"}), "b": frozenset({"c"})})


# ---- what people see goes through one door -------------------------------------------------------------------------

PRINTS = {
    "api/__main__.py": "no name of others is in it",
    "api/errand.py": "an error, which is fit to be seen by itself",
    "api/serve.py": "as above",
    "cli/app.py": "the version",
    "cli/log.py": "the door of the log, and the progress line",
    "cli/main.py": "the version",
    "cli/output.py": "the door of results",
    "host/log.py": "the log, before it has a door",
}


def test_people_are_told_through_one_door() -> None:
    """`cli/output.py` and `cli/log.py` escape what drives a terminal: no command has to think of it."""
    ways = (b"typer.echo(", b"secho(", b"print(", b"sys.stdout.write(", b"sys.stderr.write(")
    prints = {
        str(path.relative_to(CHECKOUT / PACKAGE))
        for path in python_files(PACKAGE)
        if any(re.search(rb"(?<![\w.])" + re.escape(way), path.read_bytes()) for way in ways)
    }
    assert prints == PRINTS.keys()
