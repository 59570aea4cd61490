"""Dotted keys as TOML writes them (`jobs.immich."odd name"`), and text made fit to be quoted in a message."""

import re

Key = tuple[str, ...]
"""The way to a value: the names of the tables from the top, then its own."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"""\s*(?:(?P<bare>[A-Za-z0-9_-]+)|"(?P<basic>[^"\\]*)"|'(?P<literal>[^']*)')\s*(?P<end>\.|\Z)""")
_SHOWN = 500  # long enough for a path


def split(text: str) -> Key:
    """The parts of a dotted key; quoted ones as they are (no escapes). ValueError when it is none."""
    parts = []
    at, end = 0, "."
    while end:
        part = _PART.match(text, at)
        if part is None:
            raise ValueError(f"not a dotted key: {quoted(text)}")
        parts.append(next(value for value in part.group("bare", "basic", "literal") if value is not None))
        at, end = part.end(), part["end"]
    return tuple(parts)


def join(key: Key) -> str:
    """The dotted key, parts quoted where TOML wants them so."""
    return ".".join(part if _BARE.fullmatch(part) else quoted(part) for part in key)


def quoted(text: str) -> str:
    """`text` in quotation marks, cut when long, with whatever could upset a terminal escaped."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f'"{"".join(_visible(char) for char in cut)}"'


def _visible(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04X}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08X}"  # noqa: PLR2004 - the end of the BMP
