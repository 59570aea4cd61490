"""The rules for settings that a database carries: which may hold a secret, and how a stored list is taken apart."""

import re

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
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|jwt|cred|salt|auth|private|cert|sign|dsn|ur[il]", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/\s]*:[^/\s]*@|pass(word|wd)?\s*=", re.IGNORECASE)
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]*?))\s*(?:,|$)')


def may_be_secret(name: str, value: str) -> bool:
    """Whether a setting is one of those that applications keep a password or a key in.

    PostgreSQL's own settings hold none; names with a dot belong to extensions and applications.
    """
    return "." in name and bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


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
