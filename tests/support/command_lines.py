"""The command lines of a page for people, held against what the program's own help says."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from typer.testing import CliRunner

from hiveden_backup.cli.app import app

PROGRAM = "hiveden-backup"


def command_lines(page: str) -> Iterator[list[str]]:
    """The arguments of every `hiveden-backup ...` of a page: in shell blocks, and in running text."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    texts = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    texts += re.findall(rf"`({PROGRAM} [^`]+)`", page)
    for text in texts:
        if text.lstrip().startswith(("journalctl ", "ssh-keygen ")):  # which are told our name as an argument of theirs
            continue
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        words = list(lexer)
        while PROGRAM in words:
            words = words[words.index(PROGRAM) + 1 :]
            end = next((number for number, word in enumerate(words) if word[0] in "|;&<>"), len(words))
            yield words[:end]


@cache
def usage(*names: str) -> str:
    """What a command's --help prints."""
    result = CliRunner().invoke(app, [*names, "--help"], prog_name=PROGRAM)
    assert result.exit_code == 0
    return result.output


def listed(text: str, head: str) -> Mapping[str, bool]:
    """The names in one part of a help text; True for options that take a value."""
    part = re.search(rf"^{head}:\n((?: .*\n|\n)+)", f"{text}\n", re.MULTILINE)
    if part is None:
        return {}
    found = re.findall(r"^  (?:-\w, )?([\w-]+)(?: (\S+))?", part[1], re.MULTILINE)
    return {name: value.startswith("<") or value.isupper() for name, value in found}


def exists(words: Sequence[str]) -> bool:
    """Whether there are such a command and such options, with as many arguments and values as they need."""
    names: list[str] = []
    rest = list(words)
    while commands := listed(usage(*names), "Commands"):
        known = listed(usage(*names), "Options")
        while rest and known.get(rest[0]) is False:  # global options, none of which takes a value in the page
            rest.pop(0)
        if not rest or rest[0] not in commands:
            return False
        names.append(rest.pop(0))
    known = listed(usage(*names), "Options")
    given = 0
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            given += 1
        elif word not in known or (known[word] and not rest):
            return False
        elif known[word]:
            rest.pop(0)
    needed = re.findall(r"\{[A-Z]+\}| [A-Z]+(?= |$)", usage(*names).partition("\n")[0])
    return given >= len(needed)
