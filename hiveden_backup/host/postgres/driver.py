"""psycopg, for the rest of this folder."""

from typing import TYPE_CHECKING, TypeAlias

from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import psycopg
    from psycopg import errors, sql
    from psycopg.rows import TupleRow
else:
    psycopg, errors, sql = Later("psycopg"), Later("psycopg.errors"), Later("psycopg.sql")

__all__ = ["Connection", "errors", "psycopg", "sql"]

Connection: TypeAlias = "psycopg.Connection[TupleRow]"
