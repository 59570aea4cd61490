"""Reading TOML tables without trust: whatever is wrong is noted, and reading goes on.

A getter returns its default (or leaves an element out) where it noted a problem; nobody uses the result then, since the
problems are raised in the end.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, time
from typing import TypeVar

from hiveden_backup.core import sizes, spans
from hiveden_backup.core.config.keys import Key, join, quoted
from hiveden_backup.core.config.rules import Rule, plain
from hiveden_backup.core.errors import ConfigError, Problem

LONGEST_SPAN = 100 * 365.25 * 86400
"""A century: more is a slip of the pen, and would take dates off the calendar."""

_INT = TypeVar("_INT", bound=int | None)
_FLOAT = TypeVar("_FLOAT", bound=float | None)


class Problems:
    """All that is wrong so far. `origin` tells which file a key came from."""

    def __init__(self, origin: Callable[[Key], str]) -> None:
        self._origin = origin
        self._found: list[Problem] = []

    def add(self, key: Key, shown: str, message: str, hint: str = "") -> None:
        """Note a problem of `key`; `shown` is what it is called in the message."""
        self._found.append(Problem(self._origin(key), shown, message, hint))

    def raise_any(self) -> None:
        """ConfigError with all problems, if there are any."""
        if self._found:
            raise ConfigError(self._found)


class TomlTable:
    """One TOML table. Each getter also makes its key a known one; `finish` reports the others."""

    def __init__(self, values: Mapping[str, object], key: Key, problems: Problems, shown: str | None = None) -> None:
        self._values = values
        self._key = key
        self._problems = problems
        self._known: dict[str, None] = {}
        self._gone: set[str] = set()
        self._shown = join(key) if shown is None else shown

    def problem(self, name: str | None, message: str, hint: str = "") -> None:
        """Note a problem of the key `name` of this table, or of the table itself when `name` is None."""
        if name is None:
            self._problems.add(self._key, self._shown, message, hint)
        else:
            shown = f"{self._shown}.{join((name,))}" if self._shown else join((name,))
            self._problems.add((*self._key, name), shown, message, hint)

    def has(self, name: str) -> bool:
        """Whether the key is there and not an empty list."""
        return name in self._values and self._values[name] != []

    def finish(self, advise: Callable[[str, Collection[str]], str]) -> None:
        """Report every key that nobody asked for; `advise` makes the hint from it and the known ones."""
        for name in self._values:
            if name not in self._known and name not in self._gone:
                self.problem(name, "unknown key", advise(name, self._known))

    def gone(self, name: str, why: str) -> None:
        """A key that there is no more."""
        self._gone.add(name)
        if name in self._values:
            self.problem(name, f"there is no such key any more: {why}", "Take the line out")

    def text(self, name: str, rule: Rule = plain) -> str | None:
        """A string that obeys the rule."""
        match self._take(name):
            case None:
                return None
            case str() as value:
                return value if self._obeys(name, value, rule) else None
            case value:
                self._mistyped(name, "a string", value)
                return None

    def texts(self, name: str, rule: Rule = plain, *, single: bool = False) -> tuple[str, ...]:
        """A list of strings that each obey the rule, or, with `single`, one string in place of the list."""
        wanted = "a string or a list of strings" if single else "a list of strings"
        match self._take(name):
            case None:
                return ()
            case str() as value if single:
                return (value,) if self._obeys(name, value, rule) else ()
            case str() as value:
                self._mistyped(name, wanted, value, f"Write [{quoted(value)}]" if plain(value) is None else "")
            case list() as values:
                for value in values:
                    if not isinstance(value, str):
                        self._mistyped(name, "a string", value, place="each element ")
                return tuple(value for value in values if isinstance(value, str) and self._obeys(name, value, rule))
            case value:
                self._mistyped(name, wanted, value)
        return ()

    def names(self, name: str, rule: Rule) -> tuple[str, ...]:
        """As `texts`, and none of them twice."""
        values = self.texts(name, rule)
        for value in dict.fromkeys(value for value in values if values.count(value) > 1):
            self.problem(name, f"{quoted(value)} is listed twice", "Remove one")
        return values

    def optional_names(self, name: str, rule: Rule) -> tuple[str, ...] | None:
        """As `names`, for a list that says something when it is empty; None when it is not there."""
        values = self.names(name, rule)
        return values if name in self._values else None

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean."""
        match self._take(name):
            case None:
                return default
            case bool() as value:
                return value
            case value:
                self._mistyped(name, "true or false", value)
                return default

    def integer(self, name: str, default: _INT, least: int, most: int | None = None) -> int | _INT:
        """An integer within bounds."""
        match self._take(name):
            case None:
                return default
            case int() as value if not isinstance(value, bool):
                if value >= least and (most is None or value <= most):
                    return value
                self.problem(name, "is out of range", f"Use {_range(least, most)}")
            case value:
                self._mistyped(name, "an integer", value)
        return default

    def share(self, name: str, default: float) -> float:
        """A number from 0 to 1."""
        match self._take(name):
            case None:
                return default
            case int() | float() as value if not isinstance(value, bool):
                if 0 <= value <= 1:
                    return float(value)
                self.problem(name, "is out of range", "Use a number from 0 to 1")
            case value:
                self._mistyped(name, "a number", value)
        return default

    def span(self, name: str, default: _FLOAT, *, zero: bool = False) -> float | _FLOAT:
        """A span of time in seconds, above zero unless `zero`, and no more than a century. A number is seconds."""
        match self._take(name):
            case None:
                return default
            case str() as value:
                if not self._obeys(name, value, plain):
                    return default
                try:
                    seconds: float = spans.parse(value)
                except ValueError as error:
                    return self._bad_span(name, default, f"{quoted(value)} is not a duration: {error}")
            case int() | float() as value if not isinstance(value, bool):
                seconds = value
            case value:
                self._mistyped(name, "a duration", value, _SPAN_HINT)
                return default
        if not 0 <= seconds <= LONGEST_SPAN:  # nan, too
            return self._bad_span(name, default, "must be between 0 and 100 years")
        seconds = spans.rounded(seconds)
        return seconds if seconds or zero else self._bad_span(name, default, "must be longer than 0")

    def size(self, name: str, default: int, least: int, most: int) -> int:
        """A size in bytes, within bounds. A number is bytes."""
        match self._take(name):
            case None:
                return default
            case str() as value:
                try:
                    count = sizes.parse(value)
                except ValueError as error:
                    shown = quoted(value) if plain(value) is None else "the value"
                    self.problem(name, f"{shown} is not a size: {error}", _SIZE_HINT)
                    return default
            case int() as value if not isinstance(value, bool):
                count = value
            case value:
                self._mistyped(name, "a size", value, _SIZE_HINT)
                return default
        if least <= count <= most:
            return count
        self.problem(name, "is out of range", f'Use "{sizes.exact(least)}" to "{sizes.exact(most)}"')
        return default

    def table(self, name: str) -> "TomlTable | None":
        """A table within this one."""
        match self._take(name):
            case None:
                return None
            case Mapping() as values:
                return TomlTable(values, (*self._key, name), self._problems)
            case value:
                self._mistyped(name, "a table", value, f"Write [{join((*self._key, name))}]")
                return None

    def tables(self, name: str) -> "tuple[TomlTable, ...]":
        """An array of tables within this one."""
        key = (*self._key, name)
        match self._take(name):
            case None:
                return ()
            case list() as values:
                for value in values:
                    if not isinstance(value, Mapping):
                        self._mistyped(name, "a table", value, place="each element ")
                return tuple(
                    TomlTable(value, key, self._problems, f"{join(key)}[{number}]")
                    for number, value in enumerate(values)
                    if isinstance(value, Mapping)
                )
            case value:
                self._mistyped(name, "an array of tables", value, f"Write [[{join(key)}]]")
                return ()

    def each_table(self) -> "Iterator[tuple[str, TomlTable]]":
        """This table's own keys, each of which must be a table."""
        for name in self._values:
            inner = self.table(name)
            if inner is not None:
                yield name, inner

    def _take(self, name: str) -> object:
        self._known[name] = None
        value = self._values.get(name)
        return _NULL if value is None and name in self._values else value

    def _obeys(self, name: str, value: str, rule: Rule) -> bool:
        fault = plain(value) or rule(value)
        if fault is not None:
            self.problem(name, fault.message, fault.hint)
        return fault is None

    def _mistyped(self, name: str, wanted: str, value: object, hint: str = "", place: str = "") -> None:
        self.problem(name, f"{place}must be {wanted}, not {_kind(value)}", hint)

    def _bad_span(self, name: str, default: _FLOAT, message: str) -> _FLOAT:
        self.problem(name, message, _SPAN_HINT)
        return default


_NULL = object()  # a null, which JSON has and TOML has not
_KINDS = (
    (bool, "a boolean"),  # before int, which it is a kind of
    (str, "a string"),
    (int | float, "a number"),
    (Mapping, "a table"),
    (Sequence, "an array"),
    (date | time, "a date or time"),
)
_SIZE_HINT = 'Write it as "128MiB", "1GiB"'
_SPAN_HINT = 'Write it as systemd does: "90s", "10min", "1h 30min", "7d"'


def _range(least: int, most: int | None) -> str:
    return f"{least} or more" if most is None else f"{least} to {most}"


def _kind(value: object) -> str:
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "null")
