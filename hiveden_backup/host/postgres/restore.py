"""A dump restored beside what is there: into a scratch database, which gets its name when it is complete."""

import contextlib
import re
import time
from pathlib import Path

from hiveden_backup.core.errors import BackupError, CorruptError, UsageError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import NAME_BYTES, Endpoint, PgTools
from hiveden_backup.host.postgres.connect import READABLE_MESSAGES, connect, translated
from hiveden_backup.host.postgres.count import row_counts
from hiveden_backup.host.postgres.driver import Connection, errors, sql
from hiveden_backup.host.postgres.inspect import extension_tables
from hiveden_backup.host.postgres.load import load, with_dumped_settings
from hiveden_backup.host.postgres.needs import check_server
from hiveden_backup.host.postgres.properties import put_properties, put_settings
from hiveden_backup.host.postgres.scratch import scratch_database

_BUSY_SECONDS = 15.0
_POLL_SECONDS = 0.1
_STORABLE = re.compile(r"[^\0\ud800-\udfff]*")
_SHOWN_TABLES = 5
_WRITABLE = "-c default_transaction_read_only=off -c statement_timeout=0"  # whatever the database's own settings say


def restore_new(endpoint: Endpoint, path: Path, facts: DatabaseFacts, name: str, tool: PgTools) -> tuple[str, ...]:
    """Restore a compressed dump into the new database `name`; returns the warnings that came with it.

    `name` appears when it is complete, analyzed and has every row that the manifest tells of; whatever fails before,
    nothing is left and nothing that existed was touched. What is missing on the server (roles, extensions, locale) is
    named before or as soon as it is known.
    """
    check_name(name)
    with contextlib.closing(connect(endpoint)) as connection:
        with translated(endpoint, f"preparing the restore of {name}"):
            _refuse_existing(connection, endpoint, name)
            warnings = check_server(connection, endpoint, facts, path)
        facts = with_dumped_settings(endpoint, path, facts, tool)
        with scratch_database(endpoint, facts) as scratch:
            with translated(endpoint, f"putting back the settings of {name}"):
                warnings += put_settings(connection, scratch, facts)
            superuser = connection.info.parameter_status("is_superuser") == "on"
            options = f"{_WRITABLE} {READABLE_MESSAGES if superuser else ''}"
            warnings += load(endpoint, path, scratch, tool, options=options)
            warnings += _complete(endpoint, scratch, facts, path)
            with translated(endpoint, f"putting back the privileges of {name}"):
                put_properties(connection, scratch, facts)
            _rename(endpoint, scratch, name)
    return warnings


def check_name(name: str) -> None:
    """UsageError when PostgreSQL would refuse a name, or cut it silently."""
    if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES or not _STORABLE.fullmatch(name):
        raise UsageError(
            f"A database cannot be called {name!r}",
            f"PostgreSQL's names have 1 to {NAME_BYTES} bytes of UTF-8",
            "Choose another name",
        )


def _complete(endpoint: Endpoint, scratch: str, facts: DatabaseFacts, path: Path) -> tuple[str, ...]:
    """Let the planner know the restored tables, and compare them with the manifest. Warnings concern extensions."""
    with (
        contextlib.closing(connect(endpoint, scratch)) as connection,
        translated(endpoint, "looking at what came back"),
    ):
        connection.execute("SET row_security = off; SET default_transaction_read_only = off")
        connection.execute("ANALYZE")
        counted = {table.name: table.rows for table in row_counts(connection)}
        members = extension_tables(connection)
    expected = {table.name: table.rows for table in facts.tables}
    unknown = [name for name in expected.keys() & counted.keys() if None in (expected[name], counted[name])]
    differences = {
        name: f"{name} has {_rows(counted.get(name))} instead of {_rows(expected.get(name))}"
        for name in sorted(expected.keys() | counted.keys())
        if name not in unknown and expected.get(name) != counted.get(name)
    }
    wrong = [text for name, text in differences.items() if name not in members]
    if wrong:
        more = f", and {len(wrong) - _SHOWN_TABLES} more" if len(wrong) > _SHOWN_TABLES else ""
        raise CorruptError(
            f"What was restored from {path} is not what its manifest says",
            ", ".join(wrong[:_SHOWN_TABLES]) + more,
            "Nothing was changed: use another backup, and report this",
        )
    uncompared = (
        [f"The rows of {', '.join(sorted(unknown))} were not compared: they could not be counted"] if unknown else []
    )
    return (*(f"{text}: it belongs to an extension" for text in differences.values()), *uncompared)


def _rows(count: int | None) -> str:
    return "no table" if count is None else f"{count} rows"


def _refuse_existing(connection: Connection, endpoint: Endpoint, name: str) -> None:
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None:
        raise _exists(endpoint, name)


def _rename(endpoint: Endpoint, scratch: str, name: str) -> None:
    """Give the finished database its name, as soon as the last backend has left it."""
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(scratch), sql.Identifier(name))
    deadline = time.monotonic() + _BUSY_SECONDS
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, f"naming the database {name}"):
        while True:
            try:
                connection.execute(statement)
            except errors.DuplicateDatabase as error:
                raise _exists(endpoint, name) from error
            except errors.ObjectInUse:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return


def _exists(endpoint: Endpoint, name: str) -> BackupError:
    return BackupError(
        f"The database {name} exists on {endpoint.name} already",
        "A restore never writes over what is there",
        "Choose another name with --as",
    )
