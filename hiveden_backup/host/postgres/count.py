"""The rows of each table, counted from the tables themselves, and never a reason for anything to fail."""

from collections.abc import Mapping

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import Table
from hiveden_backup.host.postgres.connect import patient, reason
from hiveden_backup.host.postgres.driver import Connection, psycopg, sql
from hiveden_backup.host.postgres.inspect import USER_SCHEMA

# Ordinary tables, partitions among them; an extension's only if it declares them as its configuration.
_COUNTED = """
    SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), coalesce(config.condition, '')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_depend AS member
           ON member.classid = 'pg_class'::regclass AND member.objid = c.oid AND member.objsubid = 0
          AND member.refclassid = 'pg_extension'::regclass AND member.deptype = 'e'
    LEFT JOIN LATERAL (
        SELECT entry.condition FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS entry (id, condition)
        WHERE e.oid = member.refobjid AND entry.id = c.oid) AS config ON true
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {schema}
      AND (member.objid IS NULL OR config.condition IS NOT NULL)
    ORDER BY 3
"""

# An index may lack rows that the table, and so the dump, has. To plan a query locks all indexes of its table, until the
# transaction ends or goes back to a savepoint: without that, some thousand tables would exhaust the server's locks.
_BEGIN = """
    SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
    SET LOCAL enable_bitmapscan = off; SAVEPOINT counting
"""
_COUNT = "SELECT count(*) FROM ONLY {table} {condition}; ROLLBACK TO SAVEPOINT counting"


@dataclass(frozen=True, slots=True)
class Counts:
    """The tables that a dump has data of. `failures` says of each whose `rows` are None why they were not counted."""

    tables: tuple[Table, ...]
    failures: Mapping[str, str]


def counts(connection: Connection) -> Counts:
    """The exact rows of every table that a dump has data of, as the connection's transaction sees them.

    A count that fails (the server plans it, which runs code of indexes; a table may be damaged or beyond reach) is
    told of, and the others go on. So it is when the connection is lost meanwhile, of all that were not counted by then.
    """
    tables, failures = [], {}
    with connection.transaction(force_rollback=True):
        listed = connection.execute(sql.SQL(_COUNTED).format(schema=sql.SQL(USER_SCHEMA))).fetchall()
        connection.execute(_BEGIN)
        for schema, name, label, condition in listed:
            query = sql.SQL(_COUNT).format(table=sql.Identifier(schema, name), condition=sql.SQL(condition))
            rows = None
            try:
                with patient(connection, None):
                    row = connection.execute(query).fetchone()
                rows = row[0] if row else None
            except psycopg.Error as error:
                failures[label] = reason(error)
                if not connection.closed:
                    connection.execute("ROLLBACK TO SAVEPOINT counting")
            tables.append(Table(label, rows))
    return Counts(tuple(tables), failures)


def row_counts(connection: Connection) -> tuple[Table, ...]:
    """The same for who need not know why a table was not counted."""
    return counts(connection).tables
