"""Sizes as people write them."""

import pytest

from hiveden_backup.core import sizes


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("4096", 4096), ("1 B", 1), ("128MiB", 128 << 20), ("1 GiB", 1 << 30), ("7KiB", 7168)]
)
def test_a_size_is_read_and_written(text: str, count: int) -> None:
    assert sizes.parse(text) == count
    assert sizes.parse(sizes.exact(count)) == count


@pytest.mark.parametrize("text", ["", "MiB", "1MB", "1.5GiB", "-1", "1 2", "½MiB", "1MiBB", "1M", "9" * 5000, "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it is"):
        sizes.parse(text)


def test_the_largest_unit_that_fits_is_written() -> None:
    assert [sizes.exact(count) for count in (0, 1023, 1024, 1 << 20, 3 << 29, 1 << 60)] == (
        ["0B", "1023B", "1KiB", "1MiB", "1536MiB", "1024PiB"]
    )
