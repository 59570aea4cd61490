"""What a server and a database say of themselves, from PostgreSQL 12 on."""

import contextlib

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.model import DatabaseFacts, Extension
from hiveden_backup.core.postgres.capacity import Capacity, Extent
from hiveden_backup.core.postgres.values import DatabaseInfo, Endpoint, ServerFacts
from hiveden_backup.host.postgres.connect import connect, translated
from hiveden_backup.host.postgres.driver import Connection, sql
from hiveden_backup.host.postgres.properties import with_properties

USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
"""The SQL condition for schemas (as `n`) that pg_dump takes tables from."""

_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
_BUILTIN_SINCE = 170000
_PROVIDER_SINCE = 150000

_DATABASES = """
    SELECT d.datname, r.rolname, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, {provider}, {locale},
           d.datallowconn, d.datistemplate,
           CASE WHEN {may_size} THEN pg_database_size(d.oid) END
    FROM pg_database AS d LEFT JOIN pg_roles AS r ON r.oid = d.datdba
"""
_MAY_SIZE = "has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER')"

_SERVER = """
    SELECT current_setting('server_version_num')::int, current_setting('server_version'), r.rolname, r.rolsuper,
           current_setting('max_connections')::int,
           CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int
                                            + coalesce(current_setting('reserved_connections', true)::int, 0) END,
           clients.number, CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit END, clients.own,
           current_setting('max_locks_per_transaction')::int,
           current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int
           + coalesce(current_setting('autovacuum_worker_slots', true), current_setting('autovacuum_max_workers'))::int
           + 1 + current_setting('max_worker_processes')::int + current_setting('max_wal_senders')::int,
           coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), ''),
           ARRAY(SELECT l FROM pg_tablespace AS t, pg_tablespace_location(t.oid) AS l WHERE l ^@ '/' ORDER BY 1)
    FROM pg_roles AS r, (
        SELECT count(*) AS number, count(*) FILTER (WHERE usename = current_user) AS own FROM pg_stat_activity
        WHERE datid IS NOT NULL AND pid <> pg_backend_pid()
          AND coalesce(backend_type, 'client backend') = 'client backend'
    ) AS clients WHERE r.rolname = current_user
"""

_EXTENT = """
    SELECT d.datname, relations.tables, relations.others,
           CASE WHEN d.datconnlimit >= 0 AND NOT r.rolsuper THEN d.datconnlimit END,
           pg_stat_get_db_numbackends(d.oid) - 1
    FROM pg_database AS d, pg_roles AS r, (
        SELECT count(*) FILTER (WHERE c.relkind IN ('r', 'p')) AS tables,
               count(*) FILTER (WHERE c.relkind IN ('S', 'v', 'm')) AS others
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relpersistence <> 't' AND {schema}
    ) AS relations WHERE d.datname = current_database() AND r.rolname = current_user
"""

_UNREADABLE = """
    SELECT CASE WHEN has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                THEN format('row-level security would hide rows of %I.%I', n.nspname, c.relname)
                ELSE format('%I.%I may not be read', n.nspname, c.relname) END,
           false, format('%I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND {schema}
      AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT')
           OR (c.relkind <> 'S' AND row_security_active(c.oid)))
    UNION ALL
    SELECT format('the large object %s may not be read', min(m.oid))
           || CASE WHEN count(*) > 1 THEN format(', nor may %s more', count(*) - 1) ELSE '' END, true, ''
    FROM pg_largeobject_metadata AS m
    WHERE NOT current_setting('lo_compat_privileges')::bool AND NOT ({readable})
    HAVING count(*) > 0
    ORDER BY 2 DESC, 3
"""
_READABLE_SINCE = 180000
_READABLE = "has_largeobject_privilege(m.oid, 'SELECT')"
_READABLE_BEFORE = """
    pg_has_role(m.lomowner, 'USAGE') OR EXISTS (
        SELECT FROM aclexplode(m.lomacl) AS a WHERE a.privilege_type = 'SELECT'
        AND CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END)
"""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a user cannot dump all of a database: a clause for each thing that it may not read."""

    reasons: tuple[str, ...] = ()
    large_objects: bool = False


def inspect(endpoint: Endpoint) -> ServerFacts:
    """What a server is and what it holds, as the endpoint's user may see it."""
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, "asking the server what it holds"):
        row = connection.execute(_SERVER).fetchone()
        if row is None:
            raise NotFoundError(f"{endpoint.name} does not know the user that it let in")
        version_num, version, user, superuser, *capacity, data_directory, tablespaces = row
        return ServerFacts(
            version_num=version_num,
            version=version,
            databases=_databases(connection, ""),
            user=user,
            superuser=superuser,
            capacity=Capacity(*capacity),
            data_directory=data_directory,
            tablespaces=tuple(tablespaces),
        )


def database_facts(connection: Connection) -> DatabaseFacts:
    """What the connected database was made with, what belongs to it as a whole, its extensions; not its tables."""
    (info,) = _databases(connection, "WHERE d.datname = current_database()")
    version = connection.execute("SELECT current_setting('server_version')").fetchone()
    extensions = connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1").fetchall()
    facts = DatabaseFacts(
        server_version=str(version[0]) if version else "",
        encoding=info.encoding,
        locale=info.collate,
        ctype=info.ctype,
        locale_provider=info.provider,
        icu_locale=info.icu_locale,
        owner=info.owner,
        extensions=tuple(Extension(name, number) for name, number in extensions),
    )
    return with_properties(connection, facts)


def extent(connection: Connection) -> Extent:
    """How much of the connected database a dump has to lock, and how many connections it allows."""
    row = connection.execute(sql.SQL(_EXTENT).format(schema=sql.SQL(USER_SCHEMA))).fetchone()
    if row is None:
        raise NotFoundError("The connected database is not in its own catalog")
    return Extent(*row)


def unreadable(connection: Connection) -> Unreadable:
    """What the connected user, who is no superuser, may not read of the connected database."""
    readable = _READABLE if connection.info.server_version >= _READABLE_SINCE else _READABLE_BEFORE
    query = sql.SQL(_UNREADABLE).format(schema=sql.SQL(USER_SCHEMA), readable=sql.SQL(readable))
    found = connection.execute(query).fetchall()
    return Unreadable(tuple(reason for reason, _, _ in found), any(large for _, large, _ in found))


def extension_tables(connection: Connection) -> frozenset[str]:
    """The tables that belong to an extension, called as counts calls them."""
    rows = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.deptype = 'e'"
    ).fetchall()
    return frozenset(name for (name,) in rows)


def _databases(connection: Connection, where: str) -> tuple[DatabaseInfo, ...]:
    version = connection.info.server_version
    if version >= _BUILTIN_SINCE:
        provider, locale = "d.datlocprovider", "d.datlocale"
    elif version >= _PROVIDER_SINCE:
        provider, locale = "d.datlocprovider", "d.daticulocale"
    else:
        provider, locale = "'c'", "NULL"
    query = sql.SQL(_DATABASES + where).format(
        provider=sql.SQL(provider), locale=sql.SQL(locale), may_size=sql.SQL(_MAY_SIZE)
    )
    rows = connection.execute(query).fetchall()
    found = (
        DatabaseInfo(
            name=name,
            owner=owner or "",
            encoding=encoding,
            collate=collate,
            ctype=ctype,
            provider=_PROVIDERS[provider],
            icu_locale=locale or "",
            allow_connections=allow_connections,
            is_template=is_template,
            size=size,
        )
        for name, owner, encoding, collate, ctype, provider, locale, allow_connections, is_template, size in rows
    )
    return tuple(sorted(found, key=lambda info: info.name))
