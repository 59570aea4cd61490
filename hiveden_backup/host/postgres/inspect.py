"""What a server and a database say of themselves, from PostgreSQL 12 on."""

import contextlib

from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.core.model import DatabaseFacts, Extension
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

_UNREADABLE = """
    SELECT format('%I.%I', n.nspname, c.relname),
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND {schema}
      AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT')
           OR (c.relkind <> 'S' AND row_security_active(c.oid)))
    ORDER BY 1
"""


def inspect(endpoint: Endpoint) -> ServerFacts:
    """What a server is and what it holds, as the endpoint's user may see it."""
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, "asking the server what it holds"):
        row = connection.execute(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
            " r.rolname, r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user"
        ).fetchone()
        if row is None:
            raise NotFoundError(f"{endpoint.name} does not know the user that it let in")
        version_num, version, user, superuser = row
        return ServerFacts(
            version_num=version_num,
            version=version,
            databases=_databases(connection, ""),
            user=user,
            superuser=superuser,
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


def privileges(connection: Connection) -> tuple[str, ...]:
    """Why the connected user cannot dump all of the connected database: one clause for each table or sequence."""
    row = connection.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user").fetchone()
    if row is not None and row[0]:
        return ()
    found = connection.execute(sql.SQL(_UNREADABLE).format(schema=sql.SQL(USER_SCHEMA))).fetchall()
    return tuple(
        f"row-level security would hide rows of {name}" if readable else f"{name} may not be read"
        for name, readable in found
    )


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
