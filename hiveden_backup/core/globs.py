"""Glob patterns over bytes paths: what to exclude from a backup, and which part of one to restore.

`*` and `?` match within a path component, `**` any number of components, `[...]` one character of a set.
A pattern with a leading `/` is matched against the whole absolute path; one with a slash elsewhere against the end of
any path that starts at a component (`**/cache` and `cache/tmp` match at any depth); one without a slash against the
last component alone. A pattern that matches a directory covers all that is below it.
"""

import os
import re
from collections.abc import Callable, Sequence


def matcher(patterns: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path relative to `/` is matched itself by one of the patterns (what is above it is not looked at)."""
    expression = re.compile(b"|".join(_translate(os.fsencode(pattern)) for pattern in patterns), re.DOTALL)
    return lambda path: expression.fullmatch(path) is not None


def covering_matcher(patterns: Sequence[str]) -> Callable[[bytes], bool]:
    """Whether a path relative to `/`, or a directory above it, is matched by one of the patterns."""
    whole = b"|".join(_translate(os.fsencode(pattern)) for pattern in patterns)
    expression = re.compile(b"(?:" + whole + b")(?:/.*)?", re.DOTALL)
    return lambda path: expression.fullmatch(path) is not None


def _translate(pattern: bytes) -> bytes:
    anchored = pattern.startswith(b"/")
    parts = [part for part in pattern.split(b"/") if part]
    expression = b"" if anchored else b"(?:.*/)?"
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == b"**":
            expression += b".*" if last else b"(?:.*/)?"
        else:
            expression += _component(part) + (b"" if last else b"/")
    return b"(?:" + expression + b")"


def _component(part: bytes) -> bytes:
    expression = b""
    at = 0
    while at < len(part):
        char = part[at : at + 1]
        at += 1
        if char == b"*":
            expression += b"[^/]*"
        elif char == b"?":
            expression += b"[^/]"
        elif char == b"[" and (end := part.find(b"]", at + 2 if part[at : at + 1] in {b"!", b"^"} else at + 1)) > 0:
            body = part[at:end].replace(b"\\", b"\\\\").replace(b"[", b"\\[")
            negated = body[:1] in {b"!", b"^"}
            body = body[1:] if negated else body
            expression += b"(?!/)[" + (b"^" if negated else b"") + body.replace(b"^", b"\\^") + b"]"
            at = end + 1
        else:
            expression += re.escape(char)
    return expression
