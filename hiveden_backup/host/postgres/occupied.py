"""Who holds a database, as far as its server tells: sessions, prepared transactions, replication."""

import contextlib
from collections.abc import Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.postgres.values import Endpoint
from hiveden_backup.host.postgres.connect import connect
from hiveden_backup.host.postgres.driver import Connection, sql

_PREPARED = """
    SELECT p.gid, p.owner, to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS TZ') FROM pg_prepared_xacts AS p
    WHERE p.database = ANY (%s) ORDER BY p.prepared, 1
"""
_SESSIONS = "SELECT application_name, backend_type, pid FROM pg_stat_activity WHERE datname = ANY (%s) ORDER BY pid"
_SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = ANY (%s) AND active ORDER BY 1"
_SUBSCRIPTIONS = """
    SELECT s.subname, s.subenabled, coalesce(s.subslotname, '')
    FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid WHERE d.datname = %s ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction of the first phase of two, which outlives its session and the server."""

    gid: str
    owner: str
    since: str

    def __str__(self) -> str:
        return f"the prepared transaction {self.gid} (user {self.owner}, since {self.since})"


def prepared(connection: Connection, databases: Sequence[str]) -> tuple[Prepared, ...]:
    """The prepared transactions of some databases, oldest first."""
    return tuple(Prepared(*row) for row in connection.execute(_PREPARED, (list(databases),)).fetchall())


def settle_hint(found: Sequence[Prepared], database: str) -> str:
    """How to end them; which way is the matter of whoever prepared them."""
    gid = "'" + found[0].gid.replace("'", "''") + "'"
    others = ", and likewise the others" if len(found) > 1 else ""
    return f"Settle it with COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid} in {database}{others}, then try again"


def held(connection: Connection, databases: Sequence[str]) -> tuple[str, str]:
    """Why nobody can rename or drop databases now, and what to do."""
    if transactions := prepared(connection, databases):
        return f"It is held by {', '.join(map(str, transactions))}", settle_hint(transactions, databases[0])
    slots = [name for (name,) in connection.execute(_SLOTS, (list(databases),)).fetchall()]
    if slots:
        return (
            f"It is read through the replication slots {', '.join(slots)}",
            "Stop what reads there, then try again",
        )
    who = [
        f"{application or kind} (backend {pid})"
        for application, kind, pid in connection.execute(_SESSIONS, (list(databases),)).fetchall()
    ]
    return (
        f"Its sessions were ended, yet there are: {', '.join(who) or 'others, which cannot be seen'}",
        "Stop what connects to it, then try again",
    )


def drop_subscriptions(connection: Connection, endpoint: Endpoint, database: str) -> tuple[str, ...]:
    """Drop the subscriptions of a database that is about to go, which would not let it; what is left of them elsewhere.

    Their slots at the publisher stay, since another database, restored of the same dump, may go on with them.
    """
    found = connection.execute(_SUBSCRIPTIONS, (database,)).fetchall()
    if not found:
        return ()
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(database))
    connection.execute(allow)
    with contextlib.closing(connect(endpoint, database)) as inside:
        for name, _, _ in found:
            for statement in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)"):
                inside.execute(sql.SQL(statement).format(sql.Identifier(name)))
            inside.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))
    return tuple(
        f"The subscription {name} went with {database}; its publisher still has the replication slot {slot}, which"
        f" holds back WAL there: unless something uses it, SELECT pg_drop_replication_slot('{slot}')"
        for name, enabled, slot in found
        if enabled and slot
    )
