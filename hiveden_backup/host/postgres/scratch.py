"""Databases that exist only while something is restored, and leave nothing behind."""

import contextlib
import re
import secrets
import time
from collections.abc import Iterator

from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import SCRATCH_PREFIX, Endpoint
from hiveden_backup.host.postgres.connect import connect, patient, translated
from hiveden_backup.host.postgres.driver import Connection, errors, sql
from hiveden_backup.host.postgres.occupied import drop_subscriptions, held, prepared
from hiveden_backup.host.postgres.patience import CHANGE_SECONDS

_NAME = re.compile(rf"{SCRATCH_PREFIX}[0-9a-f]{{16}}")
_BUSY_SECONDS = 15.0
_POLL_SECONDS = 0.1
_PROVIDERS_SINCE = 150000
_NEEDED_MAJOR = {"icu": 15, "builtin": 17}

# Whoever works on one keeps a connection with its name as application_name.
_LEFT_OVER = """
    SELECT d.datname FROM pg_database AS d
    WHERE starts_with(d.datname, %s)
      AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.application_name = d.datname OR a.datid = d.oid)
    ORDER BY 1
"""


@contextlib.contextmanager
def scratch_database(endpoint: Endpoint, facts: DatabaseFacts) -> Iterator[str]:
    """The name of a new empty database with these facts, made from template0; dropped when the block is left.

    It stays when it was renamed by then.
    """
    name = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}"
    with contextlib.closing(connect(endpoint, application=name)) as connection:
        try:
            with translated(endpoint, "creating a scratch database"), patient(connection, CHANGE_SECONDS):
                _create(connection, endpoint, name, facts)
            yield name
        except BaseException as error:
            drop_after(endpoint, name, error)
            raise
        drop_database(endpoint, name)


def sweep_scratch(endpoint: Endpoint) -> tuple[str, ...]:
    """Drop the scratch databases that nobody works on any more; their names."""
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, "looking for scratch databases"):
        rows = connection.execute(_LEFT_OVER, (SCRATCH_PREFIX,)).fetchall()
    names = tuple(name for (name,) in rows if _NAME.fullmatch(name))
    for name in names:
        drop_database(endpoint, name)
    return names


def drop_database(endpoint: Endpoint, name: str) -> tuple[str, ...]:
    """Drop a database of ours if it is there, ending whoever is connected to it; what it leaves elsewhere, in words.

    BackupError names who does not let go of it.
    """
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    deadline = time.monotonic() + _BUSY_SECONDS
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, f"dropping the database {name}"):
        notes = drop_subscriptions(connection, endpoint, name)
        while True:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            try:
                with patient(connection, CHANGE_SECONDS):
                    connection.execute(statement)
            except errors.ObjectInUse as error:
                if time.monotonic() >= deadline or prepared(connection, [name]):
                    what = f"The database {name} on {endpoint.name} cannot be dropped"
                    raise BackupError(what, *held(connection, [name])) from error
                time.sleep(_POLL_SECONDS)
            else:
                return notes


def drop_after(endpoint: Endpoint, name: str, error: BaseException) -> None:
    """Drop what a failure left. When that fails too, the first error is still the one to tell; it says what is left."""
    try:
        drop_database(endpoint, name)
    except BackupError as failure:
        add(
            error, f"The scratch database {name} is still there, to be dropped when the server is well again: {failure}"
        )


def add(error: BaseException, text: str) -> None:
    """Have an error tell one thing more, on the screen too where it is one of ours."""
    error.add_note(text)
    if isinstance(error, BackupError):
        error.hint = f"{error.hint}. {text}" if error.hint else text


def _create(connection: Connection, endpoint: Endpoint, name: str, facts: DatabaseFacts) -> None:
    version = connection.info.server_version
    provider = facts.locale_provider
    if version // 10000 < _NEEDED_MAJOR.get(provider, 0):
        raise BackupError(
            f"{endpoint.name} cannot hold a database with the locale provider {provider}",
            f"That needs PostgreSQL {_NEEDED_MAJOR[provider]}, and it is {version // 10000}",
            "Restore to a newer server",
        )
    options = [("TEMPLATE", sql.Identifier("template0")), ("OWNER", sql.Identifier(facts.owner))]
    texts = [("ENCODING", facts.encoding), ("LC_COLLATE", facts.locale), ("LC_CTYPE", facts.ctype)]
    if version >= _PROVIDERS_SINCE:
        texts.append(("LOCALE_PROVIDER", provider))
    if provider != "libc":
        texts.append((f"{provider.upper()}_LOCALE", facts.icu_locale))
    if facts.icu_rules:
        texts.append(("ICU_RULES", facts.icu_rules))
    known = "SELECT 1 FROM pg_tablespace WHERE spcname = %s"
    if facts.tablespace and connection.execute(known, (facts.tablespace,)).fetchone() is not None:
        options.append(("TABLESPACE", sql.Identifier(facts.tablespace)))
    parts = [sql.SQL(f"{key} = {{}}").format(value) for key, value in options]
    parts += [sql.SQL(f"{key} = {{}}").format(sql.Literal(value)) for key, value in texts]
    try:
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(parts)))
    except errors.WrongObjectType as error:
        raise UnreachableError(
            f"{endpoint.name} does not know the locale of this database",
            str(error.diag.message_primary),
            "Install it there (on Debian: dpkg-reconfigure locales), restart PostgreSQL, and try again",
        ) from error
