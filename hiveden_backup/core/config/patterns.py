"""What a pattern of `exclude` cannot be: what other programs, and shells, would read it as has no meaning here.

Each of these is also a name that a file could have, however odd. Its pattern can still be written: with the character
that is special elsewhere in brackets (`[$]HOME`), or with `**/` before it (`**/!keep`).
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from hiveden_backup.core.config.keys import quoted
from hiveden_backup.core.config.rules import Fault
from hiveden_backup.core.globs import covering_matcher

_SETS = re.compile(r"\[[!^]?[^]/]+\]")
_BRACES = re.compile(r"\{[^{}/]*(,|\.\.)[^{}/]*\}")
_VARIABLE = re.compile(r"\$(\{\w+\}|\([^)]*\)|[A-Za-z_]\w*$)")
_PREFIX = re.compile(r"(re|regexp?|rx|glob|iglob|sh|pp|pf|fm|path|ignorecase|rootglob):|[+-] ")
_ANYWHERE = "A pattern without a leading / is found at any depth; one for a single place begins with /"
_ODD_NAME = "For a name that really begins so, write"


def exclude_pattern(text: str) -> Fault | None:
    """What is wrong with a pattern, if it cannot mean anything."""
    return next(chain(_blanks(text), _parts(text), _marks(text), _shell(text), _everything(text)), None)


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern for whole paths leaves out all of a path of the job."""
    if not pattern.startswith("/"):
        return False  # it holds below the job's paths, whatever these are called
    head = re.split(r"[*?[]", pattern, maxsplit=1)[0].rstrip("/")
    return path.startswith(head) and covering_matcher([pattern])(path.strip("/").encode(errors="surrogateescape"))


def _blanks(text: str) -> Iterator[Fault]:
    if text != text.strip():
        yield Fault(
            f"{quoted(text)} begins or ends with a blank",
            f"Write {quoted(text.strip())}; for a name that really has it, [ ] stands for it",
        )


def _parts(text: str) -> Iterator[Fault]:
    parts = text.split("/")
    if ".." in parts:
        yield Fault(f"{quoted(text)} goes up by .., which no path of a backup does", "Write the whole path, from / on")
    elif text == "." or text.startswith("./"):
        yield Fault(f"{quoted(text)} is meant from a directory, but there is none that it could begin in", _ANYWHERE)
    elif "." in parts:
        normal = "/".join(part for part in parts if part != ".")
        yield Fault(f"{quoted(text)} has a . between slashes, which no path of a backup has", f"Write {quoted(normal)}")
    elif parts[0].startswith("~") and (text == "~" or len(parts) > 1):
        hint = f"Write it out, such as {quoted('/home/anna/' + '/'.join(parts[1:]))}"
        yield Fault(f"{quoted(text)} begins with ~, which only a shell takes for a home directory", hint)


def _marks(text: str) -> Iterator[Fault]:
    """Marks that change in other programs what follows them."""
    odd = f"{_ODD_NAME} {quoted(f'**/{text}')}"
    prefix = _PREFIX.match(text)
    if text.startswith("!"):
        yield Fault(
            f"{quoted(text)} would bring something back, which exclude cannot",
            f"Let the other patterns leave it: [!x]* is all that does not begin with x. {odd}",
        )
    elif text.startswith("# "):
        yield Fault(f"{quoted(text)} is a comment inside of a string", f"Put # before the quotation mark. {odd}")
    elif prefix is not None:
        yield Fault(
            f"{quoted(text)} begins with {quoted(prefix[0])}, which other programs know",
            f"Here all patterns are globs: *, ?, ** and [a-z]. {odd}",
        )


def _shell(text: str) -> Iterator[Fault]:
    """What only a shell would put something else in the place of."""
    bare = _SETS.sub("x", text)
    braces = _BRACES.search(bare)
    if any(_VARIABLE.match(part) or "${" in part for part in bare.split("/")):
        yield Fault(
            f"{quoted(text)} names a variable, which only a shell knows",
            "Write its value; for a name that really has it, [$] stands for a $",
        )
    elif braces is not None:
        yield Fault(
            f"{quoted(text)} has alternatives in braces, which only a shell knows",
            f"{_each_alternative(bare, braces)}; for a name that really has it, [{{] stands for a brace",
        )


def _each_alternative(text: str, braces: re.Match[str]) -> str:
    if braces[1] != ",":
        return "Write one pattern for each"
    before, after = text[: braces.start()], text[braces.end() :]
    return f"Write one pattern for each: {_listed(before + each + after for each in braces[0][1:-1].split(','))}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(map(quoted, texts))


def _everything(text: str) -> Iterator[Fault]:
    parts = [part for part in text.split("/") if part]
    short = len(parts) <= 2 and not text.startswith("/")  # noqa: PLR2004 - each path below a root has two parts
    if not text.strip("/*") or (short and all("*" in part and part.strip("*") in {"", "?"} for part in parts)):
        yield Fault(f"{quoted(text)} excludes everything", "Remove it")
