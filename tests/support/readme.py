"""The blocks of README.md, for tests that run them as they stand there."""

import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def section(heading: str, language: str = "sh") -> list[str]:
    """The blocks of one language under one heading of the README, in order."""
    text = re.split(rf"^#+ {re.escape(heading)}$", README, maxsplit=1, flags=re.MULTILINE)[1]
    text = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0] if language == "toml" else until_heading(text)
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found
    return found


def until_heading(text: str) -> str:
    """The text up to the next heading; comments in blocks begin with a # and more than one blank, or end a line."""
    return re.split(r"^#+ (?=[A-Z])", text, maxsplit=1, flags=re.MULTILINE)[0]
