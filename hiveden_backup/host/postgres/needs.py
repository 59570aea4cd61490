"""What a restore needs of a server: a version not older, roles, extensions. All that is missing, before the restore."""

import re
import shlex
from pathlib import Path

from hiveden_backup.core.backup.layout import globals_beside, globals_of
from hiveden_backup.core.errors import BackupError, NotFoundError, UnreachableError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import Endpoint, major_of
from hiveden_backup.host.postgres.driver import Connection
from hiveden_backup.host.process import ProcessError

_MISSING_ROLE = re.compile(r'role "(.+?)" does not exist')
_MISSING_TABLESPACE = re.compile(r'tablespace "(.+?)" does not exist')
_MISSING_EXTENSION = re.compile(r'extension "(.+?)" is not available')
_TIMESCALE = "timescaledb"


def check_server(connection: Connection, endpoint: Endpoint, facts: DatabaseFacts, path: Path) -> tuple[str, ...]:
    """Raise when the server is too old for a dump, or lacks a role or an extension; warnings of what it lacks else."""
    major, dumped = connection.info.server_version // 10000, major_of(facts.server_version)
    if dumped > major:
        raise BackupError(
            f"A dump of PostgreSQL {dumped} cannot be restored to {endpoint.name}, which runs {major}",
            "An older server does not understand all of it",
            f"Restore to PostgreSQL {dumped} or newer",
        )
    if any(extension.name == _TIMESCALE for extension in facts.extensions):
        raise BackupError(
            f"A database with TimescaleDB cannot be restored to {endpoint.name} by this program",
            "Its own functions have to be called before and after pg_restore",
            "Follow TimescaleDB's manual: timescaledb_pre_restore(), pg_restore, timescaledb_post_restore(); "
            f"the dump is {path}",
        )
    roles = [row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()]
    missing = sorted(_needed_roles(facts).difference(roles))
    if missing:
        raise _missing_roles(missing, endpoint, path)
    query = "SELECT name, default_version FROM pg_available_extensions"
    known: dict[str, str] = dict(connection.execute(query).fetchall())
    lacking = [f"{each.name} {each.version}" for each in facts.extensions if each.name not in known]
    if lacking:
        raise _missing_extension(", ".join(lacking), endpoint)
    warnings = [
        f"The extension {each.name} had the version {each.version}, and gets {known[each.name]} on {endpoint.name}"
        for each in facts.extensions
        if known[each.name] != each.version
    ]
    spaces = {name for (name,) in connection.execute("SELECT spcname FROM pg_tablespace").fetchall()}
    if facts.tablespace and facts.tablespace not in spaces:
        warnings.append(f"The tablespace {facts.tablespace} does not exist on {endpoint.name}: its default is used")
    return tuple(warnings)


def explained(error: ProcessError, endpoint: Endpoint, path: Path) -> BackupError | None:
    """What pg_restore found missing on the server; None when that is not why it failed."""
    role, extension = _MISSING_ROLE.search(error.stderr), _MISSING_EXTENSION.search(error.stderr)
    if role is not None:
        return _missing_roles([role[1]], endpoint, path)
    if extension is not None:
        return _missing_extension(extension[1], endpoint)
    tablespace = _MISSING_TABLESPACE.search(error.stderr)
    return None if tablespace is None else _missing(f"The tablespace {tablespace[1]} does", endpoint, path)


def _needed_roles(facts: DatabaseFacts) -> set[str]:
    return {
        facts.owner,
        *facts.roles,
        *(grant.grantee for grant in facts.grants or () if grant.grantee),
        *(setting.role for setting in facts.settings if setting.role),
    }


def _missing_roles(roles: list[str], endpoint: Endpoint, path: Path) -> NotFoundError:
    several = f"The roles {', '.join(roles)} do" if len(roles) > 1 else f"The role {roles[0]} does"
    return _missing(several, endpoint, path)


def _missing(what: str, endpoint: Endpoint, path: Path) -> NotFoundError:
    name = globals_beside(path.name)
    file = str(path.with_name(name)) if name is not None else globals_of("SERVER")
    command = f"zstd -dc {shlex.quote(file)} | {_psql(endpoint)}"
    return NotFoundError(
        f"{what} not exist on {endpoint.name}",
        "What the dump holds needs that",
        f"Create what is missing, or restore all roles and tablespaces on that server: {command}",
    )


def _psql(endpoint: Endpoint) -> str:
    """The command that feeds a script to a server, as a person types it."""
    user, host = endpoint.parameters.get("user", ""), endpoint.parameters.get("host", "")
    if endpoint.door is not None:
        return shlex.join(["docker", "exec", "-i", endpoint.name, "psql", "-U", user, "-d", "postgres"])
    become = ["runuser", "-u", endpoint.os_user, "--"] if endpoint.os_user is not None else []
    where = ["-h", host, "-p", endpoint.parameters["port"]] if "port" in endpoint.parameters else ["-h", host]
    return shlex.join([*become, "psql", *where, "-U", user, "-d", "postgres"])


def _missing_extension(names: str, endpoint: Endpoint) -> UnreachableError:
    return UnreachableError(
        f"{endpoint.name} does not have what the database needs: {names}",
        "These extensions are not installed there",
        "Install their packages on that server, then try again",
    )
