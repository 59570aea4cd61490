"""A file of time-zone rules that was cut off is told from a whole one."""

from pathlib import Path

import pytest

from hiveden_backup.core.schedule.zone_file import is_whole

BERLIN = Path("/usr/share/zoneinfo/Europe/Berlin")


def test_each_beginning_of_one_is_none() -> None:
    data = BERLIN.read_bytes()
    assert is_whole(data)
    assert not any(is_whole(data[:end]) for end in range(len(data)))


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"UTC\n", b"TZif2" + b"\xff" * 200, b"<html>" * 99])
def test_garbage_is_none(data: bytes) -> None:
    assert not is_whole(data)


def test_one_of_the_first_version() -> None:
    data = BERLIN.read_bytes()
    first = data[:4] + b"\0" + data[5 : data.index(b"TZif", 1)]
    assert is_whole(first)
    assert not is_whole(first[:-1])
