"""The rules for settings that a database carries: which may hold a secret, how they are written and read."""

import re
from collections.abc import Mapping

# What PostgreSQL stores as a list of quoted names, to be set as several values and not as one.
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]*?))\s*(?:,|$)')
_IDENTIFIER = r'("(?:[^"]|"")*"|[^\s"]+)'
_ALTER = re.compile(
    rf"^ALTER (?:ROLE {_IDENTIFIER} IN )?DATABASE {_IDENTIFIER} SET {_IDENTIFIER} TO +(E?)'((?:[^']|'')*)';$",
    re.MULTILINE,
)
_CONNECT = re.compile(r"^\\connect .*$", re.MULTILINE)


def may_be_secret(name: str) -> bool:
    """Whether a setting may hold a password or a key: those with a dot belong to extensions and applications."""
    return "." in name


def values(name: str, value: str) -> tuple[str, ...]:
    """What to write behind `SET name TO` for a stored value: the items of a list, else the one value."""
    if name.lower() not in _LISTS:
        return (value,)
    items, at = [], 0
    while at < len(value):
        match = _ITEM.match(value, at)
        if match is None:
            return (value,)
        quoted, plain = match.groups()
        items.append(plain if quoted is None else quoted.replace('""', '"'))
        at = match.end()
    return tuple(items) or ("",)


def dumped(script: str) -> Mapping[tuple[str, str], str]:
    """The values that a dump has, by role ("" for all) and name; `script` is what `pg_restore --create` makes of it.

    Only what comes before it connects for the second time counts: from there on, it is the content's own text.
    """
    ends = [match.start() for match in _CONNECT.finditer(script)]
    head = script[: ends[1]] if len(ends) > 1 else script
    return {
        (_unquoted(role or ""), _unquoted(name)): _text(value, escaped=bool(escape))
        for role, _, name, escape, value in _ALTER.findall(head)
    }


def _text(literal: str, *, escaped: bool) -> str:
    """What stands between the quotes of a literal; `escaped` is for one with E, where backslashes are doubled too."""
    text = literal.replace("''", "'")
    return text.replace("\\\\", "\\") if escaped else text


def _unquoted(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier
