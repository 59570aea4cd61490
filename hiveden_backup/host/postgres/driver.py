"""psycopg, for the rest of this folder."""

from typing import TYPE_CHECKING

from hiveden_backup.host.later import Later

if TYPE_CHECKING:
    import psycopg
    from psycopg import errors, sql

    from hiveden_backup.host.postgres import wire
    from hiveden_backup.host.postgres.wire import Connection
else:
    psycopg, errors, sql = Later("psycopg"), Later("psycopg.errors"), Later("psycopg.sql")
    wire, Connection = Later("hiveden_backup.host.postgres.wire"), "Connection"

__all__ = ["Connection", "errors", "psycopg", "sql", "wire"]
