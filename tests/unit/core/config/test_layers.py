"""Files of configuration laid over each other: what has no effect, and what is left without a key."""

import pytest

from hiveden_backup.core.config.layers import Layer, Overridden, merge, without


def test_what_counts_as_overridden() -> None:
    """What says the same does not; nor does a table beside others, or a value without one before."""
    person = {"a": 1, "t": {"x": 1, "same": [2]}, "v": {"deep": 1}, "w": 3}
    own = {"t": {"x": 2, "y": 1, "same": [2]}, "v": 4, "w": {"now": "a table"}}
    ours = {"t": {"x": 3}, "new": 1}
    merged = merge([Layer("1", person), Layer("2", own), Layer("3", ours)])
    assert merged.table == {"a": 1, "t": {"x": 3, "y": 1, "same": [2]}, "v": 4, "w": {"now": "a table"}, "new": 1}
    assert set(merged.overridden) == {
        Overridden(("t", "x"), "1", "3"),
        Overridden(("t", "x"), "2", "3"),
        Overridden(("v",), "1", "2"),
        Overridden(("w",), "1", "2"),
    }


def test_without() -> None:
    table = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
    assert without(table, ("a", "b", "c")) == {"a": {"d": 2}, "e": 3}
    assert without(table, ("a",)) == {"e": 3}
    for missing in (("x",), ("a", "x"), ("e", "x")):
        with pytest.raises(KeyError):
            without(table, missing)
