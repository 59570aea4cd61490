"""Records come back as they were written, and nothing else is taken for one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest

from hiveden_backup.core.codec import Codec, RecordError, parsed
from hiveden_backup.core.config.values import PostgresSource


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Outer:
    text: str
    flag: bool
    count: int
    share: float
    at: datetime
    colour: Colour
    inner: Inner
    many: tuple[Inner, ...]
    names: tuple[str, ...]
    lists: Mapping[str, tuple[str, ...]]
    anything: Mapping[str, object]
    perhaps: Inner | None = None
    later: str = "default"
    hidden: str = ""
    made: str = field(init=False, default="made")


AT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
OUTER = Outer(
    text="\udcff\u2028",
    flag=True,
    count=-(2**63),
    share=0.5,
    at=AT,
    colour=Colour.BLUE,
    inner=Inner("a", 1),
    many=(Inner("b"), Inner("c", 0)),
    names=("x", "y"),
    lists={"k": ("v", "w"), "empty": ()},
    anything={"a": [1, {"b": None}], "c": True},
)
CODEC = Codec(Outer, lacking=("later",), unwritten=("hidden",))


def test_there_and_back() -> None:
    assert CODEC.load(CODEC.dump(OUTER)) == OUTER
    assert CODEC.load(CODEC.dump(OUTER, indent=1)) == OUTER
    assert CODEC.dump(OUTER).endswith(b"}\n")
    assert CODEC.table(OUTER) == {
        "text": "\udcff\u2028",
        "flag": True,
        "count": -(2**63),
        "share": 0.5,
        "at": "2026-11-23T02:30:00Z",
        "colour": "blue",
        "inner": {"name": "a", "number": 1},
        "many": [{"name": "b", "number": None}, {"name": "c", "number": 0}],
        "names": ["x", "y"],
        "lists": {"k": ["v", "w"], "empty": []},
        "anything": {"a": [1, {"b": None}], "c": True},
        "perhaps": None,
        "later": "default",
    }


def test_what_older_and_newer_versions_wrote() -> None:
    table = CODEC.table(OUTER)
    del table["later"]
    table["unknown"] = 1
    table["inner"]["unknown"] = 1
    table["hidden"] = table["made"] = "not believed"
    assert CODEC.value(table) == OUTER


def test_whole_numbers_are_numbers() -> None:
    found = CODEC.value(CODEC.table(OUTER) | {"share": 2})
    assert (found.share, type(found.share)) == (2.0, float)


def test_exact_moments() -> None:
    @dataclass(frozen=True, slots=True)
    class Moment:
        at: datetime

    moment = Moment(datetime(2026, 11, 23, 4, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))))
    exact = Codec(Moment, exact=True)
    assert exact.table(moment) == {"at": "2026-11-23T02:30:00.123456+00:00"}
    assert exact.load(exact.dump(moment)) == moment
    assert Codec(Moment).table(moment) == {"at": "2026-11-23T02:30:00Z"}
    for bad in ("yesterday", "0001-01-01T00:00:00+14:00", "2026-11-23T02:30:61+00:00"):
        with pytest.raises(RecordError, match=r"^at: "):
            exact.value({"at": bad})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 1),
        ("text", None),
        ("flag", 1),
        ("flag", "yes"),
        ("count", True),
        ("count", 1.0),
        ("count", "1"),
        ("share", True),
        ("share", "0.5"),
        ("share", 10**400),
        ("at", 5),
        ("at", ""),
        ("at", "2026-11-23T02:30:00+00:00"),
        ("at", "2026-02-30T02:30:00Z"),
        ("colour", "green"),
        ("colour", ["red"]),
        ("colour", None),
        ("inner", None),
        ("inner", []),
        ("inner", {}),
        ("inner", {"name": "a"}),
        ("inner", {"name": "a", "number": "1"}),
        ("many", {}),
        ("many", [None]),
        ("many", "ab"),
        ("names", [1]),
        ("names", "ab"),
        ("names", None),
        ("lists", []),
        ("lists", {"k": "vw"}),
        ("anything", None),
        ("perhaps", False),
    ],
)
def test_what_is_of_another_type(name: str, value: object) -> None:
    with pytest.raises(RecordError, match=f"^{name}: "):
        CODEC.value(CODEC.table(OUTER) | {name: value})


@pytest.mark.parametrize("name", sorted(set(CODEC.table(OUTER)) - {"later"}))
def test_what_is_missing(name: str) -> None:
    table = CODEC.table(OUTER)
    del table[name]
    with pytest.raises(RecordError, match=f"^{name} is missing$"):
        CODEC.value(table)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b"1" * 9999])
def test_what_is_no_record(content: bytes) -> None:
    with pytest.raises(RecordError):
        CODEC.load(content)


def test_where_it_is_wrong() -> None:
    table: Any = json.loads(CODEC.dump(OUTER))
    table["many"][1]["number"] = "x" * 1000
    with pytest.raises(RecordError, match=r"^many: number: 'x{79} is no int$"):
        CODEC.value(table)
    with pytest.raises(RecordError, match=r"^1 is no Outer$"):
        CODEC.value(parsed(b"1"))


def test_a_record_with_rules_of_its_own() -> None:
    with pytest.raises(RecordError, match="it is not made of key=value pairs"):
        Codec(PostgresSource).value(Codec(PostgresSource).table(PostgresSource()) | {"dsn": "hunter2"})


@pytest.mark.parametrize(
    "text",
    [
        b'"\\u0000"',
        b'{"\\u0000": 1}',
        b'"\\ud800"',
        b'["\\uDD00"]',
        b'"\xff"',
        b'"\xed\xb3\xbf"',
        b"NaN",
        b"-Infinity",
        b"[1e999]",
        b"[18446744073709551616]",
        b"9" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_nothing_can_handle_is_no_record(text: bytes) -> None:
    """A path with a NUL, a size without an end: whoever meets one of these later has no answer to it."""
    with pytest.raises(RecordError):
        parsed(text)


@pytest.mark.parametrize(
    "text", [b'"\\udcff"', b'"\\ud83d\\ude00"', b"[1.5, -3, 18446744073709551615]", b'"12345678901234567890123"']
)
def test_what_only_looks_like_that_is_read(text: bytes) -> None:
    assert parsed(text) == json.loads(text)
