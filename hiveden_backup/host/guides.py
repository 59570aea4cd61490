"""The guides that are installed with the program: texts for people, each file a topic."""

from pathlib import Path

from hiveden_backup.core.errors import StorageError
from hiveden_backup.host.disk.durable import read_regular, translated

_HOME = Path(__file__).resolve().parents[1] / "guides"
_LONGEST = 1 << 20


def topics() -> dict[str, str]:
    """What there are guides on, and what each is about: its first line."""
    names = sorted(path.stem for path in _HOME.glob("*.md"))
    return {name: guide(name).partition("\n")[0].removeprefix("# ") for name in names}


def guide(topic: str) -> str:
    """The text of one of `topics`."""
    path = _HOME / f"{topic}.md"
    with translated(f"reading {path}", unwritable=StorageError):
        return read_regular(path, _LONGEST).decode()
