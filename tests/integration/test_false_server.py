"""Servers that freeze, lie or never end: each question has its limit in time and in memory, and says so.

Of the protocol, they know what lets psycopg connect. The limits are shortened, not the way to them.
"""

import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, UnreachableError
from hiveden_backup.host.postgres.endpoint import dsn_endpoint
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.wire import Connection
from tests.integration.test_beyond import add_database
from tests.support.false_server import ANSWERS, READY, WELCOME, Answer, false_server, message, silence, without_end
from tests.support.forge import forged
from tests.support.job import Done, Site, site

SECONDS = 1.5
GRACE = 5.0
"""What the machine may need on top, when other tests keep it busy."""
MEMORY = 350 << 20


def impatient() -> None:
    """Let nobody wait long."""
    Connection.patience = SECONDS


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "patience", SECONDS)


def asked(dsn: str) -> BackupError:
    """What comes of asking, in time and without much memory."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here
    before, began = peak(), time.monotonic()
    with pytest.raises(BackupError) as caught:
        inspect(dsn_endpoint(PostgresSource(dsn=dsn)))
    assert time.monotonic() - began < SECONDS + GRACE
    assert peak() - before < MEMORY
    assert len(str(caught.value)) < 3000
    return caught.value


def peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_question_has_an_end(tmp_path: Path, answer: Answer, *, tcp: bool) -> None:
    with false_server(tmp_path, answer, tcp=tcp) as dsn:
        error = asked(dsn)
        assert isinstance(error, UnreachableError) == (answer is not ANSWERS["a long error"]), str(error)


@pytest.mark.usefixtures("_impatient")
def test_it_is_said_what_was_too_much(tmp_path: Path) -> None:
    with false_server(tmp_path, silence, tcp=True) as dsn:
        assert "did not answer within 1.5 seconds" in str(asked(dsn))
    with false_server(tmp_path, ANSWERS["notices"], tcp=True) as dsn:
        assert "has no end: it was cut off after 32 MiB" in str(asked(dsn))


SETTING = message(b"S", b"name\0" + b"x" * 500 + b"\0")
LOGGED_IN = WELCOME.removesuffix(READY)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("welcome", [b"", LOGGED_IN, b"garbage", SETTING], ids=["silent", "late", "garbage", "odd"])
def test_connecting_has_an_end(tmp_path: Path, welcome: bytes) -> None:
    with false_server(tmp_path, silence, welcome=welcome) as dsn:
        assert isinstance(asked(f"{dsn} connect_timeout=2"), UnreachableError)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("pause", [0.0, 0.1], ids=["endless", "slow"])
def test_who_says_a_little_again_and_again_is_no_server(tmp_path: Path, pause: float) -> None:
    """The limit of psycopg 3.1 begins anew with each word."""
    with false_server(tmp_path, silence, welcome=LOGGED_IN, more=without_end(SETTING, pause=pause)) as dsn:
        assert isinstance(asked(dsn), UnreachableError)


# ---- the program ----------------------------------------------------------------------------------------------------


def start() -> None:
    """Impatient, and with so much memory that a server which fills it is seen."""
    impatient()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Site]:
    """A job with a backup that has a database `shop` of the server 127.0.0.1."""
    with site(tmp_path, "unix:///none") as made:
        (made.data / "file").write_text("mine")
        made.configure({"app": {"paths": [str(made.data)]}})
        made.init().run("run", "app").succeeded()
        with forged(made.job() / made.ids()[0]) as backup:
            add_database(backup, "127.0.0.1", {"kind": "dsn", "name": "127.0.0.1", "path": ""})
        yield made


@pytest.mark.parametrize("answer", ["silence", "rows", "one value", "another answer"])
def test_no_command_waits_for_it(bed: Site, tmp_path: Path, answer: str) -> None:
    def ends(*arguments: str) -> Done:
        began = time.monotonic()
        done = bed.run(*arguments, before=start)
        assert time.monotonic() - began < 3 * (SECONDS + GRACE)
        assert "Traceback" not in done.out + done.err
        return done

    with false_server(tmp_path, ANSWERS[answer], tcp=True) as dsn:
        bed.change(postgres=[{"dsn": dsn}])
        assert ends("check", "app").code == 1
        ends("run", "app").failed(69)
        assert ends("status").code == 1, "the run failed"
    assert len(bed.ids()) == 1
