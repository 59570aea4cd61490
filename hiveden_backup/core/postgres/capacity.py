"""Whether a server has the connections and the locks that its dumps need, and which figure would do."""

from collections.abc import Iterator, Sequence

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.model import Status

MOST_DUMPS = 16
"""How many databases of one server are dumped at the same time at most."""

_SPARE = 1  # to end a dump, say
_EACH_DATABASE = 2  # who holds the moment, and who dumps it
_CATALOGS = 160  # what pg_dump locks beside, measured
_OF_A_DUMP_ALONE = 0.75
_HALF_HELD = 0.75
_TIGHT = 0.8
_HOPELESS = 1.25
_STEP = 64


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a server has for the user who asks. `reserved` connections are for others, `connected` are in use now.

    `role_limit` is the user's own, None without one, and `role_connected` of it in use. The server has a table for
    `locks_each` locks of each of so many `transactions`.
    """

    max_connections: int
    reserved: int
    connected: int
    role_limit: int | None
    role_connected: int
    locks_each: int
    transactions: int


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a database matters for its dump: tables, and other relations that pg_dump locks.

    `limit` is the database's own of connections, None without one, and `connected` of it in use now.
    """

    name: str
    tables: int
    others: int
    limit: int | None
    connected: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """What is short: with FAIL it cannot work, with WARN it may not."""

    status: Status
    what: str
    hint: str


def dumps_at_once(capacity: Capacity, extents: Sequence[Extent]) -> int:
    """How many of these databases to dump at the same time, while the moments of all are held; at least one."""
    most = _by_connections(capacity, len(extents))
    room = _TIGHT * _promised(capacity)
    return next((number for number in range(most, 1, -1) if _locks(extents, number) <= room), 1)


def shortages(capacity: Capacity, extents: Sequence[Extent], server: str, user: str) -> tuple[Shortage, ...]:
    """What a server lacks for the dumps of these databases."""
    if not extents:
        return ()
    return (
        *_few_connections(capacity, len(extents), server, user),
        *(each for extent in extents if (each := _few_of_database(extent, server)) is not None),
        *_few_locks(capacity, extents, server),
    )


# ---- connections -----------------------------------------------------------------------------------------------------


def _ceilings(capacity: Capacity, user: str) -> Iterator[tuple[str, int, int]]:
    """What bounds the connections: how to raise it, the bound, and how many of it are in use."""
    yield "max_connections", capacity.max_connections - capacity.reserved, capacity.connected
    if capacity.role_limit is not None:
        yield f"ALTER ROLE {user} CONNECTION LIMIT", capacity.role_limit, capacity.role_connected


def _by_connections(capacity: Capacity, databases: int) -> int:
    free = min(limit - used for _, limit, used in _ceilings(capacity, ""))
    return max(1, min(databases, MOST_DUMPS, free - databases - _SPARE))


def _few_connections(capacity: Capacity, databases: int, server: str, user: str) -> Iterator[Shortage]:
    least = databases + 1
    wanted = databases + min(databases, MOST_DUMPS) + _SPARE
    for setting, limit, used in _ceilings(capacity, user):
        enough = max(limit, wanted + used)
        if setting == "max_connections":
            hint = f"Set max_connections to {enough + capacity.reserved} or more on that server, and restart it"
        else:
            hint = f"{setting} {enough}"
        what = f"To dump {_count(databases)} of {server} at one moment takes {least} connections or more"
        if least > limit:
            yield Shortage(Status.FAIL, f"{what}, and {user} may have {limit}", hint)
        elif wanted > limit - used:
            yield Shortage(Status.WARN, f"{what}, better {wanted}, and {max(0, limit - used)} are free now", hint)


def _few_of_database(extent: Extent, server: str) -> Shortage | None:
    if extent.limit is None or extent.limit - extent.connected >= _EACH_DATABASE:
        return None
    status = Status.FAIL if extent.limit < _EACH_DATABASE else Status.WARN
    return Shortage(
        status,
        f"A dump takes {_EACH_DATABASE} connections to {extent.name} on {server}, which allows {extent.limit}"
        f" and has {extent.connected} now",
        f"ALTER DATABASE {extent.name} CONNECTION LIMIT {extent.connected + _EACH_DATABASE}",
    )


def _count(databases: int) -> str:
    return f"{databases} databases" if databases != 1 else "1 database"


# ---- locks -----------------------------------------------------------------------------------------------------------


def _few_locks(capacity: Capacity, extents: Sequence[Extent], server: str) -> Iterator[Shortage]:
    """The server's table of locks has an entry for each relation, and a smaller one for each session that holds it.

    It has room for twice as many of these. Measured, there is 1.06 to 1.24 times the room that is promised.
    """
    promised = _promised(capacity)
    wanted = _locks(extents, _by_connections(capacity, len(extents)))
    if wanted <= _TIGHT * promised:
        return
    status = Status.FAIL if _locks(extents, 1) > _HOPELESS * promised else Status.WARN
    enough = -(-round(wanted / _TIGHT / capacity.transactions) // _STEP) * _STEP
    tables = sum(extent.tables for extent in extents)
    yield Shortage(
        status,
        f"To dump {tables} tables of {server} at one moment takes about {wanted} locks, and it has {promised}",
        f"Set max_locks_per_transaction to {enough} or more on that server, and restart it",
    )


def _promised(capacity: Capacity) -> int:
    return capacity.locks_each * capacity.transactions


def _locks(extents: Sequence[Extent], at_once: int) -> int:
    """The most that are held: of the largest databases by holder and dump, of the others by the holder alone."""
    largest = sorted(extents, key=lambda extent: extent.tables + extent.others, reverse=True)
    dumped, held = largest[:at_once], largest[at_once:]
    whole = sum(extent.tables + _OF_A_DUMP_ALONE * (extent.others + _CATALOGS) for extent in dumped)
    return round(whole + sum(_HALF_HELD * extent.tables for extent in held))
