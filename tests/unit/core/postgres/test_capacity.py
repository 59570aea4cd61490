"""What a server must have for its dumps, and the figure that would do."""

from dataclasses import replace

import pytest

from hiveden_backup.core.model import Status
from hiveden_backup.core.postgres.capacity import MOST_DUMPS, Capacity, Extent, dumps_at_once, shortages

DEFAULT = Capacity(
    max_connections=100,
    reserved=3,
    connected=10,
    role_limit=None,
    role_connected=0,
    locks_each=64,
    transactions=122,
)
USUAL = Extent("shop", tables=300, others=200, limit=None, connected=5)


def said(capacity: Capacity, *extents: Extent) -> list[tuple[Status, str]]:
    return [(each.status, each.hint) for each in shortages(capacity, extents, "here", "u")]


def test_what_people_have_is_enough() -> None:
    assert said(DEFAULT, USUAL, USUAL, USUAL) == []
    assert shortages(replace(DEFAULT, max_connections=0), (), "here", "u") == ()
    assert dumps_at_once(DEFAULT, [USUAL] * 3) == 3
    assert dumps_at_once(DEFAULT, [replace(USUAL, tables=50, others=0)] * 20) == MOST_DUMPS


def test_what_bounds_how_many_are_dumped_at_once() -> None:
    assert dumps_at_once(replace(DEFAULT, connected=88), [USUAL] * 4) == 4
    assert dumps_at_once(replace(DEFAULT, connected=97), [USUAL] * 4) == 1
    assert dumps_at_once(replace(DEFAULT, role_limit=8), [USUAL] * 4) == 3
    assert dumps_at_once(replace(DEFAULT, locks_each=20), [USUAL] * 4) == 3
    assert dumps_at_once(replace(DEFAULT, locks_each=1), [USUAL] * 4) == 1


def test_connections_that_cannot_do_and_that_may_not() -> None:
    fifty = [replace(USUAL, name=f"d{number}", tables=10, others=0) for number in range(50)]
    raised = [(Status.FAIL, "Set max_connections to 80 or more on that server, and restart it")]
    assert said(replace(DEFAULT, max_connections=50), *fifty) == raised
    tight = [(Status.WARN, "Set max_connections to 110 or more on that server, and restart it")]
    assert said(replace(DEFAULT, connected=40), *fifty) == tight
    assert said(replace(DEFAULT, connected=20), *fifty) == []
    assert said(replace(DEFAULT, role_limit=2), USUAL) == [(Status.WARN, "ALTER ROLE u CONNECTION LIMIT 3")]
    assert said(replace(DEFAULT, role_limit=1), USUAL) == [(Status.FAIL, "ALTER ROLE u CONNECTION LIMIT 3")]


def test_the_connections_that_a_database_allows() -> None:
    assert said(DEFAULT, replace(USUAL, limit=7)) == []
    tight = [(Status.WARN, "ALTER DATABASE shop CONNECTION LIMIT 7")]
    assert said(DEFAULT, replace(USUAL, limit=6)) == tight
    assert said(DEFAULT, replace(USUAL, limit=1, connected=0)) == [
        (Status.FAIL, "ALTER DATABASE shop CONNECTION LIMIT 2")
    ]


@pytest.mark.parametrize(
    ("tables", "others", "status", "figure"),
    [
        (5000, 0, None, 0),
        (5000, 5000, Status.WARN, 128),
        (7500, 0, Status.WARN, 128),
        (20000, 0, Status.FAIL, 256),
        (200000, 0, Status.FAIL, 2112),
    ],
)
def test_locks(tables: int, others: int, status: Status | None, figure: int) -> None:
    extent = replace(USUAL, tables=tables, others=others)
    hint = f"Set max_locks_per_transaction to {figure} or more on that server, and restart it"
    assert said(DEFAULT, extent) == ([(status, hint)] if status is not None else [])
    assert said(replace(DEFAULT, locks_each=max(64, figure)), extent) == []


def test_locks_of_databases_that_wait_for_their_dump_count_less() -> None:
    many = [replace(USUAL, tables=87, others=0)] * 50
    assert said(DEFAULT, *many) == []
    assert said(replace(DEFAULT, locks_each=32), *many) != []
