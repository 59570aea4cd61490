"""What belongs to a database as a whole and not to its content: read for a dump, put back on a restored one."""

from dataclasses import replace

from hiveden_backup.core.errors import BackupError
from hiveden_backup.core.model import DatabaseFacts, Grant, Setting
from hiveden_backup.core.postgres.database_settings import may_be_secret, values
from hiveden_backup.host.postgres.connect import reason
from hiveden_backup.host.postgres.driver import Connection, errors, sql

_PRIVILEGES = frozenset({"CREATE", "CONNECT", "TEMPORARY"})
_ICU_RULES_SINCE = 160000

_WHOLE = """
    SELECT d.datconnlimit, coalesce(shobj_description(d.oid, 'pg_database'), ''),
           CASE WHEN t.spcname <> 'pg_default' THEN t.spcname ELSE '' END, {icu_rules}, d.datacl IS NULL
    FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace WHERE d.datname = current_database()
"""

_GRANTS = """
    SELECT coalesce(r.rolname, ''), a.privilege_type, bool_or(a.is_grantable)
    FROM pg_database AS d, aclexplode(d.datacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
    WHERE d.datname = current_database() AND (a.grantee = 0 OR r.oid IS NOT NULL)
    GROUP BY 1, 2 ORDER BY 1, 2
"""

_SETTINGS = """
    SELECT coalesce(r.rolname, ''), split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1)
    FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
    LEFT JOIN pg_roles AS r ON r.oid = s.setrole, unnest(s.setconfig) AS entry
    WHERE d.datname = current_database() AND (s.setrole = 0 OR r.oid IS NOT NULL)
    ORDER BY 1, 2
"""

# Members of an extension belong to whoever creates it anew. What belongs to the first superuser is recorded nowhere.
_ROLES = """
    SELECT r.rolname FROM pg_shdepend AS s JOIN pg_roles AS r ON r.oid = s.refobjid
    WHERE s.refclassid = 'pg_authid'::regclass
      AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype = 'e')
    UNION
    SELECT r.rolname FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend AS d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1
"""


def with_properties(connection: Connection, facts: DatabaseFacts) -> DatabaseFacts:
    """The facts with what belongs to the connected database as a whole. What may be a secret is left to the dump."""
    icu_rules = "coalesce(d.daticurules, '')" if connection.info.server_version >= _ICU_RULES_SINCE else "''"
    row = connection.execute(sql.SQL(_WHOLE).format(icu_rules=sql.SQL(icu_rules))).fetchone()
    if row is None:
        raise BackupError("The connected database is not in its own catalog")
    limit, comment, tablespace, rules, default_grants = row
    settings = connection.execute(_SETTINGS).fetchall()
    return replace(
        facts,
        icu_rules=rules,
        tablespace=tablespace,
        connection_limit=limit,
        comment=comment,
        grants=None if default_grants else tuple(Grant(*grant) for grant in connection.execute(_GRANTS)),
        settings=tuple(Setting(role, name, None if may_be_secret(name) else value) for role, name, value in settings),
        roles=tuple(name for (name,) in connection.execute(_ROLES)),
    )


def put_settings(connection: Connection, name: str, facts: DatabaseFacts) -> tuple[str, ...]:
    """Give the database `name` its settings; a warning for each that the server refuses."""
    warnings = []
    for setting in facts.settings:
        text = setting.name + (f" of the role {setting.role}" if setting.role else "")
        if setting.value is None:
            warnings.append(f"The setting {text} was not found in the dump: set it again")
            continue
        where = sql.SQL("DATABASE {}").format(sql.Identifier(name))
        if setting.role:
            where = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), sql.Identifier(name))
        items = sql.SQL(", ").join(sql.Literal(item) for item in values(setting.name, setting.value))
        statement = sql.SQL("ALTER {} SET {} TO {}").format(where, sql.Identifier(setting.name), items)
        try:
            connection.execute(statement)
        except (
            errors.UndefinedObject,
            errors.InvalidParameterValue,
            errors.CantChangeRuntimeParam,
            errors.InsufficientPrivilege,
        ) as error:
            why = "the server refuses it" if may_be_secret(setting.name) else reason(error)
            warnings.append(f"The setting {text} was not put back: {why}")
    return tuple(warnings)


def put_properties(connection: Connection, name: str, facts: DatabaseFacts) -> None:
    """Give the database `name` its privileges, connection limit and comment."""
    database = sql.Identifier(name)
    statements: list[sql.Composed] = []
    if facts.comment:
        statements.append(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(facts.comment)))
    if facts.connection_limit >= 0:
        limit = sql.Literal(facts.connection_limit)
        statements.append(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit))
    if facts.grants is not None:
        revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}")
        statements.append(revoke.format(database, sql.Identifier(facts.owner)))
        statements.extend(_grant(database, grant) for grant in facts.grants if grant.privilege in _PRIVILEGES)
    with connection.transaction():
        for statement in statements:
            connection.execute(statement)


def _grant(database: "sql.Identifier", grant: Grant) -> "sql.Composed":
    grantee: sql.Composable = sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC")
    option = sql.SQL(" WITH GRANT OPTION" if grant.grantable and grant.grantee else "")
    return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(sql.SQL(grant.privilege), database, grantee, option)
