"""A restored database in the place of the live one: nobody stops it half way, and it goes back as it came."""

import contextlib
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from hiveden_backup.core.config.values import PostgresSource
from hiveden_backup.core.errors import BackupError, NotFoundError, UsageError
from hiveden_backup.core.model import DatabaseFacts
from hiveden_backup.core.postgres.values import Endpoint, PgTools, select_databases
from hiveden_backup.host.failpoints import VARIABLE
from hiveden_backup.host.postgres.inspect import inspect
from hiveden_backup.host.postgres.restore import Restored
from hiveden_backup.host.postgres.swap import Staged, check_kept, discard, drop_kept, intended, put_back, stage, swap
from tests.support.postgres import Server, dump_to

NOW = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = [("old",)], [("new",)]

Stage = Callable[[str], Staged]


@pytest.fixture(scope="module")
def dumped(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatabaseFacts]:
    """What is restored in most tests: a table that says `old`."""
    path = tmp_path_factory.mktemp("dumped") / "database.local.source.dump.zst"
    with postgres.database("source", "CREATE TABLE t AS SELECT 'old' AS x"):
        return path, dump_to(path, postgres.endpoint(), "source")


@pytest.fixture
def staged(endpoint: Endpoint, dumped: tuple[Path, DatabaseFacts], tool: PgTools) -> Stage:
    def stage_it(live: str) -> Staged:
        made, restored = stage(endpoint, *dumped, live, NOW, tool)
        assert restored == Restored((), ())
        return made

    return stage_it


@pytest.fixture
def shop(postgres: Server) -> Iterator[str]:
    """A live database whose table says `new`."""
    with postgres.database("shop", "CREATE TABLE t AS SELECT 'new' AS x") as name:
        yield name


@pytest.fixture(autouse=True)
def nothing_is_left(postgres: Server) -> Iterator[None]:
    """Only the databases that were there before, whatever the test did; it says so itself where it matters."""
    before = postgres.databases()
    yield
    for name in postgres.databases() - before:
        postgres.drop(name)


def content(postgres: Server, name: str) -> list[tuple[object, ...]]:
    return postgres.sql("SELECT x FROM t", dbname=name)


def closed(postgres: Server) -> set[object]:
    rows = postgres.sql("SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'")
    return {name for (name,) in rows}


# ---- there and back --------------------------------------------------------------------------------------------------


def test_there_and_back_each_step_twice(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    before = postgres.databases()
    made = staged(shop)
    assert made == replace(intended(endpoint, shop, NOW), oid=made.oid, replaced=made.replaced)
    assert made.kept == "shop_before_20261123T023000Z"
    assert content(postgres, shop) == NEW
    for _ in range(2):
        swap(endpoint, made)
        assert content(postgres, shop) == OLD
        assert postgres.databases() == before | {made.kept}
        assert closed(postgres) == {made.kept}
    for undo, stays in ((put_back, {made.staged}), (put_back, {made.staged}), (discard, set()), (discard, set())):
        undo(endpoint, made)
        assert content(postgres, shop) == NEW
        assert (postgres.databases(), closed(postgres)) == (before | stays, stays)


def test_what_is_kept_or_staged_is_not_dumped(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    every = select_databases(inspect(endpoint), PostgresSource(dsn=""), "s")
    made = staged(shop)
    assert select_databases(inspect(endpoint), PostgresSource(dsn=""), "s") == every
    swap(endpoint, made)
    assert select_databases(inspect(endpoint), PostgresSource(dsn=""), "s") == every
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        postgres.connect(made.kept)


def test_what_is_kept_goes_when_it_may(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    before = postgres.databases()
    made = staged(shop)
    swap(endpoint, made)
    for _ in range(2):
        drop_kept(endpoint, made)
        assert postgres.databases() == before
    assert content(postgres, shop) == OLD
    with pytest.raises(NotFoundError, match="shop stays as it is"):
        put_back(endpoint, made)
    assert content(postgres, shop) == OLD
    with pytest.raises(UsageError):
        drop_kept(endpoint, replace(made, kept=shop))


@pytest.mark.parametrize("put_back_first", [False, True])
def test_staged_that_is_not_wanted_goes(
    postgres: Server, endpoint: Endpoint, staged: Stage, shop: str, *, put_back_first: bool
) -> None:
    before = postgres.databases()
    made = staged(shop)
    for _ in range(2):
        if put_back_first:
            put_back(endpoint, made)
        discard(endpoint, made)
        assert postgres.databases() == before
        assert content(postgres, shop) == NEW
    staged(shop)
    discard(endpoint, intended(endpoint, shop, NOW))  # what is known when nobody could write down the rest
    assert postgres.databases() == before
    with pytest.raises(NotFoundError, match="shop was not touched"):
        swap(endpoint, made)


def test_nothing_to_replace(postgres: Server, endpoint: Endpoint, staged: Stage) -> None:
    before = postgres.databases()
    made = staged("gone")
    for _ in range(2):
        swap(endpoint, made)
        assert content(postgres, "gone") == OLD
        assert postgres.databases() == before | {"gone"}
    for _ in range(2):
        put_back(endpoint, made)
        assert postgres.databases() == before | {made.staged}
    for _ in range(2):
        discard(endpoint, made)
        assert postgres.databases() == before
    with postgres.database("gone", "CREATE TABLE t AS SELECT 'new' AS x"):
        put_back(endpoint, made)
        discard(endpoint, made)
        assert content(postgres, "gone") == NEW, "somebody else's by now"


def test_live_one_that_went_meanwhile(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    made = staged(shop)
    postgres.drop(shop)
    swap(endpoint, made)
    assert content(postgres, shop) == OLD


@pytest.mark.parametrize("name", ["x" * 63, "ü" * 31, "Shop \"x\" 'y'", "-d"])
def test_names(postgres: Server, endpoint: Endpoint, staged: Stage, name: str) -> None:
    with postgres.database(name, "CREATE TABLE t AS SELECT 'new' AS x"):
        made = staged(name)
        assert len(made.kept.encode()) <= 63
        swap(endpoint, made)
        assert content(postgres, name) == OLD
        assert made.kept in postgres.databases()
        put_back(endpoint, made)
        assert content(postgres, name) == NEW


def test_the_database_postgres_itself(postgres: Server, endpoint: Endpoint, staged: Stage) -> None:
    def its_content() -> list[tuple[object, ...]]:
        return postgres.sql("SELECT coalesce((SELECT 1 FROM pg_class WHERE relname = 't'), 0)")

    made = staged("postgres")
    with reconnecting(postgres, "postgres"):
        swap(endpoint, made)
        swap(endpoint, made)
    assert its_content() == [(1,)]
    with reconnecting(postgres, "postgres"):
        put_back(endpoint, made)
    assert its_content() == [(0,)]
    named = replace(endpoint, database="shop")
    with postgres.database("shop", "CREATE TABLE t AS SELECT 'new' AS x"):
        made = staged("shop")
        swap(named, made)
        put_back(named, made)
        assert content(postgres, "shop") == NEW


# ---- others ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reconnecting(postgres: Server, name: str, count: int = 3) -> Iterator[list[object]]:
    """Clients that have a transaction open all the time, and come back whenever they are ended; what they read."""
    stop, connected, seen = threading.Event(), threading.Semaphore(0), list[object]()

    def keep_on() -> None:
        first = True
        while not stop.is_set():
            with contextlib.suppress(psycopg.Error), contextlib.closing(postgres.connect(name)) as connection:
                connection.execute("BEGIN")
                if first:
                    connected.release()
                first = False
                while not stop.is_set():
                    for row in connection.execute("SELECT current_database()"):
                        seen.append(row[0])
                    time.sleep(0.01)

    threads = [threading.Thread(target=keep_on) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert connected.acquire(timeout=60)
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_sessions_and_reconnecting_poolers(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    def they_get_in_again() -> None:
        count, deadline = len(seen), time.monotonic() + 60
        while len(seen) <= count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    made = staged(shop)
    with reconnecting(postgres, shop) as seen:
        swap(endpoint, made)
        they_get_in_again()
        assert content(postgres, shop) == OLD
        put_back(endpoint, made)
        they_get_in_again()
    assert content(postgres, shop) == NEW
    assert set(seen) == {shop}


def test_prepared_transactions_are_refused(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    made = staged(shop)
    postgres.sql("BEGIN", "INSERT INTO t VALUES ('pending')", "PREPARE TRANSACTION 'order 7'", dbname=shop)
    try:
        for attempt in (lambda: swap(endpoint, made), lambda: staged(shop)):
            with pytest.raises(
                BackupError,
                match=r"cannot be replaced.*order 7 \(user .*, since 20.*COMMIT PREPARED 'order 7'.* in shop",
            ):
                attempt()
        assert closed(postgres) == {made.staged}
    finally:
        postgres.sql("ROLLBACK PREPARED 'order 7'", dbname=shop)
    swap(endpoint, made)


def test_what_does_not_become_free(
    postgres: Server, endpoint: Endpoint, staged: Stage, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction prepared at the last moment holds it; afterwards the live one is as it was."""
    monkeypatch.setattr(f"{swap.__module__}._BUSY_SECONDS", 0.0)
    monkeypatch.setattr(f"{swap.__module__}._check_replaceable", lambda *_: None)
    made = staged(shop)
    postgres.sql("BEGIN", "INSERT INTO t VALUES ('pending')", "PREPARE TRANSACTION 'order 8'", dbname=shop)
    try:
        with pytest.raises(BackupError, match=r"would not become free.*order 8.*ROLLBACK PREPARED"):
            swap(endpoint, made)
        assert content(postgres, shop) == NEW
    finally:
        postgres.sql("ROLLBACK PREPARED 'order 8'", dbname=shop)


def test_databases_that_others_changed_are_left_alone(
    postgres: Server, endpoint: Endpoint, staged: Stage, shop: str
) -> None:
    made = staged(shop)
    postgres.sql("ALTER DATABASE shop RENAME TO shop_moved")
    with postgres.database(shop, "CREATE TABLE t AS SELECT 'theirs' AS x"):
        with pytest.raises(BackupError, match="not the one that it was"):
            swap(endpoint, made)
        assert content(postgres, shop) == [("theirs",)]
    postgres.sql("ALTER DATABASE shop_moved RENAME TO shop")
    swap(endpoint, made)
    postgres.sql("ALTER DATABASE shop RENAME TO shop_moved")
    with postgres.database(shop, "CREATE TABLE t AS SELECT 'theirs' AS x"):
        with pytest.raises(BackupError, match="not the one that it was"):
            put_back(endpoint, made)
        assert content(postgres, shop) == [("theirs",)]
    put_back(endpoint, made)
    assert content(postgres, shop) == NEW
    assert content(postgres, "shop_moved") == OLD


def test_what_cannot_be_put_back_is_told_before(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str) -> None:
    made = staged(shop)
    swap(endpoint, made)
    check_kept(endpoint, made)
    postgres.sql("ALTER DATABASE shop RENAME TO shop_moved")
    check_kept(endpoint, made)
    with postgres.database(shop), pytest.raises(BackupError, match="not the one that it was"):
        check_kept(endpoint, made)
    postgres.sql("ALTER DATABASE shop_moved RENAME TO shop")
    postgres.drop(made.kept)
    with pytest.raises(NotFoundError, match="nothing to put back"):
        check_kept(endpoint, made)
    assert content(postgres, shop) == OLD


def test_what_is_never_replaced(endpoint: Endpoint, staged: Stage, postgres: Server, shop: str) -> None:
    before = postgres.databases()
    with pytest.raises(UsageError, match=r"template1 .* is a template"):
        staged("template1")
    with pytest.raises(UsageError, match="cannot be called"):
        staged("x" * 64)
    assert postgres.databases() == before
    swap(endpoint, staged(shop))
    with pytest.raises(BackupError, match=r"shop_before_20261123T023000Z exists .* already"):
        staged(shop)


# ---- interruptions ---------------------------------------------------------------------------------------------------


PROGRAM = "import pickle, sys; act, *arguments = pickle.loads(bytes.fromhex(sys.argv[1])); act(*arguments)"


def interrupted(failpoint: str, *call: object) -> None:
    """A call in a process of its own, which ends at a fail point."""
    argv = [sys.executable, "-c", PROGRAM, pickle.dumps(call).hex()]
    done = subprocess.run(argv, cwd=ROOT, env={VARIABLE: failpoint}, capture_output=True, text=True, check=False)
    killed = failpoint.endswith(":kill")
    assert done.returncode == (-signal.SIGKILL if killed else 1), done.stderr
    assert killed or "The fail point" in done.stderr


@pytest.mark.parametrize("how", ["error", "kill"])
@pytest.mark.parametrize(("then", "shut"), [(swap, ["kept"]), (put_back, ["staged"]), (discard, [])])
def test_swap_that_is_interrupted(  # noqa: PLR0917 - fixtures
    postgres: Server, staged: Stage, shop: str, how: str, then: Callable[[Endpoint, Staged], None], shut: list[str]
) -> None:
    endpoint = postgres.endpoint()
    before = postgres.databases()
    made = staged(shop)
    with reconnecting(postgres, shop):
        interrupted(f"swap-database:{how}", swap, endpoint, made)
        assert (shop in closed(postgres)) is (how == "kill")
        then(endpoint, made)
    assert content(postgres, shop) == (OLD if then is swap else NEW)
    assert closed(postgres) == {getattr(made, name) for name in shut}
    put_back(endpoint, made)
    discard(endpoint, made)
    assert content(postgres, shop) == NEW
    assert (postgres.databases(), closed(postgres)) == (before, set())


@pytest.mark.parametrize("how", ["error", "kill"])
def test_undo_that_is_interrupted(postgres: Server, endpoint: Endpoint, staged: Stage, shop: str, how: str) -> None:
    before = postgres.databases()
    made = staged(shop)
    swap(endpoint, made)
    interrupted(f"undo-database:{how}", put_back, endpoint, made)
    assert (shop in closed(postgres)) is (how == "kill")
    put_back(endpoint, made)
    discard(endpoint, made)
    assert content(postgres, shop) == NEW
    assert (postgres.databases(), closed(postgres)) == (before, set())


@pytest.mark.parametrize("how", ["error", "kill"])
def test_stage_that_is_interrupted(
    postgres: Server, dumped: tuple[Path, DatabaseFacts], tool: PgTools, shop: str, how: str
) -> None:
    endpoint = postgres.endpoint()
    before = postgres.databases()
    interrupted(f"stage-database:{how}", stage, endpoint, *dumped, shop, NOW, tool)
    made = intended(endpoint, shop, NOW)
    assert postgres.databases() - before == ({made.staged} if how == "kill" else set())
    discard(endpoint, made)
    assert postgres.databases() == before
    assert content(postgres, shop) == NEW
