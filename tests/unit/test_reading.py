"""Files are read through one door, `host/disk/durable.py`: what others have put there can neither hang nor flood us."""

import ast
from collections.abc import Iterator

import pytest

from tests.unit.test_house import CHECKOUT, PACKAGE, python_files

DOOR = "host/disk/durable.py"
HARMLESS = {"O_DIRECTORY", "O_PATH", "O_WRONLY", "O_RDWR"}
"""With one of these flags, os.open reads nothing from what it opens, or nothing but names."""
NAMED = {
    ("host/disk/beneath.py", "open_directory"): "directories, by flags that say so",
    ("host/disk/beneath.py", "_readable"): "as above",
    ("host/disk/file_locks.py", "holder"): "the kernel's table of locks",
    ("host/disk/proof.py", "proved"): "the reading end of a pipe of ours",
    ("host/disk/sample.py", "piece"): "a file of the job: it looks at what it opened itself, leaving its times",
    ("host/disk/tar.py", "receive"): "the reading end of a pipe of ours",
    ("host/disk/walk.py", "_open"): "a directory of the job, by flags that say so",
    ("host/disk/walk.py", "content"): "a file of the job, whose reader looks at what was opened",
    ("host/disk/walk.py", "file"): "a file of the job, to see whether it can be opened; it is not read",
    ("host/disk/walk.py", "place"): "by flags that let nothing be read",
    ("jobs/restore/unpack.py", "_copied"): "what was just restored to a place that nobody else can enter",
    ("jobs/run/checks.py", "_existing"): "what may not be read, for the kernel's reason",
}
"""Functions that open something by themselves, and what."""


def readings(text: str) -> Iterator[tuple[str, int]]:
    """Where something is opened to be read: the innermost function, and the line."""
    inside = {}
    tree = ast.parse(text)
    for node in ast.walk(tree):  # from the outside in
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside.update(dict.fromkeys(ast.walk(node), node.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and reads(node):
            yield inside.get(node, ""), node.lineno


def reads(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr="read_text" | "read_bytes" | "copyfile" | "copy2" | "copy_file_range" | "file_digest"):
            return True
        case ast.Attribute(value=ast.Name(id="BackupDirectory"), attr="open"):
            return False
        case ast.Attribute(value=ast.Name(id="os"), attr="open"):
            flags = {each.attr for each in ast.walk(call) if isinstance(each, ast.Attribute)}
            return not HARMLESS & flags and not of_kernel(call.args[0])
        case ast.Name(id="open"):
            return not of_kernel(call.args[0]) and not writes(call.args[1:2])
        case ast.Attribute(attr="open"):
            return not writes(call.args[:1])
    return False


def of_kernel(path: ast.expr) -> bool:
    """Whether a path is written out, and begins with /proc/; but those of descriptors lead anywhere."""
    first = path.values[0] if isinstance(path, ast.JoinedStr) else path
    text = str(first.value) if isinstance(first, ast.Constant) else ""
    return text.startswith("/proc/") and "/fd/" not in text


def writes(mode: list[ast.expr]) -> bool:
    return any(isinstance(each, ast.Constant) and str(each.value)[:1] in "wxa" for each in mode)


def test_files_are_read_through_one_door() -> None:
    found = {
        (str(path.relative_to(CHECKOUT / PACKAGE)), function): line
        for path in python_files(PACKAGE)
        for function, line in readings(path.read_text())
    }
    elsewhere = {f"{file}:{line}" for (file, name), line in found.items() if file != DOOR and (file, name) not in NAMED}
    assert not elsewhere, "Use opened or read_regular of host/disk/durable.py"
    assert found.keys() >= NAMED.keys()


@pytest.mark.parametrize(
    "text",
    [
        "Path('a').read_text()",
        "path.read_bytes()",
        "open(path)",
        "open(path, 'rb')",
        "path.open()",
        "path.open('r+b')",
        "os.open(path, os.O_RDONLY | os.O_CLOEXEC)",
        "open(f'{root}/proc/self/status')",
        "os.open(f'/proc/self/fd/{place}', os.O_RDONLY)",
        "shutil.copyfile(one, two)",
    ],
)
def test_a_way_to_read_is_seen(text: str) -> None:
    assert list(readings(f"def one():\n    def two():\n        {text}")) == [("two", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "path.open('wb')",
        "open(path, 'xb', buffering=0)",
        "open('/proc/self/status', encoding='ascii')",
        "open(f'/proc/{pid}/comm')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.open(path, os.O_RDONLY | os.O_DIRECTORY)",
        "BackupDirectory.open(path)",
    ],
)
def test_what_does_not_read_is_let_be(text: str) -> None:
    assert not list(readings(text))
