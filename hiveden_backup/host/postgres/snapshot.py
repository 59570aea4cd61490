"""A moment of a database, held still until it is dumped: its tables locked against TRUNCATE, its snapshot exported."""

import contextlib
import time
from collections.abc import Iterator

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import Endpoint
from hiveden_backup.host.postgres.connect import (
    APPLICATION,
    connect,
    milliseconds,
    patient,
    translated,
)
from hiveden_backup.host.postgres.count import Counts, counts
from hiveden_backup.host.postgres.driver import Connection, errors, sql
from hiveden_backup.host.postgres.inspect import USER_SCHEMA, database_facts
from hiveden_backup.host.postgres.occupied import Prepared, settle_hint
from hiveden_backup.host.postgres.patience import ANSWER_SECONDS

_TRYING_SECONDS = 5.0

# What pg_dump itself locks. What we may not lock it refuses, with a better reason than ours. It passes over most tables
# that belong to an extension.
_LOCKABLE = """
    SELECT c.oid, n.nspname, c.relname,
           NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                       AND d.objsubid = 0 AND d.deptype = 'e')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {schema}
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
"""

# A prepared transaction has no backend any more; of its locks, one is on its own number.
_IN_THE_WAY = """
    SELECT format('%I.%I', n.nspname, c.relname), l.pid, a.application_name, a.usename, coalesce(a.state, ''),
           p.gid, p.owner, to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS TZ')
    FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    LEFT JOIN pg_locks AS own ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
                             AND own.virtualtransaction = l.virtualtransaction
    LEFT JOIN pg_prepared_xacts AS p ON p.transaction = own.transactionid
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p') AND l.pid IS DISTINCT FROM pg_backend_pid()
    ORDER BY l.granted DESC, a.xact_start LIMIT 1
"""

_BLOCKED = """
    SELECT a.pid, a.application_name, a.usename, coalesce(to_char(a.query_start, 'HH24:MI:SS'), '')
    FROM pg_stat_activity AS a
    WHERE a.datname = current_database() AND pg_backend_pid() = ANY (pg_blocking_pids(a.pid))
    ORDER BY a.query_start
"""

_JOINED = """
    SELECT count(DISTINCT l.relation) FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid
    WHERE a.application_name = %s AND a.datname = current_database()
      AND l.mode = 'AccessShareLock' AND l.granted AND l.relation = ANY (%s)
"""


@dataclass(frozen=True, slots=True)
class _Lockable:
    """A table to lock. `own` is false for one that belongs to an extension."""

    oid: int
    schema: str
    name: str
    own: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A held moment of the database `dbname`. `id` is what `pg_dump --snapshot` takes, `encoding` the database's own.

    `tables` are the oids of the locked tables, without those that belong to an extension.

    Every method asks through the connection that holds it.
    """

    id: str
    dbname: str
    endpoint: Endpoint
    encoding: str
    server_version: int
    superuser: bool
    tables: tuple[int, ...]
    connection: Connection

    def facts(self) -> DatabaseFacts:
        """What the database was made with; without its tables, whose rows take long to count.

        UnreachableError when the moment is not held any more.
        """
        with self._asking("asking what the database was made with"):
            return database_facts(self.connection)

    def counts(self) -> Counts:
        """The rows of every table that the dump has data of, as far as they can be counted.

        Looking into the dump for them, as it passes, would cost several times what the server needs to count.
        """
        with self._asking(f"counting the rows of {self.dbname}"):
            return counts(self.connection)

    def blocked(self) -> tuple[str, ...]:
        """A description of each backend that waits for us at this moment."""
        with self._asking("looking who waits for the dump"):
            self.connection.execute("SELECT pg_stat_clear_snapshot()")
            rows = self.connection.execute(_BLOCKED).fetchall()
        return tuple(
            f"{_who(application, user, pid)} waits{since and f' since {since}'} for a table of {self.dbname}"
            " that is being dumped"
            for pid, application, user, since in rows
        )

    def joined(self, application: str) -> bool:
        """Whether the pg_dump of this application_name holds its own locks on all tables.

        Before that, a backend that waits for us would stand in its way, and both would wait until its lock timeout.
        """
        with self._asking("looking how far the dump is"):
            self.connection.execute("SELECT pg_stat_clear_snapshot()")
            row = self.connection.execute(_JOINED, (application, list(self.tables))).fetchone()
        return row is not None and row[0] >= len(self.tables)

    def _asking(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return translated(self.endpoint, doing)


@contextlib.contextmanager
def hold(endpoint: Endpoint, dbname: str, *, lock_timeout: float, application: str = APPLICATION) -> Iterator[Snapshot]:
    """Hold a moment of `dbname`: what is committed now is what a dump with this snapshot has, whatever happens after.

    Takes ACCESS SHARE on every table first, waiting at most `lock_timeout` seconds for each; BackupError names one
    that stayed locked.
    """
    with contextlib.closing(connect(endpoint, dbname, application=application)) as connection:
        with translated(endpoint, f"holding a snapshot of {dbname}"):
            snapshot = _snapshot(connection, endpoint, dbname, lock_timeout)
        yield snapshot


def _snapshot(connection: Connection, endpoint: Endpoint, dbname: str, lock_timeout: float) -> Snapshot:
    connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{milliseconds(lock_timeout)}ms")))
    deadline = time.monotonic() + _TRYING_SECONDS
    while time.monotonic() < deadline:
        tables = _lockable(connection)
        try:
            found = _locked_snapshot(connection, tables, lock_timeout)
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.WrongObjectType, errors.DeadlockDetected):
            connection.execute("ROLLBACK")
            continue
        except errors.LockNotAvailable as error:
            connection.execute("ROLLBACK")
            raise _still_locked(connection, endpoint, dbname, lock_timeout) from error
        if found is None:
            connection.execute("ROLLBACK")
            continue
        return Snapshot(
            id=found,
            dbname=dbname,
            endpoint=endpoint,
            encoding=str(connection.info.parameter_status("server_encoding")),
            server_version=connection.info.server_version,
            superuser=connection.info.parameter_status("is_superuser") == "on",
            tables=tuple(table.oid for table in tables if table.own),
            connection=connection,
        )
    raise BackupError(
        f"The tables of {dbname} on {endpoint.name} would not stand still",
        f"For {_TRYING_SECONDS:g} seconds, tables came or went each time between listing and locking them",
        "Run again when less is created and dropped, or stop the container that does it (`containers`)",
    )


def _locked_snapshot(connection: Connection, tables: tuple[_Lockable, ...], lock_timeout: float) -> str | None:
    """Lock `tables`, then export a snapshot; None when other tables are there by then.

    LOCK takes no snapshot, the first query does: so it sees what was committed before the locks were there.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if tables:
        names = sql.SQL(", ").join(
            sql.SQL("ONLY {}").format(sql.Identifier(table.schema, table.name)) for table in tables
        )
        with patient(connection, ANSWER_SECONDS + len(tables) * lock_timeout):
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    return str(row[0]) if row is not None and _lockable(connection) == tables else None


def _lockable(connection: Connection) -> tuple[_Lockable, ...]:
    rows = connection.execute(sql.SQL(_LOCKABLE).format(schema=sql.SQL(USER_SCHEMA))).fetchall()
    return tuple(_Lockable(*row) for row in sorted(rows))


def _still_locked(connection: Connection, endpoint: Endpoint, dbname: str, lock_timeout: float) -> BackupError:
    row = connection.execute(_IN_THE_WAY).fetchone()
    hint = "Let it finish, end it with pg_terminate_backend, or raise `dump_lock_timeout`"
    if row is None:
        what, why = f"A table of {dbname} on {endpoint.name}", "Who held it has let go of it since"
    else:
        table, pid, application, user, state, *transaction = row
        what = f"The table {table} of {dbname} on {endpoint.name}"
        why = f"All of it is held or wanted by {_who(application, user, pid)}{state and f', {state}'}"
        if transaction[0] is not None:
            prepared = Prepared(*transaction)
            why, hint = f"It is held by {prepared}", settle_hint([prepared], dbname)
    return BackupError(f"{what} stayed locked for {lock_timeout:g} seconds", why, hint)


def _who(application: str | None, user: str | None, pid: int) -> str:
    """A backend for messages. Of other users' backends, a user without privileges sees little."""
    return f"{application or 'a client'} (user {user or 'unknown'}, backend {pid})"
