"""Glob patterns over bytes paths: what to exclude from a backup, and which part of one to restore.

`*` and `?` match within a path component, `**` any number of components, `[...]` one character of a set, `[!...]` one
that is not in it. A pattern with a leading `/` is matched against the whole absolute path; one with a slash elsewhere
against the end of any path that starts at a component (`**/cache` and `cache/tmp` match at any depth); one without a
slash against the last component alone. A pattern that matches a directory covers all that is below it.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence

from hiveden_backup.core.model import Source
from hiveden_backup.core.paths import inside

_NEGATIONS = ("!", "^")


def matcher(patterns: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path relative to `/` is matched itself by one of the patterns (what is above it is not looked at)."""
    expression = re.compile("|".join(map(_translate, patterns)) or "(?!)", re.DOTALL)
    return lambda path: expression.fullmatch(os.fsdecode(path)) is not None


def covering_matcher(patterns: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path relative to `/`, or a directory above it, is matched by one of the patterns."""
    whole = "|".join(map(_translate, patterns)) or "(?!)"
    expression = re.compile(f"(?:{whole})(?:/.*)?", re.DOTALL)
    return lambda path: expression.fullmatch(os.fsdecode(path)) is not None


def literal(path: str) -> str:
    """A pattern that matches just this path."""
    return re.sub(r"[*?[]", r"[\g<0>]", path)


def _translate(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part]
    expression = ""
    if not pattern.startswith("/"):
        while parts[:1] == ["**"] and len(parts) > 1:  # it may begin at any depth anyway
            del parts[0]
        expression = "(?:.*/)?"
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        if part == "**":
            expression += ".+" if last else "(?:.*/)?"
        else:
            expression += _component(part) + ("" if last else "/")
    return f"(?:{expression})" if parts else "(?!)"


def _component(part: str) -> str:
    expression = ""
    at = 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif char == "[" and (end := part.find("]", at + 1 + part.startswith(_NEGATIONS, at))) > 0:
            expression += _set(part[at:end])
            at = end + 1
        else:
            expression += re.escape(char)
    return expression


def _set(body: str) -> str:
    """An expression for one character of the set that stands between brackets."""
    negated = body.startswith(_NEGATIONS)
    expression = ""
    at = int(negated)
    while at < len(body):
        first, last = body[at], body[at]
        if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
            last = body[at + 2]
            at += 2
        at += 1
        if first <= last:  # else it is a range without characters
            expression += f"{re.escape(first)}-{re.escape(last)}"
    if not expression:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{expression}]"


def real_patterns(patterns: Sequence[str], sources: Sequence[Source]) -> Iterator[str]:
    """The patterns of a job, and below a path that is or lies behind a symbolic link those for where it leads to."""
    for pattern in patterns:
        yield pattern
        for source in sources:
            if source.path != source.name and inside(pattern, source.name):
                yield literal(source.path) + pattern[len(source.name.rstrip("/")) :]
