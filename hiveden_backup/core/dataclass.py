"""`dataclass` of the standard library, for a tenth of what it costs at start-up.

The library writes and compiles up to six functions for each class as soon as its module is imported: for the 160
classes of a run, a third of what a small one took. Here `__init__` is compiled when the first value of a class is made,
which for most classes of a command is never, and all classes share the other functions. What one sees of a class is the
same, and for type checkers it is the library's.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type], type]:
        """As the library's. These are the options that this program uses."""

        def made(plain: type) -> type:
            own = vars(plain).keys()
            kind = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(plain)
            if "__init__" not in own:
                kind.__init__ = _compiles_first(kind, frozen=frozen)
            if "__repr__" not in own:
                kind.__repr__ = _shown
            if eq and "__eq__" not in own:
                kind.__eq__ = _equal
                kind.__hash__ = _hashed if frozen else None
            if frozen:
                kind.__setattr__, kind.__delattr__, kind.__setstate__ = _refuse_to_set, _refuse_to_delete, _set_state
            return kind

        return made


def _compiles_first(kind: Any, *, frozen: bool) -> Callable[..., None]:
    def __init__(self: object, *arguments: object, **named: object) -> None:  # noqa: N807 - it stands for it
        kind.__init__ = _initializer(kind, frozen=frozen)
        kind.__init__(self, *arguments, **named)

    return __init__


def _initializer(kind: type, *, frozen: bool) -> Callable[..., None]:
    """The `__init__` of a class, as the library would write it."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
    parameters, body = ["self"], []
    for each in dataclasses.fields(kind):
        name, value = each.name, each.name
        if each.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"], known[f"_default_{name}"] = each.default_factory, dataclasses.MISSING
            value = f"_make_{name}() if {name} is _missing else {name}" if each.init else f"_make_{name}()"
        elif each.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = each.default
            value = name if each.init else f"_default_{name}"
        elif not each.init:
            continue
        if each.init:
            parameters.append(f"{name}=_default_{name}" if f"_default_{name}" in known else name)
        body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(kind, "__post_init__"):
        body.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(body or ["pass"]), known)  # noqa: S102 - names of fields
    function: Callable[..., None] = known["__init__"]
    function.__qualname__ = f"{kind.__qualname__}.__init__"
    return function


def _values(value: Any) -> tuple[object, ...]:
    return tuple([getattr(value, each.name) for each in dataclasses.fields(value) if each.compare])


def _equal(self: object, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hashed(self: object) -> int:
    return hash(_values(self))


def _shown(self: Any) -> str:
    told = [f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr]
    return f"{self.__class__.__qualname__}({', '.join(told)})"


def _refuse_to_set(_self: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _set_state(self: object, state: tuple[object, dict[str, object]]) -> None:
    for name, value in state[1].items():
        object.__setattr__(self, name, value)
