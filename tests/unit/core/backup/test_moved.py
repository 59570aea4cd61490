"""Directories that must stay while tar reads, and what lies in those that did not."""

import pytest

from hiveden_backup.core.backup.moved import Moved, Ways, directory_line, parse_directory


def test_ways_lead_up_to_the_root_and_no_further() -> None:
    ways = Ways()
    ways.add(b"srv/app/a/file", directory=False)
    ways.add(b"srv/app/b", directory=True)
    ways.add(b"top", directory=False)
    assert ways.directories == {b"srv", b"srv/app", b"srv/app/a", b"srv/app/b"}


@pytest.mark.parametrize(
    ("path", "above"),
    [
        (b"a/b", b"a/b"),
        (b"a/b/c/d", b"a/b"),
        (b"x/y/z", b"x"),
        (b"a/b-c", None),
        (b"a", None),
        (b"a/bc/d", None),
    ],
)
def test_what_lies_in_a_directory_that_moved(path: bytes, above: bytes | None) -> None:
    assert Moved({b"a/b", b"x", b"x/y"}).above(path) == above
    assert Moved().above(path) is None


def test_the_list_takes_any_name() -> None:
    assert parse_directory(directory_line(b"a\tb\n\xff", (66305, 2))) == (b"a\tb\n\xff", (66305, 2))
