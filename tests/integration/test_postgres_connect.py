"""Reaching a server: by socket, by TCP, as a system account, with a password file; and what errors say."""

import contextlib
import os
from pathlib import Path

import psycopg
import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, ConfigError, DeniedError, NotFoundError, UnreachableError
from hiveden_backup.core.postgres.values import Endpoint, select_databases
from hiveden_backup.host.postgres.connect import connect, end_backends
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import Unreadable, inspect, unreadable
from tests.support.postgres import ACCOUNT, ODD_NAMES, PASSWORD, SUPERUSER, Server


def current(endpoint: Endpoint, dbname: str | None = None) -> tuple[object, ...]:
    with contextlib.closing(connect(endpoint, dbname)) as connection:
        row = connection.execute("SELECT current_user, current_database()").fetchone()
        assert row is not None
        return row


@pytest.fixture
def passfile(tmp_path: Path, postgres: Server) -> Path:
    path = tmp_path / "pass file"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    path.write_text(f"127.0.0.1:{postgres.port}:*:{SUPERUSER}:{escaped}\n")
    path.chmod(0o600)
    return path


def test_socket_and_the_database_to_talk_through(postgres: Server) -> None:
    assert current(postgres.endpoint()) == (SUPERUSER, "postgres")
    assert current(dsn_endpoint(PostgresSource(dsn=postgres.dsn(dbname="template1")))) == (SUPERUSER, "template1")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_database_names(postgres: Server, name: str) -> None:
    with postgres.database(name):
        assert current(postgres.endpoint(), name) == (SUPERUSER, name)


def test_passfile(postgres: Server, passfile: Path) -> None:
    source = PostgresSource(dsn=postgres.dsn(tcp=True), passfile=str(passfile))
    endpoint = dsn_endpoint(source)
    assert endpoint.name == "127.0.0.1"
    assert current(endpoint) == (SUPERUSER, "postgres")


def test_peer_authentication_as_a_system_account(postgres: Server) -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn=f"host={postgres.sockets} port={postgres.port}", os_user=ACCOUNT))
    groups = os.getgroups()
    assert current(endpoint) == (ACCOUNT, "postgres")
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == ((0, 0, 0), (0, 0, 0), groups)


def test_account_is_given_back_after_a_failure(postgres: Server) -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn=f"host={postgres.sockets} port=1", os_user=ACCOUNT))
    home = os.environ.get("HOME")
    with pytest.raises(UnreachableError):
        connect(endpoint)
    assert (os.geteuid(), os.getegid(), os.environ.get("HOME")) == (0, 0, home)


def test_peer_authentication_without_the_account_is_denied(postgres: Server) -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user=ACCOUNT)))
    with pytest.raises(DeniedError, match="os_user"):
        connect(endpoint)


def test_unknown_account_is_a_configuration_error(postgres: Server) -> None:
    with pytest.raises(ConfigError, match="no system account nobody-here"):
        dsn_endpoint(PostgresSource(dsn=postgres.dsn(), os_user="nobody-here"))


def test_wrong_password_is_denied_and_not_shown(postgres: Server, passfile: Path) -> None:
    passfile.write_text("*:*:*:*:hunter2\n")
    endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(tcp=True), passfile=str(passfile)))
    with pytest.raises(DeniedError, match="passfile") as caught:
        connect(endpoint)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 77


def test_no_password_is_denied(postgres: Server) -> None:
    with pytest.raises(DeniedError, match="passfile"):
        connect(dsn_endpoint(PostgresSource(dsn=postgres.dsn(tcp=True))))


def test_unknown_role_is_denied(postgres: Server) -> None:
    with pytest.raises(DeniedError):
        connect(dsn_endpoint(PostgresSource(dsn=postgres.dsn(), user="no role")))


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_open_passfile_is_refused(postgres: Server, passfile: Path, mode: int) -> None:
    passfile.chmod(mode)
    with pytest.raises(DeniedError, match="chmod 600"):
        dsn_endpoint(PostgresSource(dsn=postgres.dsn(tcp=True), passfile=str(passfile)))


def test_missing_passfile_is_named(postgres: Server) -> None:
    with pytest.raises(NotFoundError, match="/no/such/file"):
        dsn_endpoint(PostgresSource(dsn=postgres.dsn(tcp=True), passfile="/no/such/file"))


def test_passfile_that_the_account_cannot_read_is_refused(postgres: Server, passfile: Path) -> None:
    with pytest.raises(DeniedError, match="chown"):
        dsn_endpoint(PostgresSource(dsn=postgres.dsn(), passfile=str(passfile), os_user=ACCOUNT))


def test_server_that_is_down(postgres: Server) -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn="host=127.0.0.1 port=1 user=x"))
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1") as caught:
        connect(endpoint)
    assert caught.value.exit_code == 69
    assert postgres.port != 1


def test_missing_database(postgres: Server) -> None:
    with pytest.raises(NotFoundError, match="photos") as caught:
        connect(postgres.endpoint(), "photos")
    assert caught.value.exit_code == 66


def test_missing_postgres_database_is_no_obstacle(second_postgres: Server) -> None:
    second_postgres.sql("DROP DATABASE postgres", dbname="template1")
    try:
        assert current(second_postgres.endpoint()) == (SUPERUSER, "template1")
    finally:
        second_postgres.sql("CREATE DATABASE postgres", dbname="template1")


def test_only_the_configuration_decides(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PG* variables of whoever starts us would not be there under systemd."""
    monkeypatch.setenv("PGOPTIONS", "-c no_such_setting=1")
    monkeypatch.setenv("PGSSLMODE", "nonsense")
    assert current(postgres.endpoint()) == (SUPERUSER, "postgres")
    assert os.environ["PGSSLMODE"] == "nonsense"


def test_default_socket_directory_and_user() -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn="port=1"))
    assert endpoint.name == "local"
    assert endpoint.parameters == {"host": "/var/run/postgresql", "port": "1", "user": "root"}


def test_password_stays_out_of_what_is_shown(postgres: Server) -> None:
    endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(tcp=True, password="hunter2")))
    assert endpoint.password("any") == "hunter2"
    assert "hunter2" not in repr(endpoint)


def test_inspect(postgres: Server) -> None:
    with (
        postgres.database("first"),
        postgres.database("no entry", options="ALLOW_CONNECTIONS false"),
        postgres.database("latin", options="TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"),
        postgres.database("hiveden_scratch_0123456789abcdef"),
    ):
        facts = inspect(postgres.endpoint())
        known = {info.name: info for info in facts.databases}
        assert facts.superuser
        assert facts.version_num // 10000 == facts.major >= 12
        assert facts.version.startswith(str(facts.major))
        assert not known["no entry"].allow_connections
        latin = known["latin"]
        assert (latin.encoding, latin.collate, latin.ctype, latin.provider) == ("LATIN1", "C", "C", "libc")
        assert (latin.owner, latin.icu_locale, latin.is_template) == (SUPERUSER, "", False)
        assert (latin.size or 0) > 1_000_000
        assert select_databases(facts, PostgresSource(dsn=""), "here") == ("first", "latin", "postgres")
        with pytest.raises(NotFoundError, match="Did you mean first"):
            select_databases(facts, PostgresSource(dsn="", databases=("frist",)), "here")
        with pytest.raises(BackupError, match="allows no connections"):
            select_databases(facts, PostgresSource(dsn="", databases=("no entry",)), "here")


def test_privileges_that_are_missing(postgres: Server) -> None:
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'r'")
    try:
        with postgres.database(
            "guarded",
            "CREATE TABLE open (x int)",
            "CREATE TABLE closed (x int)",
            "CREATE TABLE filtered (x int)",
            "CREATE SEQUENCE numbers",
            "CREATE SCHEMA secret",
            'CREATE TABLE secret."Odd" (x int)',
            "ALTER TABLE filtered ENABLE ROW LEVEL SECURITY",
            "GRANT SELECT ON open, filtered TO reader",
        ):
            endpoint = dsn_endpoint(PostgresSource(dsn=postgres.dsn(user="reader", tcp=True, password="r")))
            facts = inspect(endpoint)
            assert (facts.user, facts.superuser) == ("reader", False)
            with contextlib.closing(connect(endpoint, "guarded")) as connection:
                assert unreadable(connection) == Unreadable(
                    (
                        "public.closed may not be read",
                        "row-level security would hide rows of public.filtered",
                        "public.numbers may not be read",
                        'secret."Odd" may not be read',
                    )
                )
    finally:
        postgres.sql("DROP ROLE reader")


def test_end_backends_ends_exactly_those(postgres: Server) -> None:
    with contextlib.ExitStack() as opened:
        names = ("alone", "mine 1", "mine 2", "other")
        ours = {
            name: opened.enter_context(contextlib.closing(postgres.connect(application_name=name))) for name in names
        }
        assert end_backends(postgres.endpoint(), "alone") == 1
        assert end_backends(postgres.endpoint(), "mine ", prefix=True) == 2
        assert end_backends(postgres.endpoint(), "othe_") == 0
        for name in names[:3]:
            with pytest.raises(psycopg.OperationalError):
                ours[name].execute("SELECT 1")
        ours["other"].execute("SELECT 1")
