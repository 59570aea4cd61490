"""A restored database in the place of the live one: staged beside it, swapped by name, and back again.

Each step may be repeated after any interruption: what it does is decided by what the server shows, and the restored
database and the replaced one are known by their oids, which no rename changes.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from hiveden_backup.core.dataclass import dataclass
from hiveden_backup.core.errors import BackupError, NotFoundError, UsageError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import MAINTENANCE, Endpoint, PgTools, is_ours, kept_name, staged_name
from hiveden_backup.host.failpoints import failpoint
from hiveden_backup.host.postgres.connect import connect, patient, translated
from hiveden_backup.host.postgres.driver import Connection, errors, sql
from hiveden_backup.host.postgres.occupied import held, prepared
from hiveden_backup.host.postgres.patience import CHANGE_SECONDS
from hiveden_backup.host.postgres.restore import Restored, check_name, restore_new
from hiveden_backup.host.postgres.scratch import add, drop_after, drop_database

_BUSY_SECONDS = 30.0
_POLL_SECONDS = 0.05

_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Staged:
    """A restored database that is to be, or is, `live`.

    `live`, `staged` and `kept` are names: of the live database, of the complete restored one beside it, and the one
    that the replaced database gets. `oid` is the restored one's, `replaced` that of the live one when it was staged;
    0 when there was none.
    """

    server: str
    live: str
    staged: str
    kept: str
    oid: int = 0
    replaced: int = 0


def intended(endpoint: Endpoint, live: str, moment: datetime) -> Staged:
    """What `stage` is about to make: enough for `discard`, to be written down before."""
    return Staged(endpoint.name, live, staged_name(live, moment), kept_name(live, moment))


def stage(  # noqa: PLR0917 - each is needed, none has a default
    endpoint: Endpoint, dump: Path, facts: DatabaseFacts, live: str, moment: datetime, tool: PgTools
) -> tuple[Staged, Restored]:
    """Restore a dump into a database of our own beside `live`, and compare it; also what came of that.

    Whatever fails, nothing is left and `live` was not touched. `live` need not exist.
    """
    check_name(live)
    plan = intended(endpoint, live, moment)
    with _at(endpoint, plan, f"preparing the restore of {live}") as connection:
        names = _names(connection)
        _check_replaceable(connection, endpoint, live)
        if plan.kept in names:
            raise BackupError(
                f"The database {plan.kept} exists on {endpoint.name} already", "", "Try again in a second"
            )
    restored = restore_new(endpoint, dump, facts, plan.staged, tool)
    try:
        failpoint("stage-database")
        with _at(endpoint, plan, f"looking at the restored {live}") as connection:
            _allow(connection, plan.staged, connections=False)
            names = _names(connection)
    except BaseException as error:
        drop_after(endpoint, plan.staged, error)
        raise
    staged = Staged(plan.server, live, plan.staged, plan.kept, names[plan.staged], names.get(live, 0))
    return staged, restored


def swap(endpoint: Endpoint, staged: Staged) -> None:
    """Give the restored database the live one's name; done already is fine.

    The live one gets its connections off, its backends are ended, and both names change in one transaction. It keeps
    its connections off under its new name. When there is no live one, only the restored one is renamed. When it
    fails, the live one is as it was.
    """
    with _at(endpoint, staged, f"swapping the database {staged.live}") as connection:
        names = _names(connection)
        if staged.oid and names.get(staged.live) == staged.oid:
            return
        if not staged.oid or names.get(staged.staged) != staged.oid:
            raise NotFoundError(
                f"The restored database {staged.staged} is not on {staged.server} any more",
                "",
                f"{staged.live} was not touched: restore again",
            )
        live, renames = names.get(staged.live), [(staged.staged, staged.live)]
        if live is not None:
            if live != staged.replaced or staged.kept in names:
                raise _changed(staged)
            _check_replaceable(connection, endpoint, staged.live)
            renames.insert(0, (staged.live, staged.kept))
        with _closed(endpoint, staged, connection) if live is not None else contextlib.nullcontext():
            failpoint("swap-database")
            _rename(connection, renames, opened=staged.live)


def put_back(endpoint: Endpoint, staged: Staged) -> None:
    """Put the kept database back in its place; done already, or never swapped, is fine.

    The restored one stays, without connections, under the name that it was staged by: what was written since the swap
    is in it. `discard` drops it one day. When nothing was replaced, the restored one goes and nothing comes.
    """
    with _at(endpoint, staged, f"putting back the database {staged.live}") as connection:
        names = _names(connection)
        live, kept = names.get(staged.live), names.get(staged.kept)
        if staged.oid and live == staged.oid:
            if kept is None and staged.replaced:
                raise _not_kept(staged)
            back = [(staged.kept, staged.live)] if kept is not None else []
            with _closed(endpoint, staged, connection):
                failpoint("undo-database")
                _rename(connection, [(staged.live, staged.staged), *back], opened=staged.live if back else None)
        elif kept is not None:
            if live is not None or kept != staged.replaced:
                raise _changed(staged)
            _rename(connection, [(staged.kept, staged.live)], opened=staged.live)
        elif staged.replaced and live == staged.replaced:
            _allow(connection, staged.live, connections=True)


def check_kept(endpoint: Endpoint, staged: Staged) -> None:
    """BackupError when `put_back` could not bring the replaced database back. Nothing is changed."""
    with _at(endpoint, staged, f"looking for the database {staged.kept}") as connection:
        names = _names(connection)
    live, kept = names.get(staged.live), names.get(staged.kept)
    if staged.replaced in {0, live}:
        return
    if kept is None:
        raise _not_kept(staged)
    if kept != staged.replaced or live not in {None, staged.oid}:
        raise _changed(staged)


def show(endpoint: Endpoint, staged: Staged) -> None:
    """Let people look into a restored database that is not live."""
    with _at(endpoint, staged, f"letting people look into {staged.staged}") as connection:
        if _names(connection).get(staged.staged) == staged.oid:
            _allow(connection, staged.staged, connections=True)


def discard(endpoint: Endpoint, staged: Staged) -> tuple[str, ...]:
    """Drop a restored database that is not live, and let the live one have connections; done already is fine.

    What it leaves elsewhere, in words.
    """
    with _at(endpoint, staged, f"discarding the restored {staged.live}") as connection:
        if staged.replaced and _names(connection).get(staged.live) == staged.replaced:
            _allow(connection, staged.live, connections=True)
    return drop_database(endpoint, staged.staged)


def drop_kept(endpoint: Endpoint, staged: Staged) -> tuple[str, ...]:
    """Drop the database that was replaced; done already is fine. What it leaves elsewhere, in words."""
    if not is_ours(staged.kept):
        raise UsageError(f"{staged.kept} is no database that was kept for undo")
    return drop_database(endpoint, staged.kept)


@contextlib.contextmanager
def _at(endpoint: Endpoint, staged: Staged, doing: str) -> Iterator[Connection]:
    """A connection to a database whose name does not change: the live one may be `postgres` itself."""
    busy = {staged.live, staged.staged, staged.kept}
    with contextlib.closing(_connect_beside(endpoint, busy)) as connection, translated(endpoint, doing):
        yield connection


def _connect_beside(endpoint: Endpoint, busy: set[str]) -> Connection:
    names = [name for name in (endpoint.database, *MAINTENANCE) if name is not None and name not in busy]
    for name in names[:-1]:
        with contextlib.suppress(NotFoundError):
            return connect(endpoint, name)
    return connect(endpoint, names[-1])


def _names(connection: Connection) -> Mapping[str, int]:
    """Every database's oid by its name."""
    return dict(connection.execute("SELECT datname, oid FROM pg_database").fetchall())


def _check_replaceable(connection: Connection, endpoint: Endpoint, live: str) -> None:
    row = connection.execute("SELECT datistemplate FROM pg_database WHERE datname = %s", (live,)).fetchone()
    if row is not None and row[0]:
        raise UsageError(
            f"{live} on {endpoint.name} is a template", "New databases are made of it", "Restore it beside with --as"
        )
    if prepared(connection, [live]):
        raise BackupError(f"The database {live} on {endpoint.name} cannot be replaced", *held(connection, [live]))


def _not_kept(staged: Staged) -> NotFoundError:
    return NotFoundError(
        f"The database {staged.kept} is not on {staged.server} any more",
        "",
        f"There is nothing to put back: {staged.live} stays as it is",
    )


def _changed(staged: Staged) -> BackupError:
    return BackupError(
        f"The database {staged.live} on {staged.server} is not the one that it was",
        "It was dropped, renamed or made anew by somebody else meanwhile",
        f"Look at {staged.live}, {staged.kept} and {staged.staged} there, and rename them by hand",
    )


@contextlib.contextmanager
def _closed(endpoint: Endpoint, staged: Staged, connection: Connection) -> Iterator[None]:
    """Nobody gets into the live database, a pooler that tries again and again neither; after a failure they do."""
    try:
        _allow(connection, staged.live, connections=False)
        yield
    except BaseException as error:
        try:  # on a connection of its own, since the other one may be what failed
            with _at(endpoint, staged, f"allowing connections to {staged.live}") as another:
                _allow(another, staged.live, connections=True)
        except BackupError as failure:
            add(error, f"{staged.live} allows no connections until this is tried again: {failure}")
        raise


def _allow(connection: Connection, name: str, *, connections: bool) -> None:
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with patient(connection, CHANGE_SECONDS):
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(connections)))


def _rename(connection: Connection, renames: Sequence[tuple[str, str]], *, opened: str | None) -> None:
    """Change all names in one transaction, as soon as whoever is connected there has been ended; open one of them."""
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    names = [old for old, _ in renames]
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        connection.execute(_END, (names,))
        try:
            with patient(connection, CHANGE_SECONDS), connection.transaction():
                for old, new in renames:
                    connection.execute(statement.format(sql.Identifier(old), sql.Identifier(new)))
                if opened is not None:
                    _allow(connection, opened, connections=True)
        except errors.ObjectInUse as error:
            if time.monotonic() >= deadline:
                raise _still_used(connection, names) from error
            time.sleep(_POLL_SECONDS)
        else:
            return


def _still_used(connection: Connection, names: Sequence[str]) -> BackupError:
    what = f"The database {names[0]} would not become free within {_BUSY_SECONDS:g} seconds"
    return BackupError(what, *held(connection, names))
