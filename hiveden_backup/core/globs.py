"""Glob patterns over bytes paths: what to exclude from a backup, and which part of one to restore.

`*` and `?` match within a path component, `**` any number of components, `[...]` one character of a set, `[!...]` one
that is not in it. A pattern with a leading `/` is matched against the whole absolute path; one with a slash elsewhere
against the end of any path that starts at a component (`**/cache` and `cache/tmp` match at any depth); one without a
slash against the last component alone. A pattern that matches a directory covers all that is below it.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from hiveden_backup.core.model import Source, SourceKind
from hiveden_backup.core.paths import inside

_NEGATIONS = ("!", "^")


class Globs:
    """Whether paths are matched by one of the patterns, and which patterns matched none of those that were asked about.

    With `covering`, a path is also matched when a directory above it is.
    """

    __slots__ = ("_name", "_path", "_waiting")

    def __init__(self, patterns: Iterable[str], *, covering: bool = False) -> None:
        tail = "(?:/.*)?" if covering else ""
        names: dict[str, str] = {}
        paths: dict[str, str] = {}
        for pattern in patterns:
            parts, anchored = _parts(pattern)
            if len(parts) == 1 and not anchored and not covering:
                names[pattern] = _component(parts[0])
            else:
                paths[pattern] = _translate(parts, anchored=anchored) + tail
        self._name = _compiled(names.values())
        self._path = _compiled(paths.values())
        self._waiting = [(pattern, True, _compiled([each])) for pattern, each in names.items()]
        self._waiting += [(pattern, False, _compiled([each])) for pattern, each in paths.items()]

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The patterns that matched nothing yet."""
        return tuple(pattern for pattern, _, _ in self._waiting)

    def matches(self, path: bytes) -> bool:
        """Whether a path relative to `/` is matched."""
        text = os.fsdecode(path)
        name = text[text.rfind("/") + 1 :]
        if self._name(name) is None and self._path(text) is None:
            return False
        if self._waiting:  # what is left out costs a little more thus; what stays, which is most, does not
            self._waiting = [each for each in self._waiting if each[2](name if each[1] else text) is None]
        return True


def _compiled(expressions: Iterable[str]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(expressions) or "(?!)", re.DOTALL).fullmatch


def matcher(patterns: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether a path relative to `/` is matched itself by one of the patterns (what is above it is not looked at)."""
    return Globs(patterns).matches


def covering_matcher(patterns: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether a path relative to `/`, or a directory above it, is matched by one of the patterns."""
    return Globs(patterns, covering=True).matches


def literal(path: str) -> str:
    """A pattern that matches just this path."""
    return re.sub(r"[*?[]", r"[\g<0>]", path)


def _parts(pattern: str) -> tuple[list[str], bool]:
    """The components of a pattern, and whether they are those of a whole path."""
    parts = [part for part in pattern.split("/") if part]
    anchored = pattern.startswith("/")
    while not anchored and parts[:1] == ["**"] and len(parts) > 1:  # it may begin at any depth anyway
        del parts[0]
    return parts, anchored


def _translate(parts: Sequence[str], *, anchored: bool) -> str:
    expression = "" if anchored else "(?:.*/)?"
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
        yield from real_forms(pattern, sources)


def real_forms(pattern: str, sources: Sequence[Source]) -> Iterator[str]:
    """A pattern of a job, and what it says of each path behind a symbolic link."""
    yield pattern
    for source in sources:
        behind = source.kind is SourceKind.PATH and source.path != source.name  # a volume's name is no path
        if behind and inside(pattern, source.name):
            yield literal(source.path) + pattern[len(source.name.rstrip("/")) :]
