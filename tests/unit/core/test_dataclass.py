"""What one sees of our dataclasses is what the library's have."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import Any, ClassVar

import pytest

from hiveden_backup.core.dataclass import dataclass

Decorator = Callable[..., Callable[[type], type]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A value that is sent elsewhere."""

    name: str
    parts: tuple[int, ...] = ()


def kinds(decorator: Decorator, **options: bool) -> tuple[Any, Any]:
    """A class with all that fields can have, and one that inherits from it."""

    class Kind:
        shared: ClassVar[int] = 7
        name: str
        secret: str = field(repr=False)
        count: int = 1
        parts: list[str] = field(default_factory=list, compare=False)
        seen: tuple[object, ...] = field(init=False, default=())
        made: dict[str, int] = field(init=False, default_factory=dict)
        later: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "later", self.count + 1)

        def doubled(self) -> int:
            return self.count * 2

    first: Any = decorator(**options)(Kind)

    class More(first):  # type: ignore[misc]
        extra: str = "x"

    return first, decorator(**options)(More)


OPTIONS = [
    {"frozen": True, "slots": True},
    {"frozen": True},
    {"slots": True},
    {"slots": True, "eq": False},
]


@pytest.fixture(params=OPTIONS, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return kinds(dataclass, **request.param), kinds(dataclasses.dataclass, **request.param)


def outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - which one is what is compared
        return type(error), str(error)


ACTS: dict[str, Callable[[Any, Any], object]] = {
    "positional": lambda kind, _: repr(kind("a", "b", 3, ["c"])),
    "named": lambda kind, _: repr(kind(secret="b", name="a")),
    "missing": lambda kind, _: kind("a"),
    "too many": lambda kind, _: kind("a", "b", 3, [], 5, 6, 7),
    "unknown": lambda kind, _: kind("a", "b", seen=()),
    "values": lambda kind, _: [getattr(kind("a", "b", 4), each.name) for each in fields(kind)],
    "equal": lambda kind, _: (kind("a", "b") == kind("a", "b"), kind("a", "b") == kind("a", "c")),
    "not compared": lambda kind, _: kind("a", "b", 1, ["c"]) == kind("a", "b"),
    "another class": lambda kind, more: kind("a", "b") == more("a", "b"),
    "hash": lambda kind, _: hash(kind("a", "b")) and "it has one",
    "set": lambda kind, _: setattr(kind("a", "b"), "name", "c"),
    "delete": lambda kind, _: delattr(kind("a", "b"), "name"),
    "replace": lambda kind, _: repr(replace(kind("a", "b"), count=9)),
    "inherits": lambda _, more: (repr(more("a", "b", extra="y")), more("a", "b").doubled(), more.shared),
    "matches": lambda kind, more: (kind.__match_args__, more.__match_args__),
    "factories": lambda kind, _: kind("a", "b").parts is kind("a", "b").parts,
}


@pytest.mark.parametrize("act", ACTS)
def test_it_is_as_the_library_makes_it(pair: tuple[tuple[Any, Any], tuple[Any, Any]], act: str) -> None:
    ours, theirs = pair
    first = outcome(lambda: ACTS[act](*ours))
    assert first == outcome(lambda: ACTS[act](*theirs))
    assert first == outcome(lambda: ACTS[act](*ours)), "another way once it is compiled"


def test_own_methods_stay() -> None:
    @dataclass(slots=True)
    class Own:
        name: str

        def __init__(self, name: str) -> None:
            self.name = name.upper()

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert (Own("a").name, repr(Own("a")), Own("a") == 1) == ("A", "mine", True)


def test_a_frozen_value_can_be_sent() -> None:
    value = Sent("a", (1, 2))
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


def test_nothing_is_compiled_before_the_first_value() -> None:
    @dataclass(frozen=True, slots=True)
    class Unused:
        name: str

    before = Unused.__init__
    Unused("a")
    assert Unused.__init__ is not before
