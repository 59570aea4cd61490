"""Connection strings read as libpq reads them, so that no secret and no host is missed."""

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import pq

from hiveden_backup.core.config.parse import parse
from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.names import server_names
from hiveden_backup.core.postgres import conninfo

PARSED: list[tuple[str, dict[str, str]]] = [
    ("", {}),
    ("host=127.0.0.1 user=backup", {"host": "127.0.0.1", "user": "backup"}),
    ("  host = h\tport\n=\n5433 ", {"host": "h", "port": "5433"}),
    ("host='a b' user='it\\'s' dbname=x\\ y", {"host": "a b", "user": "it's", "dbname": "x y"}),
    ("host='a'port=5", {"host": "a", "port": "5"}),
    ("host=", {"host": ""}),
    ("host=''", {"host": ""}),
    ("host= port=5", {"host": "port=5"}),
    ("host=a host=b", {"host": "b"}),
    ("user=a'b", {"user": "a'b"}),
    ("user=a\\", {"user": "a"}),
    ("host=a,b port=1,2", {"host": "a,b", "port": "1,2"}),
    ("postgres://", {}),
    ("postgresql:///db", {"dbname": "db"}),
    ("postgresql://h", {"host": "h"}),
    ("postgresql://h:/d", {"host": "h", "dbname": "d"}),
    ("postgresql://u@h:5433/d", {"user": "u", "host": "h", "port": "5433", "dbname": "d"}),
    ("postgresql://u:p%20w@h", {"user": "u", "password": "p w", "host": "h"}),
    ("postgresql://u:@h", {"user": "u", "host": "h"}),
    ("postgresql://:p@h", {"password": "p", "host": "h"}),
    ("postgresql://[::1]:5432/d", {"host": "::1", "port": "5432", "dbname": "d"}),
    ("postgresql://a:1,b:2,[::1]/d", {"host": "a,b,::1", "port": "1,2,", "dbname": "d"}),
    ("postgresql://a,b", {"host": "a,b", "port": ","}),
    ("postgresql://%2Frun%2Fpostgresql/d", {"host": "/run/postgresql", "dbname": "d"}),
    ("postgresql:///d?host=/tmp&port=5433", {"dbname": "d", "host": "/tmp", "port": "5433"}),
    ("postgresql://h?ssl=true", {"host": "h", "sslmode": "require"}),
    ("postgresql://h?p%61ssword=x&", {"host": "h", "password": "x"}),
    ("postgresql://h/d%C3%A4?user=q", {"host": "h", "dbname": "dä", "user": "q"}),
    ("postgresql://u/@h", {"host": "u", "dbname": "@h"}),
]

BROKEN = [
    "immich",
    "=x",
    "host=a immich",
    "host='a",
    "host='a\\'",
    "postgresql://h?a",
    "postgresql://h?&user=x",
    "postgresql://h?user=a=b",
    "postgresql://h%2",
    "postgresql://h%zz",
    "postgresql://h%00",
    "postgresql://[::1",
    "postgresql://[::1]x",
]


def libpq(text: str) -> dict[str, str] | None:
    """What libpq makes of the text; None when it refuses it."""
    try:
        options = pq.Conninfo.parse(text.encode())
    except psycopg.OperationalError:
        return None
    return {option.keyword.decode(): option.val.decode() for option in options if option.val is not None}


def refusal(text: str) -> str:
    """Why the text is refused; "" when it is not."""
    try:
        conninfo.secrets(conninfo.parse(text))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("text", "values"), PARSED)
def test_values_are_those_that_libpq_sees(text: str, values: dict[str, str]) -> None:
    assert conninfo.parse(text) == values == libpq(text)


@pytest.mark.parametrize("text", BROKEN)
def test_what_libpq_refuses_is_refused_without_quoting_it(text: str) -> None:
    assert libpq(text) is None
    with pytest.raises(ValueError, match=r"^\D") as caught:
        conninfo.parse(text)
    assert text not in str(caught.value)


@pytest.mark.parametrize("text", ["port=x", "postgresql://u:se/cret@h", "postgresql://h%ff"])
def test_what_cannot_work_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(its port is not a number|what its % stand for is not UTF-8)$"):
        conninfo.parse(text)


PIECES = ["host", "port", "user", "dbname", "password", "=", "=", "'", "\\", " ", " ", "a", "1", "5432", ",", "/", "\t"]
URI_PIECES = ["u", ":", "@", "h", "[::1]", "[", "]", "5", ",", "/", "?", "&", "host=a", "ssl=true", "%20", "%2F", "%"]


@settings(max_examples=500)
@given(
    st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
        st.lists(st.sampled_from([*URI_PIECES, "password=z", "=", "ä"]), max_size=10).map(
            lambda pieces: "postgresql://" + "".join(pieces)
        ),
    )
)
def test_whatever_libpq_accepts_is_read_alike_or_has_a_bad_port(text: str) -> None:
    expected = libpq(text)
    if expected is not None and refusal(text) != "its port is not a number":
        assert conninfo.parse(text) == expected


@given(st.text())
def test_any_text_is_parsed_or_refused_in_our_words(text: str) -> None:
    for variant in (text, f"postgresql://{text}", f"host={text}"):
        assert "codec" not in refusal(variant)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host=h user=u passfile=/etc/x", ()),
        ("host=h password=secret", ("password",)),
        ("password=", ("password",)),
        ("PASSWORD=x", ("PASSWORD",)),
        ("host=h sslpassword=x sslkey=/k", ("sslpassword",)),
        ("postgresql://u:secret@h/d", ("password",)),
        ("postgresql://h/d?password=secret", ("password",)),
        ("postgresql://h/d?pass%77ord=secret", ("password",)),
        ("dbname='host=h password=x'", ("password",)),
        ("dbname=postgresql://u:p@h/d", ("password",)),
        ("dbname='odd = name'", ()),
        ("dbname='a=b=c d'", ()),
    ],
)
def test_secrets_are_found_wherever_they_stand(text: str, found: tuple[str, ...]) -> None:
    assert conninfo.secrets(conninfo.parse(text)) == found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("user=backup", "local"),
        ("", "local"),
        ("host=''", "local"),
        ("host=db.example.org port=5433", "db.example.org"),
        ("hostaddr=192.0.2.1", "192.0.2.1"),
        ("host=db hostaddr=192.0.2.1", "db"),
        ("host=/run/postgresql", "/run/postgresql"),
        ("postgresql://u@[::1]:5432/d", "::1"),
        ("postgresql:///d", "local"),
    ],
)
def test_a_server_is_called_by_its_host(text: str, name: str) -> None:
    assert PostgresSource(dsn=text).server == name


def test_a_configured_server_is_called_by_its_container_or_host() -> None:
    assert PostgresSource(container="immich_postgres").server == "immich_postgres"
    assert PostgresSource(dsn="host=127.0.0.1").server == "127.0.0.1"


def test_a_dsn_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    really = conninfo.parse

    def watched(text: str) -> dict[str, str]:
        read.append(text)
        return really(text)

    monkeypatch.setattr(conninfo, "parse", watched)
    dsn = "host=/run/postgresql port=5433"
    sources = [{"dsn": dsn, "databases": ["a"], "user": "backup"}]
    table = {"directory": "/srv/backups", "jobs": {"app": {"postgres": sources}}}
    (source,) = parse(table, lambda _: "config.toml").jobs["app"].postgres
    assert source.parameters == {"host": "/run/postgresql", "port": "5433"}
    assert server_names([source]) == ("/run/postgresql",)
    assert read == [dsn]
