"""Records on disk: frozen dataclasses to JSON and back, strictly by the types of their fields.

A field is a text, a number, a flag, a moment, an enum, a tuple, a mapping by texts, another record, or None where its
type says so. What is not of its type, or is missing, is a RecordError; what no field is called after is passed over,
since a newer version may have written it. What reading makes of a type is worked out once: a list of backups reads a
thousand manifests.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from operator import itemgetter
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_origin

from hiveden_backup.core.names import from_iso, iso

_T = TypeVar("_T")
_Reader = Callable[[Any], Any]
_SHOWN = 80
_PLAIN = (str, int, bool)
_EQUAL = 8192

LONGEST = 64 << 20
"""What no record in a state directory is longer than, in bytes."""


class RecordError(ValueError):
    """What is no such record; the message says where and why."""


class Codec(Generic[_T]):
    """How records of one kind are written and read.

    `lacking` are names of fields, of nested records too, that older versions did not write, `unwritten` of those that
    are not kept at all: they have their defaults then. `sparse` ones are lacking too, and written only where they say
    something else than their default: a record that needs them not is what older versions wrote. Moments are written
    in whole seconds, or with `exact` as they are.
    """

    def __init__(
        self,
        kind: type[_T],
        *,
        lacking: Collection[str] = (),
        unwritten: Collection[str] = (),
        sparse: Collection[str] = (),
        exact: bool = False,
    ) -> None:
        self._kind = kind
        self._lacking = frozenset((*lacking, *unwritten, *sparse))
        self._unwritten = frozenset(unwritten)
        self._sparse = frozenset(sparse)
        self._write_moment, self._read_moment = (_exact, _from_exact) if exact else (iso, from_iso)
        self._readers: dict[Any, _Reader] = {}

    def dump(self, value: _T, *, indent: int | None = None) -> bytes:
        """The content of a file with one record."""
        return json.dumps(self.table(value), indent=indent).encode() + b"\n"

    def load(self, data: bytes) -> _T:
        """The inverse of `dump`. RecordError."""
        return self.value(parsed(data))

    def table(self, value: _T) -> dict[str, Any]:
        """The record as a table of what JSON has."""
        table: dict[str, Any] = self._plain(value)
        return table

    def value(self, table: object) -> _T:
        """The inverse of `table`. RecordError."""
        value: _T = self._reader(self._kind)(table)
        return value

    # ---- writing

    def _plain(self, value: Any) -> Any:
        match value:
            case None | str() | int() | float() if not isinstance(value, Enum):
                return value
            case Enum():
                return value.value
            case datetime():
                return self._write_moment(value)
            case Mapping():
                return {key: self._plain(each) for key, each in value.items()}
            case tuple() | list():
                return [self._plain(each) for each in value]
            case _:
                return {
                    each.name: self._plain(getattr(value, each.name))
                    for each in fields(value)
                    if each.init and each.name not in self._unwritten and not self._unsaid(each, value)
                }

    def _unsaid(self, field: "Field[Any]", value: Any) -> bool:
        return field.name in self._sparse and getattr(value, field.name) == field.default

    # ---- reading

    def _reader(self, kind: Any) -> _Reader:
        reader = self._readers.get(kind)
        if reader is None:
            reader = self._readers[kind] = self._made(kind)
        return reader

    def _made(self, kind: Any) -> _Reader:
        arguments = get_args(kind)
        match get_origin(kind):
            case None if is_dataclass(kind):
                reader = self._record(kind)
            case None:
                reader = _simple(kind, self._read_moment)
            case origin if origin is tuple:
                reader = _tuple(arguments[0], self._reader(arguments[0]))
            case origin if origin is Mapping:
                reader = _mapping(self._reader(arguments[1]))
            case _:
                (some,) = (self._reader(each) for each in arguments if each is not NoneType)
                reader = _optional(some)
        return reader

    def _record(self, kind: Any) -> _Reader:
        plan = [
            (
                None if field.name in self._unwritten else field.name,  # which no key is
                field.type,
                self._reader(field.type),
                field.default if field.name in self._lacking else MISSING,
            )
            for field in fields(kind)
            if field.init
        ]

        flat = _flat(kind, [(name, plain) for name, plain, _, _ in plan])

        def read(table: Any) -> Any:
            if type(table) is not dict:
                raise _wrong(table, kind)
            try:
                if flat is not None and (made := flat(table)) is not None:
                    return made
                found = []
                for name, plain, reader, default in plan:
                    value = table.get(name, MISSING)
                    found.append(value if type(value) is plain else _field(name, value, reader, default))
                return kind(*found)
            except ValueError as error:  # it has rules of its own
                raise RecordError(str(error)) from error

        return read


def _flat(kind: Any, plan: Sequence[tuple[str | None, Any]]) -> _Reader | None:
    """What reads records of plain values alone, in a third of the time, or gives None; equal ones become one value.

    A job's manifests name the same archives by hundreds, again and again.
    """
    names = [name for name, plain in plan if name is not None and plain in _PLAIN]
    if not len(plan) == len(names) > 1 or kind.__hash__ is None:
        return None
    pick, make, wanted = itemgetter(*names), lru_cache(_EQUAL)(kind), tuple(plain for _, plain in plan)

    def read(table: Any) -> Any:
        try:
            found = pick(table)
        except KeyError:
            return None
        return make(*found) if tuple(map(type, found)) == wanted else None

    return read


def _field(name: str | None, value: Any, reader: _Reader, default: Any) -> Any:
    if value is MISSING:
        if default is MISSING:
            raise RecordError(f"{name} is missing")
        return default
    try:
        return reader(value)
    except RecordError as error:
        raise RecordError(f"{name}: {error}") from error


def parsed(data: bytes) -> object:
    """What a file of JSON holds. RecordError, also for values that no file of ours has, and that nothing can handle.

    These are texts with a NUL, or with surrogates that stand for no byte of a name; numbers that are none, or endless,
    or too large for 64 bits.
    """
    try:
        value = _DECODER.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise RecordError(str(error)) from error
    if b"\\u" in data:  # few files have one, and to look at all values takes longer than to read them
        _check(value)
    return value


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text:.{_SHOWN}} is no number")
    return number


def _whole(text: str) -> int:
    if len(text) > _DIGITS and not -_HIGHEST <= int(text) < _HIGHEST:
        raise ValueError(f"{text:.{_SHOWN}} is too large")
    return int(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_finite, parse_int=_whole)
_ODD = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_HIGHEST = 1 << 64  # a device's number has no sign
_DIGITS = 19  # no number of so many is too large


def _check(value: object) -> None:
    """RecordError for what is said at `parsed`. Its depth is what the decoder took."""
    todo = [value]
    while todo:
        match todo.pop():
            case dict() as table:
                todo.extend(table)
                todo.extend(table.values())
            case list() as values:
                todo.extend(values)
            case str() as text if _ODD.search(text):
                raise RecordError(f"{text!r:.{_SHOWN}} is no text")


def _simple(kind: Any, read_moment: _Reader) -> _Reader:
    if kind is datetime:
        return _translated(read_moment, str)
    return _translated(kind, str) if issubclass(kind, Enum) else _exactly(kind)


def _optional(reader: _Reader) -> _Reader:
    return lambda value: None if value is None else reader(value)


def _tuple(kind: Any, reader: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise _wrong(value, list)
        return tuple([each if type(each) is kind else reader(each) for each in value])

    return read


def _mapping(reader: _Reader) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value, dict)
        return {key: reader(each) for key, each in value.items()}

    return read


def _translated(convert: _Reader, kind: type) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _wrong(value, kind)
        try:
            return convert(value)
        except (ValueError, OverflowError) as error:
            raise RecordError(str(error)) from error

    return read


def _exactly(kind: Any) -> _Reader:
    if kind is object:
        return lambda value: value

    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return _number(value)
        raise _wrong(value, kind)

    return read


_number = _translated(float, int)


def _wrong(value: object, kind: type) -> RecordError:
    return RecordError(f"{value!r:.{_SHOWN}} is no {kind.__name__}")


def _exact(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _from_exact(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
