"""A dump restored beside what is there: into a scratch database, which gets its name when it is complete."""

import contextlib
import re
import time
from dataclasses import replace
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, UsageError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.restoring import Difference, compared, read_by_content, search_path
from hiveden_backup.core.postgres.values import NAME_BYTES, Endpoint, PgTools
from hiveden_backup.host.postgres.connect import connect, patient, reason, session_options, translated
from hiveden_backup.host.postgres.count import row_counts
from hiveden_backup.host.postgres.driver import Connection, errors, psycopg, sql
from hiveden_backup.host.postgres.inspect import extension_tables
from hiveden_backup.host.postgres.load import load, with_dumped_settings
from hiveden_backup.host.postgres.needs import check_server
from hiveden_backup.host.postgres.patience import CHANGE_SECONDS
from hiveden_backup.host.postgres.properties import put_properties, put_settings
from hiveden_backup.host.postgres.scratch import scratch_database

_BUSY_SECONDS = 15.0
_POLL_SECONDS = 0.1
_STORABLE = re.compile(r"[^\0\ud800-\udfff]*")
_SUBSCRIPTIONS = """
    SELECT s.subname FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid
    WHERE d.datname = current_database() ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """How a restored database differs from what was dumped, and what is to be said of it else."""

    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]


def restore_new(endpoint: Endpoint, path: Path, facts: DatabaseFacts, name: str, tool: PgTools) -> Restored:
    """Restore a compressed dump into the new database `name`, as far as the server takes it.

    `name` appears when all was tried, and it is analyzed and compared with what the manifest tells. When an error is
    raised instead, nothing is left and nothing that existed was touched. What is missing on the server (roles,
    extensions, locale) is named before or as soon as it is known.
    """
    check_name(name)
    with contextlib.closing(connect(endpoint)) as connection:
        with translated(endpoint, f"preparing the restore of {name}"):
            _refuse_existing(connection, endpoint, name)
            warnings = check_server(connection, endpoint, facts, path)
        facts = with_dumped_settings(endpoint, path, facts, tool)
        with scratch_database(endpoint, facts) as scratch:
            warnings += _put_settings(connection, endpoint, scratch, facts, before=True)
            superuser = connection.info.parameter_status("is_superuser") == "on"
            options = session_options(connection.info.server_version, superuser=superuser)
            missing, said = load(endpoint, path, scratch, tool, facts, options=options)
            differences, noted = _complete(endpoint, scratch, facts)
            warnings += (*said, *noted, *_put_settings(connection, endpoint, scratch, facts, before=False))
            with translated(endpoint, f"putting back the privileges of {name}"):
                put_properties(connection, scratch, facts)
            _rename(endpoint, scratch, name)
    return Restored((*missing, *differences), warnings)


def check_name(name: str) -> None:
    """UsageError when PostgreSQL would refuse a name, or cut it silently."""
    if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES or not _STORABLE.fullmatch(name):
        raise UsageError(
            f"A database cannot be called {name!r}",
            f"PostgreSQL's names have 1 to {NAME_BYTES} bytes of UTF-8",
            "Choose another name",
        )


def _put_settings(
    connection: Connection, endpoint: Endpoint, name: str, facts: DatabaseFacts, *, before: bool
) -> tuple[str, ...]:
    """Put back what the content may ask for before it comes, and all other settings when it is there."""
    chosen = tuple(setting for setting in facts.settings if read_by_content(setting) is before)
    with translated(endpoint, f"putting back the settings of {name}"):
        return put_settings(connection, name, replace(facts, settings=chosen))


def _complete(endpoint: Endpoint, scratch: str, facts: DatabaseFacts) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Let the planner know the restored tables, and compare them with the manifest; differences, and warnings."""
    warnings: list[str] = []
    with (
        contextlib.closing(connect(endpoint, scratch)) as connection,
        translated(endpoint, "looking at what came back"),
    ):
        counted, members = row_counts(connection), extension_tables(connection)
        disabled = [name for (name,) in connection.execute(_SUBSCRIPTIONS).fetchall()]
        connection.execute("SELECT set_config('search_path', %s, false)", (search_path(facts),))
        try:  # it looks at expressions of indexes, and so at what these ask for
            with patient(connection, None):
                connection.execute("ANALYZE")
        except psycopg.ProgrammingError as error:
            warnings.append(f"The planner was not told of all tables, run ANALYZE in it: {reason(error)}")
    if disabled:
        warnings.append(f"Subscriptions come back disabled, enable them when it is time: {', '.join(disabled)}")
    differences, notes = compared(facts.tables, counted, members)
    return differences, (*warnings, *notes)


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
                with patient(connection, CHANGE_SECONDS):
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
