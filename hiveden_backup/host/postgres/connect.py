"""Connections to a server, and the one place where its errors become ours."""

import contextlib
import os
import pwd
import socket
from collections.abc import Callable, Iterator

from hiveden_backup.core.errors import BackupError, DeniedError, NotFoundError, UnreachableError
from hiveden_backup.core.postgres.values import MAINTENANCE, Endpoint
from hiveden_backup.host.postgres.driver import Connection, psycopg, sql, wire
from hiveden_backup.host.postgres.endpoint import peer_lives_with

APPLICATION = "hiveden-backup"
CONNECTION_PARAMETERS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
"""What every connection of ours is made with, unless the dsn says otherwise."""

READABLE_MESSAGES = "-c lc_messages=C"
"""An option to have the server's messages in English, which tell why a program failed. Only for superusers."""

LARGE_OBJECTS_HINT = (
    "pg_read_all_data does not cover large objects: use their owner or a superuser; or have a superuser say"
    " ALTER ROLE {user} SET lo_compat_privileges = on, which lets it read and change all of them"
)

_REASON_LENGTH = 2000
_MAX_MILLISECONDS = 2**31 - 1

# Each with the version that knows it. What a database, a role or the server itself sets instead is for applications.
_OWN_SETTINGS = (
    (0, "role", "none"),
    (0, "search_path", "pg_catalog"),
    (0, "row_security", "off"),  # to fail rather than to see too little
    (0, "default_transaction_read_only", "off"),
    (0, "default_transaction_isolation", "read committed"),
    (0, "statement_timeout", "0"),
    (0, "lock_timeout", "0"),
    (0, "idle_in_transaction_session_timeout", "0"),
    (140000, "idle_session_timeout", "0"),
    (170000, "transaction_timeout", "0"),
)

# In one question, so that nothing is set unless the backend is the one that the connection was made to.
_PREPARE = """
    SELECT pg_catalog.count(pg_catalog.set_config(own.name, own.setting, false))
    FROM (VALUES {settings}) AS own (name, setting)
    WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) {pid}
"""
_BEHIND = """
    SELECT pg_catalog.concat('port=', pg_catalog.current_setting('port'),
                             ' host=' OPERATOR(pg_catalog.||) pg_catalog.host(pg_catalog.inet_server_addr()))
"""

# A failed connection has no SQLSTATE, only the server's words.
_DENIED_WORDS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "no password supplied",
    "permission denied",
    "is not permitted to log in",
    "not currently accepting connections",
)
_MISSING_ROLE_WORDS = ('role "', "does not exist")
_POOLER_WORDS = ("unsupported startup parameter", "bouncer config error")
_PASSFILE_HINT = "Name a `user` that may connect, and its password in a `passfile`; peer authentication needs `os_user`"


def connect(endpoint: Endpoint, dbname: str | None = None, *, application: str = APPLICATION) -> Connection:
    """An autocommit connection to `dbname`, None for the database to talk to the server through.

    Its settings are ours, whatever the server, the role or the database sets: nothing ends it while it waits, and it
    is the user that it logged in as. UnreachableError (a pooler stands between us, say), DeniedError, or NotFoundError
    when the database is missing. With `os_user` the whole process has that effective user for the moment: no other
    thread may open files meanwhile.
    """
    if dbname is not None:
        return _connect(endpoint, dbname, application)
    names = (endpoint.database,) if endpoint.database is not None else MAINTENANCE
    for name in names[:-1]:
        try:
            return _connect(endpoint, name, application)
        except NotFoundError:
            continue
    return _connect(endpoint, names[-1], application)


def own_settings(server_version: int) -> tuple[tuple[str, str], ...]:
    """The settings, as names and values, that every session of ours has on a server of this version (150014, say)."""
    return tuple((name, value) for since, name, value in _OWN_SETTINGS if server_version >= since)


def session_options(server_version: int, *, superuser: bool) -> str:
    """The same as libpq's `options`, for client programs; a superuser's also give readable messages.

    From there they have more weight than what a database or a role sets.
    """
    options = [option(name, value) for name, value in own_settings(server_version)]
    return " ".join([*options, READABLE_MESSAGES] if superuser else options)


def option(name: str, value: str) -> str:
    """One setting as libpq's `options` take it."""
    escaped = "".join(f"\\{each}" if each.isspace() or each == "\\" else each for each in value)
    return f"-c {name}={escaped}"


def milliseconds(seconds: float) -> int:
    """A timeout as PostgreSQL takes it: it knows no fractions, 0 would be none at all, and it counts to 24 days."""
    return min(max(1, round(seconds * 1000)), _MAX_MILLISECONDS)


@contextlib.contextmanager
def patient(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Let each question of the block take longer than others may: so many seconds, None for as long as it takes."""
    before, connection.patience = connection.patience, seconds
    try:
        yield
    finally:
        connection.patience = before


def end_backends(endpoint: Endpoint, application: str, *, prefix: bool = False) -> int:
    """End the backends of this application_name (with `prefix`: beginning so); returns how many there were."""
    name = "left(application_name, length(%(name)s))" if prefix else "application_name"
    query = sql.SQL(
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE {} = %(name)s AND pid <> pg_backend_pid()) AS ended"
    ).format(sql.SQL(name))
    with contextlib.closing(connect(endpoint)) as connection, translated(endpoint, "ending a left-over dump"):
        row = connection.execute(query, {"name": application}).fetchone()
        return int(row[0]) if row else 0


@contextlib.contextmanager
def translated(endpoint: Endpoint, doing: str) -> Iterator[None]:
    """Turn psycopg's errors from the block into ours; `doing` is a clause such as "locking the tables".

    What the block cannot make sense of comes from the server, too: it sent other columns, or other values, than those
    that were asked for.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error, endpoint, doing) from error
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise UnreachableError(
            f"{doing[:1].upper()}{doing[1:]} on {endpoint.name} failed",
            f"Its answer is none to what was asked ({type(error).__name__}: {shortened(str(error))})",
            f"See that it is a PostgreSQL server of yours that answers at {endpoint.place}",
        ) from error


def reason(error: "psycopg.Error") -> str:
    """What the server gave as its reason, in one line."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return shortened(" ".join((text + detail).split()))


def shortened(text: str) -> str:
    """The beginning of what a server says, which may be as long as it likes."""
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]} ..."


def _connect(endpoint: Endpoint, dbname: str, application: str) -> Connection:
    parameters = {
        **CONNECTION_PARAMETERS,
        "client_encoding": "UTF8",  # SQL_ASCII databases would give bytes for text
        **endpoint.parameters,
        "dbname": dbname,
        "application_name": application,
    }
    password = endpoint.password(dbname)
    if password is not None:
        parameters["password"] = password
    dial = wire.Connection.connect  # imported by now: another user may not be able to read it
    try:
        with _own_environment(endpoint.os_user), _effective(endpoint.os_user):
            connection = dial("", autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type] # libpq's keywords
    except psycopg.Error as error:
        raise _connect_error(error, endpoint, dbname) from error
    try:
        _check_peer(connection, endpoint)
        with translated(endpoint, "preparing a connection"):
            _prepare(connection, endpoint)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: Connection, endpoint: Endpoint) -> None:
    """Give it our settings, or find out that it leads to a pooler, whose sessions belong to others too.

    A pooler has a key of its own for what is to cancel our queries, so the backend is not the one that it names.
    """
    info = connection.info
    settings = sql.SQL(", ").join(
        sql.SQL("({}, {})").format(sql.Literal(name), sql.Literal(value))
        for name, value in own_settings(info.server_version)
    )
    query = sql.SQL(_PREPARE).format(settings=settings, pid=sql.Literal(info.backend_pid))
    if connection.execute(query).fetchone() == (0,):
        row = connection.execute(_BEHIND).fetchone()
        raise _pooled(endpoint, str(row[0]) if row else "")


def _pooled(endpoint: Endpoint, behind: str) -> UnreachableError:
    return UnreachableError(
        f"{endpoint.name} ({endpoint.place}) is a pooler such as pgbouncer, and not PostgreSQL itself",
        "Applications share its sessions: a backup would change their settings, and could not hold a moment",
        f"Name the server itself in the configuration{behind and f'; behind the pooler, it is {behind}'}",
    )


def _check_peer(connection: Connection, endpoint: Endpoint) -> None:
    if not endpoint.socket_pid:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        if not peer_lives_with(peer, endpoint.socket_pid):
            raise UnreachableError(
                f"The socket of the container {endpoint.name} led to another server",
                f"What listens at {endpoint.place} does not run in that container",
                f"Look at what `docker inspect {endpoint.name}` mounts there",
            )


@contextlib.contextmanager
def _own_environment(os_user: str | None) -> Iterator[None]:
    """Only the configuration decides: libpq does not see the PG* variables of whoever started us."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    home = os.environ.get("HOME")
    try:
        for name in hidden:
            del os.environ[name]
        if os_user is not None:
            os.environ["HOME"] = pwd.getpwnam(os_user).pw_dir
        yield
    finally:
        os.environ.update(hidden)
        if home is not None:
            os.environ["HOME"] = home
        elif os_user is not None:
            os.environ.pop("HOME", None)


@contextlib.contextmanager
def _effective(os_user: str | None) -> Iterator[None]:
    """Peer authentication looks at the effective user of the moment of connecting."""
    if os_user is None:
        yield
        return
    account = pwd.getpwnam(os_user)
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    steps: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (lambda: os.initgroups(os_user, account.pw_gid), lambda: os.setgroups(groups)),
        (lambda: os.setegid(account.pw_gid), lambda: os.setegid(gid)),
        (lambda: os.seteuid(account.pw_uid), lambda: os.seteuid(uid)),
    ]
    with contextlib.ExitStack() as undo:
        try:
            for become, back in steps:
                become()
                undo.callback(back)
        except PermissionError as error:
            raise DeniedError(
                f"This process may not become {os_user}",
                "Peer authentication needs the effective user of the system account",
                "Run as root; the unit needs CAP_SETUID and CAP_SETGID: hiveden-backup schedule apply",
            ) from error
        yield


def _connect_error(error: "psycopg.Error", endpoint: Endpoint, dbname: str) -> BackupError:
    text = reason(error)
    where = f"PostgreSQL on {endpoint.name} ({endpoint.place})"
    if error.sqlstate == "3D000" or (f'database "{dbname}" does not exist' in str(error)):
        return NotFoundError(
            f"The database {dbname} does not exist on {endpoint.name}", "", "Correct `databases`, or the name"
        )
    refused = any(word in text.lower() for word in _DENIED_WORDS) or all(word in text for word in _MISSING_ROLE_WORDS)
    if refused or (error.sqlstate or "").startswith(("28", "42501")):
        return DeniedError(f"{where} does not let us in", text, _PASSFILE_HINT)
    if any(word in text.lower() for word in _POOLER_WORDS):
        return _pooled(endpoint, "")
    return UnreachableError(f"{where} cannot be reached", text, "Look whether it runs and listens there")


def _translate(error: "psycopg.Error", endpoint: Endpoint, doing: str) -> BackupError:
    what = f"{doing[:1].upper()}{doing[1:]} on {endpoint.name} failed"
    why = reason(error)
    match error.sqlstate or "":
        case "42501":
            hint = "Use a superuser; to dump, pg_read_all_data and BYPASSRLS do"
            return DeniedError(what, why, hint)
        case "3D000":
            return NotFoundError(what, why)
        case "53200":
            return BackupError(what, why, "Raise max_locks_per_transaction (or free memory) on the server")
        case state if state.startswith(("08", "57P", "53300")) or (
            not state and not isinstance(error, psycopg.ProgrammingError)
        ):
            return UnreachableError(what, f"The connection was lost: {why}", "Look at the server's log, then run again")
        case _:
            return BackupError(what, why)
