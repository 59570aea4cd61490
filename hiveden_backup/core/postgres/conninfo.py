"""libpq connection strings, keyword/value and URI: just enough to name the server and to notice a secret.

libpq has the last word on what is valid; what it accepts is read here with the same result, and tests hold one against
the other. Read by hand, since importing psycopg, which asks libpq, takes longer than a whole command that looks at the
configuration. Messages never quote a connection string, since it may hold a password.
"""

import re
from collections.abc import Mapping

_SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
_SCHEMES = ("postgresql://", "postgres://")
_SPACES = " \t\n\v\f\r"
_KEY = re.compile(rf"([^={_SPACES}]+)[{_SPACES}]*=[{_SPACES}]*")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BARE = re.compile(rf"((?:[^\\{_SPACES}]|\\.)*)\\?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NO_BYTE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%00")
_BYTE = re.compile(rb"%(..)")
_USER = re.compile(r"([^@/:]*)(?::([^@/]*))?@")
_HOST = re.compile(r"(?:\[([^\]]+)\](?=[:/?,]|\Z)|([^:/?,]*))(?::([^/?,]*))?")
_PORTS = re.compile(r"[0-9 ]*(?:,[0-9 ]*)*")


def parse(conninfo: str) -> dict[str, str]:
    """The keys of a connection string and their values, a later one of the same name winning. ValueError if broken."""
    values = _parse_uri(conninfo) if conninfo.startswith(_SCHEMES) else _parse_pairs(conninfo)
    if _PORTS.fullmatch(values.get("port", "")) is None:
        raise ValueError("its port is not a number")
    return values


def secrets(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """The names of those keys of a connection string that hold a secret."""
    found = tuple(key for key in parameters if key.lower() in _SECRETS)
    database = parameters.get("dbname", "")
    if not (database.startswith(_SCHEMES) or "=" in database):
        return found
    try:  # some tools expand a connection string that stands in place of a database's name
        return found + secrets(parse(database))
    except ValueError:
        return found  # a database of that odd name, then


def compose(parameters: Mapping[str, str]) -> str:
    """A libpq connection string: every value quoted, so that none is taken for something else."""

    def quoted(value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(f"{key}={quoted(value)}" for key, value in parameters.items())


def _parse_pairs(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    rest = text.lstrip(_SPACES)
    while rest:
        key = _KEY.match(rest)
        if key is None:
            raise ValueError("it is not made of key=value pairs")
        rest = rest[key.end() :]
        value = (_QUOTED if rest.startswith("'") else _BARE).match(rest)
        if value is None:
            raise ValueError("a quotation mark is not closed")
        values[key[1]] = _ESCAPED.sub(r"\1", value[1])
        rest = rest[value.end() :].lstrip(_SPACES)
    return values


def _parse_uri(uri: str) -> dict[str, str]:
    values: dict[str, str] = {}
    rest = uri[uri.index("://") + 3 :]
    account = _USER.match(rest)
    if account is not None:
        rest = rest[account.end() :]
        values |= {key: value for key, value in zip(("user", "password"), account.groups(), strict=True) if value}
    hosts, ports, rest = _parse_hosts(rest)
    values |= {key: value for key, value in (("host", ",".join(hosts)), ("port", ",".join(ports))) if value}
    path, _, query = rest.partition("?")
    if path[1:]:
        values["dbname"] = path[1:]
    for parameter in query.removesuffix("&").split("&") if query else ():
        key, separator, value = parameter.partition("=")
        if not separator or "=" in value:
            raise ValueError("a parameter after the ? is not of the form key=value")
        if (key, value) == ("ssl", "true"):
            key, value = "sslmode", "require"
        values[_decoded(key)] = value
    return {key: _decoded(value) for key, value in values.items()}


def _parse_hosts(text: str) -> tuple[list[str], list[str], str]:
    """The hosts, their ports, and what comes after them (nothing, or from the first / or ? on)."""
    hosts: list[str] = []
    ports: list[str] = []
    rest = "," + text
    while rest.startswith(","):
        match = _HOST.match(rest, 1)
        if match is None or (match[1] is None and match[2].startswith("[")):
            raise ValueError("an IPv6 address is not closed by a ]")
        hosts.append(match[1] or match[2] or "")
        ports.append(match[3] or "")
        rest = rest[match.end() :]
    return hosts, ports, rest


def _decoded(text: str) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    if _NO_BYTE.search(raw):
        raise ValueError("a % in it is not followed by two hexadecimal digits, or stands for NUL")
    try:
        return _BYTE.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), raw).decode()
    except UnicodeDecodeError:
        raise ValueError("what its % stand for is not UTF-8") from None
